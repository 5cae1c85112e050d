//! Deletion: graceful, held by finalizers, or at once.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use serde_json::Value;

use super::{
    Api,
    access::Caller,
    admission::{Operation, Review},
    core, crds, decode,
    forms::{self, Part, served, served_object, stored_form},
    kinds::Resource,
    metadata::{self, Object},
    query::{self, Query},
    status::Status,
    write::Target,
};
use crate::schema::Cause;
use crate::store::{Action, Draft, Entry, Expect, Write, WriteError};

/// Finalizer of an owner that waits until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to be freed.
pub(crate) const ORPHAN: &str = "orphan";

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// The options of a deletion, from its body or its query.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) caller: Caller,
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    pub(crate) fn new(
        query: &Query,
        caller: Caller,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Self, Status> {
        if body.is_empty() {
            return Self::checked(
                caller,
                query.text("propagationPolicy"),
                query.optional_flag("orphanDependents")?,
                &query.all("dryRun"),
                query.number("gracePeriodSeconds")?,
            );
        }
        let read = decode::options(parts, body)?;
        Self::of_object(&read, caller)
    }

    /// From an object that was read as `DeleteOptions`.
    pub(crate) fn of_object(options: &Value, caller: Caller) -> Result<Self, Status> {
        let optional =
            |pointer: &str| options.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let dry_run = options.get("dryRun").and_then(Value::as_array);
        let dry_run: Vec<&str> = dry_run.into_iter().flatten().filter_map(Value::as_str).collect();
        let checked = Self::checked(
            caller,
            &optional("/propagationPolicy").unwrap_or_default(),
            options.get("orphanDependents").and_then(Value::as_bool),
            &dry_run,
            options.get("gracePeriodSeconds").and_then(Value::as_i64),
        )?;
        let uid = optional("/preconditions/uid");
        Ok(Self { uid, revision: optional("/preconditions/resourceVersion"), ..checked })
    }

    fn checked(
        caller: Caller,
        policy: &str,
        orphan: Option<bool>,
        dry_run: &[&str],
        grace_seconds: Option<i64>,
    ) -> Result<Self, Status> {
        let mut causes = Vec::new();
        let propagation = propagation(policy, orphan, &mut causes);
        let dry_run = query::check_dry_run(dry_run, &mut causes);
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes));
        }
        Ok(Self { caller, grace_seconds, uid: None, revision: None, propagation, dry_run })
    }
}

fn propagation(policy: &str, orphan: Option<bool>, causes: &mut Vec<Cause>) -> Option<Propagation> {
    let propagation = match (policy, orphan) {
        ("", None) => return None,
        ("", Some(true)) | ("Orphan", None) => Propagation::Orphan,
        ("", Some(false)) | ("Background", None) => Propagation::Background,
        ("Foreground", None) => Propagation::Foreground,
        ("Orphan" | "Background" | "Foreground", Some(_)) => {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", &policy.into(), detail));
            return None;
        }
        (other, _) => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            causes.push(Cause::not_supported("propagationPolicy", &other.into(), &supported));
            return None;
        }
    };
    Some(propagation)
}

/// How a deletion ended.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Entry>),
    /// The object waits for its end, in this state.
    Waiting(Bytes),
    /// The object would be gone.
    WouldBeGone(Arc<Entry>),
}

impl Deleted {
    /// The body of the answer.
    pub(crate) fn body(&self, resource: &Resource, name: &str) -> Bytes {
        match self {
            Self::Waiting(bytes) => bytes.clone(),
            Self::Gone(entry) | Self::WouldBeGone(entry) if resource.answers_deleted => {
                served(resource, entry)
            }
            Self::Gone(entry) | Self::WouldBeGone(entry) => {
                Status::deleted(resource, name, &entry.meta().uid).to_bytes()
            }
        }
    }
}

/// What a deletion does to an object now.
enum Step {
    Remove,
    Keep(Object),
    Nothing,
}

