//! The server side of validating webhooks: whoever writes an object of ours, by whatever program, is
//! held to the rules before anything is stored.
//!
//! [`review`] is what the API server and we say to each other, [`certificates`] and [`keeper`] make
//! it believe that it talks to us, [`configuration`] tells it to ask. Which rules there are is the
//! business of the capabilities ([`Rules`]).

pub mod certificates;
pub mod configuration;
pub mod keeper;
mod meters;
mod review;
#[cfg(test)]
mod tests;

use std::future::Future;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{StatusCause, StatusDetails};
use serde_json::{Map, Value};
use web::Cause;

pub use self::{
    meters::Reviews,
    review::{DEADLINE, MAX_BYTES, render, router},
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
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is about to be done.
    pub operation: Operation,
    /// The group of the resource.
    pub group: &'a str,
    /// Its plural.
    pub resource: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Such as `status`; empty for the object itself.
    pub subresource: &'a str,
    /// The name of the object; may be empty if it is to be generated.
    pub name: &'a str,
    /// Empty for objects of the cluster.
    pub namespace: &'a str,
    /// The object as it would be stored; none for a deletion.
    pub object: Option<&'a Map<String, Value>>,
    /// The object as it is; none for a creation.
    pub old_object: Option<&'a Map<String, Value>>,
}

/// The rules about one resource, as the API server asks for them.
pub trait Rules: Send + Sync + 'static {
    /// Lets a write pass, perhaps with warnings, or refuses it.
    fn review(
        &self,
        request: &Request<'_>,
    ) -> impl Future<Output = Result<Vec<String>, Denial>> + Send;
}

/// Why a write is refused: the parts of a `Status`.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// The HTTP status.
    pub code: u16,
    /// Its name, such as `Invalid`.
    pub reason: &'static str,
    /// What to tell the user.
    pub message: String,
    /// The object and its fields at fault.
    pub details: Option<Box<StatusDetails>>,
}

impl Denial {
    /// 400: the object cannot be read.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest", message: message.into(), details: None }
    }

    /// 500: what has to be known cannot be found out.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self { code: 500, reason: "InternalError", message, details: None }
    }

    /// 422, with one cause for each field; nothing without causes.
    pub fn invalid(request: &Request<'_>, causes: Vec<Cause>) -> Result<(), Self> {
        if causes.is_empty() {
            return Ok(());
        }
        let Request { kind, group, name, .. } = request;
        let message = format!("{kind}.{group} {name:?} is invalid: {}", in_one_line(&causes));
        let details = Some(Box::new(details(request, kind, causes)));
        Err(Self { code: 422, reason: "Invalid", message, details })
    }

    /// 409, with what stands in the way; nothing without causes.
    pub fn conflict(request: &Request<'_>, causes: Vec<Cause>) -> Result<(), Self> {
        let Some(first) = causes.first() else { return Ok(()) };
        let Request { resource, group, name, .. } = request;
        let message = format!(
            "Operation cannot be fulfilled on {resource}.{group} {name:?}: {}",
            first.message
        );
        let details = Some(Box::new(details(request, resource, causes)));
        Err(Self { code: 409, reason: "Conflict", message, details })
    }
}

/// As API servers put them together: each once, several in brackets.
fn in_one_line(causes: &[Cause]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for cause in causes {
        let line = format!("{}: {}", cause.field, cause.message);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    match lines.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn details(request: &Request<'_>, kind: &str, causes: Vec<Cause>) -> StatusDetails {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let cause = |cause: Cause| StatusCause {
        reason: some(cause.reason),
        field: some(cause.field),
        message: some(cause.message),
    };
    StatusDetails {
        name: some(request.name.to_owned()),
        group: some(request.group.to_owned()),
        kind: some(kind.to_owned()),
        causes: Some(causes.into_iter().map(cause).collect()),
        ..StatusDetails::default()
    }
}
