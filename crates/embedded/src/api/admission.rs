//! Rules of admission by functions of this process, in the place of validating webhooks.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Api,
    access::{Caller, User},
    forms::Part,
    metadata::Object,
    status::{Details, Status},
    write::Target,
};

/// What is about to be done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It, or a part of it, is changed.
    Update,
    /// It is deleted, or begins to be.
    Delete,
}

/// What a rule is asked about.
#[derive(Debug, Clone)]
pub struct AdmissionRequest<'a> {
    /// What is about to be done.
    pub operation: Operation,
    /// The group of the resource; empty for the core group.
    pub group: &'a str,
    /// The version that the client speaks.
    pub version: &'a str,
    /// The resource, such as `workspaces`.
    pub resource: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// `status`, `finalize` or empty.
    pub subresource: &'a str,
    /// Empty for objects of the cluster.
    pub namespace: &'a str,
    /// The name of the object.
    pub name: &'a str,
    /// Who asks.
    pub user: Arc<User>,
    /// The object as it would be stored; none for a deletion.
    pub object: Option<&'a Object>,
    /// The object as it is; none for a creation.
    pub old_object: Option<&'a Object>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

/// Why a rule refuses.
#[derive(Debug, Clone)]
pub struct Denial {
    /// The HTTP status; below 400 it becomes 400.
    pub code: u16,
    /// The reason of the status, such as `Forbidden`.
    pub reason: String,
    /// What to tell the user.
    pub message: String,
    /// Details of the status.
    pub details: Option<Box<Details>>,
}

impl Denial {
    /// 403 with a message.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { code: 403, reason: "Forbidden".into(), message: message.into(), details: None }
    }

    fn into_status(self, rule: &str) -> Status {
        let denied = format!("admission webhook {rule:?} denied the request");
        let message = match (self.message.as_str(), self.reason.as_str()) {
            ("", "") => format!("{denied} without explanation"),
            ("", why) | (why, _) => format!("{denied}: {why}"),
        };
        Status::denied(
            self.code.max(400),
            self.reason,
            message,
            self.details.map(|details| *details),
        )
    }
}

/// A rule that every write of some resources must pass.
///
/// It is asked after the rules of the object's kind, also for dry runs and for what the cluster
/// itself does, and must answer at once and change nothing.
pub trait Admission: Send + Sync {
    /// The name that refusals carry, such as `workspaces.quartermaster.io`.
    fn name(&self) -> &str;

    /// Lets a write pass, perhaps with warnings, or refuses it.
    ///
    /// # Errors
    /// The rule refuses.
    fn review(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Denial>;
}

/// One write, as rules see it.
pub(super) struct Review<'a> {
    pub(super) operation: Operation,
    pub(super) target: &'a Target,
    pub(super) part: Part,
    pub(super) caller: &'a Caller,
    pub(super) object: Option<&'a Object>,
    pub(super) old_object: Option<&'a Object>,
    pub(super) dry_run: bool,
}

impl Api {
    /// Asks all rules; returns their warnings.
    pub(super) fn review(&self, review: &Review<'_>) -> Result<Vec<String>, Status> {
        let rules = self.admission.read().clone();
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let resource = &review.target.resource;
        let request = AdmissionRequest {
            operation: review.operation,
            group: &resource.group,
            version: &resource.version,
            resource: &resource.plural,
            kind: &resource.kind,
            subresource: match review.part {
                Part::Main => "",
                Part::Status => "status",
                Part::Finalize => "finalize",
            },
            namespace: &review.target.namespace,
            name: &review.target.name,
            user: review.caller.user(),
            object: review.object,
            old_object: review.old_object,
            dry_run: review.dry_run,
        };
        let mut warnings = Vec::new();
        for rule in rules.iter() {
            let passed = rule.review(&request).map_err(|denial| denial.into_status(rule.name()))?;
            warnings.extend(passed);
        }
        Ok(warnings)
    }
}

impl AdmissionRequest<'_> {
    /// A value of the object as it would be stored, by a JSON pointer.
    pub fn value(&self, pointer: &str) -> Option<&Value> {
        let mut names = pointer.trim_start_matches('/').split('/');
        let first = self.object?.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }
}