impl Api {
    pub(crate) async fn delete(
        &self,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let resource = &target.resource;
        let mut told = None;
        loop {
            let Some(entry) = self.store.get(&resource.table, &target.key()) else {
                // Somebody else removed what we told to go.
                return told.map(Deleted::Gone).ok_or_else(|| target.not_found());
            };
            check_preconditions(target, options, &entry)?;
            let object = served_object(resource, &entry);
            self.review(&Review {
                operation: Operation::Delete,
                target,
                part: Part::Main,
                caller: &options.caller,
                object: None,
                old_object: Some(&object),
                dry_run: options.dry_run,
            })?;
            let mut ends = false;
            let (action, draft) = match step(resource, object, options) {
                Step::Nothing => return Ok(Deleted::Waiting(served(resource, &entry))),
                Step::Remove if options.dry_run => return Ok(Deleted::WouldBeGone(entry)),
                Step::Remove => (Action::Delete, Draft::of_entry(&entry)),
                Step::Keep(object) => {
                    // What has no time left goes right after it was told to.
                    ends = resource.is("pods") && forms::is_finished(resource, &object, &object);
                    let draft = stored_form(resource, &object);
                    if options.dry_run {
                        return Ok(Deleted::Waiting(draft.unrevised()));
                    }
                    (Action::Put, draft)
                }
            };
            let write = Write {
                resource: resource.table.clone(),
                key: target.key(),
                expect: Expect::Revision(entry.revision()),
                requires: None,
                action,
                draft,
            };
            match self.store.write(write).await {
                Ok(entry) if action == Action::Delete => {
                    self.noted(target);
                    return Ok(Deleted::Gone(entry));
                }
                Ok(entry) => {
                    self.noted(target);
                    if !ends {
                        return Ok(Deleted::Waiting(served(resource, &entry)));
                    }
                    told = Some(entry);
                }
                // Somebody changed it: look again.
                Err(WriteError::Mismatch(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn check_preconditions(
    target: &Target,
    options: &DeleteOptions,
    entry: &Entry,
) -> Result<(), Status> {
    let refuse = |why: String| {
        // The API server names the kind here where it names the resource elsewhere.
        let mut named = (*target.resource).clone();
        named.plural.clone_from(&target.resource.kind);
        named.table = super::kinds::table_name(&named.plural, &named.group);
        Err(Status::conflict(&named, &target.name, &why))
    };
    if let Some(uid) = &options.uid
        && **uid != *entry.meta().uid
    {
        return refuse(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            entry.meta().uid
        ));
    }
    if let Some(revision) = &options.revision
        && *revision != entry.revision().to_string()
    {
        return refuse(format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record ({}). The object might have been modified",
            entry.revision()
        ));
    }
    Ok(())
}

fn step(resource: &Resource, mut object: Object, options: &DeleteOptions) -> Step {
    if resource.is("namespaces") {
        return namespace_step(object);
    }
    let before = object.clone();
    let deleting = metadata::is_deleting(&object);
    if resource.is(crds::TABLE) && !deleting {
        crds::mark_terminating(&mut object);
        return Step::Keep(object);
    }
    let own_grace = object
        .get("metadata")
        .and_then(|metadata| metadata.get("deletionGracePeriodSeconds")?.as_i64())
        .unwrap_or(0);
    let mut graceful = false;
    if deleting && own_grace > 0 {
        let Some(asked) = options.grace_seconds.map(|asked| if asked < 0 { 1 } else { asked })
        else {
            return Step::Nothing;
        };
        if asked >= own_grace {
            return Step::Nothing;
        }
        shorten(&mut object, own_grace, asked);
        graceful = true;
    } else if !deleting
        && let Some(seconds) = core::grace_seconds(resource, &object, options.grace_seconds)
    {
        graceful = true;
        let end = jiff::Timestamp::now()
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or(jiff::Timestamp::MAX);
        metadata::set(&mut object, "deletionTimestamp", metadata::at(end));
        metadata::set(&mut object, "deletionGracePeriodSeconds", seconds);
        metadata::count_up(&mut object);
    }
    let finalizers = finalizers_after(&object, options.propagation);
    if finalizers.is_empty() && !graceful {
        return Step::Remove;
    }
    if finalizers.is_empty() {
        metadata::remove(&mut object, "finalizers");
    } else {
        metadata::set(&mut object, "finalizers", finalizers);
    }
    if !graceful {
        if !deleting {
            metadata::count_up(&mut object);
            metadata::set(&mut object, "deletionTimestamp", metadata::now());
        }
        metadata::set(&mut object, "deletionGracePeriodSeconds", 0);
    }
    if object == before { Step::Nothing } else { Step::Keep(object) }
}

/// A namespace is only marked: it goes when it is empty.
fn namespace_step(mut object: Object) -> Step {
    let held = object
        .get("spec")
        .and_then(|spec| spec.get("finalizers")?.as_array())
        .is_some_and(|finalizers| !finalizers.is_empty());
    let mut held_by_others = !metadata::finalizers(&object).is_empty();
    if !metadata::is_deleting(&object) {
        metadata::set(&mut object, "deletionTimestamp", metadata::now());
        let status = object.entry("status").or_insert(Value::Null);
        *status = serde_json::json!({"phase": "Terminating"});
        return Step::Keep(object);
    }
    held_by_others |= held;
    if held_by_others { Step::Nothing } else { Step::Remove }
}

fn shorten(object: &mut Object, from: i64, to: i64) {
    let now = jiff::Timestamp::now();
    let end = metadata::get(object, "deletionTimestamp")
        .parse::<jiff::Timestamp>()
        .unwrap_or(now)
        .checked_sub(jiff::SignedDuration::from_secs(from - to))
        .unwrap_or(now);
    // A grace that is over already is the shortest one, unless there is to be none at all.
    let (end, to) = if end < now { (now, to.min(1)) } else { (end, to) };
    metadata::set(object, "deletionTimestamp", metadata::at(end));
    metadata::set(object, "deletionGracePeriodSeconds", to);
}

/// The finalizers with those of garbage collection as the options want them.
fn finalizers_after(object: &Object, propagation: Option<Propagation>) -> Vec<String> {
    let before = metadata::finalizers(object);
    let mut after: Vec<String> = before
        .iter()
        .filter(|&&one| one != FOREGROUND && one != ORPHAN)
        .map(|&one| one.to_owned())
        .collect();
    let orphan = match propagation {
        Some(policy) => policy == Propagation::Orphan,
        None => before.contains(&ORPHAN),
    };
    let foreground = match propagation {
        Some(policy) => policy == Propagation::Foreground,
        None => before.contains(&FOREGROUND),
    };
    if orphan {
        after.push(ORPHAN.into());
    }
    if foreground {
        after.push(FOREGROUND.into());
    }
    after
}
