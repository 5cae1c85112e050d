//! Error bodies: the `Status` objects of an API server, word for word.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::{Serialize, Serializer};

use super::{
    access::{self, Attributes},
    body::Body,
    kinds::{Resource, table_name},
};
use crate::{
    schema::{self, Cause, quote},
    store::{StorageError, WriteError},
};

/// A failed (or, for deletions, successful) request as Kubernetes tells it.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Status(Box<Contents>);

#[derive(Debug, Clone, Serialize)]
struct Contents {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "is_zero")]
    code: u16,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Empty {}

/// `status.details`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource, or its kind where Kubernetes says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "write_causes")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u16,
}

/// What is empty is left out.
fn write_causes<S: Serializer>(causes: &[Cause], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(causes.iter().map(|cause| {
        [("reason", &cause.reason), ("message", &cause.message), ("field", &cause.field)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .collect::<BTreeMap<_, _>>()
    }))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

impl Status {
    fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Contents {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }))
    }

    fn with(mut self, details: Details) -> Self {
        self.0.details = Some(details);
        self
    }

    fn about(self, resource: &Resource, name: &str) -> Self {
        self.with(Details {
            name: name.into(),
            group: resource.group.clone(),
            kind: resource.plural.clone(),
            ..Details::default()
        })
    }

    /// The answer to a deletion that was done.
    pub(crate) fn deleted(resource: &Resource, name: &str, uid: &str) -> Self {
        let mut status = Self::failure(0, "", "").about(resource, name);
        status.0.status = "Success";
        if let Some(details) = &mut status.0.details {
            details.uid = uid.into();
        }
        status
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::failure(404, "NotFound", message).about(resource, name)
    }

    /// A path of a known group that names nothing.
    pub(crate) fn no_such_resource() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with(Details::default())
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::failure(409, "AlreadyExists", message).about(resource, name)
    }

    /// 409 of a `generateName` whose names are all taken.
    pub(crate) fn no_free_name(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "{} {name:?} already exists, the server was not able to generate a unique name for the object",
            resource.qualified()
        );
        let mut status = Self::failure(409, "AlreadyExists", message).about(resource, name);
        if let Some(details) = &mut status.0.details {
            details.retry_after_seconds = 1;
        }
        status
    }

    pub(crate) fn revision_on_create() -> Self {
        Self::failure(500, "", "resourceVersion should not be set on objects to be created")
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Self::failure(409, "Conflict", message).about(resource, name)
    }

    /// 409 about something that is named by its kind.
    pub(crate) fn conflict_on(group: &str, kind: &str, name: &str, why: &str) -> Self {
        let named = table_name(kind, group);
        let message = format!("Operation cannot be fulfilled on {named} {name:?}: {why}");
        Self::failure(409, "Conflict", message).with(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            ..Details::default()
        })
    }

    /// An error that the API server gives no class.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self::failure(500, "", message)
    }

    /// The optimistic lock failed.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = match name {
            "" => resource.qualified(),
            name => format!("{} {name:?}", resource.qualified()),
        };
        Self::failure(403, "Forbidden", format!("{subject} is forbidden: {why}"))
            .about(resource, name)
    }

    /// 403 of a user who may not do something.
    pub(crate) fn unauthorized_action(user: &str, wanted: &Attributes, reason: &str) -> Self {
        let Attributes { group, resource, name, .. } = wanted;
        let cannot = format!("User {} cannot {}", quote(user), wanted.shown());
        let mut why = access::escape(&cannot);
        if !reason.is_empty() {
            why = format!("{why}: {reason}");
        }
        let message = match (table_name(resource, group), name.as_str()) {
            (_, _) if resource.is_empty() => format!("forbidden: {why}"),
            (table, "") => format!("{table} is forbidden: {why}"),
            (table, name) => format!("{table} {} is forbidden: {why}", quote(name)),
        };
        Self::failure(403, "Forbidden", message).with(Details {
            name: name.clone(),
            group: group.clone(),
            kind: resource.clone(),
            ..Details::default()
        })
    }

    /// 401 of a request that proves nothing, or something wrong.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut status = Self::forbidden(resource, name, &why);
        if let Some(details) = &mut status.0.details {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".into(),
            });
        }
        status
    }

    pub(crate) fn namespace_missing(namespace: &str) -> Self {
        Self::failure(404, "NotFound", format!("namespaces {namespace:?} not found")).with(
            Details { name: namespace.into(), kind: "namespaces".into(), ..Details::default() },
        )
    }

    /// A refusal by a rule of admission, in its own words.
    pub(crate) fn denied(
        code: u16,
        reason: String,
        message: String,
        details: Option<Details>,
    ) -> Self {
        let mut status = Self::failure(code, "", message);
        status.0.reason = reason.into();
        status.0.details = details;
        status
    }

    /// 422: the fields that break a rule.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        Self::failure(422, "Invalid", schema::summary(group, kind, name, &causes)).with(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes,
            ..Details::default()
        })
    }

    /// 422 of a JSON patch that does not fit the object.
    pub(crate) fn patch_rejected() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::failure(422, "Invalid", message).with(Details::default())
    }

    pub(crate) fn too_many_operations(limit: usize, found: usize) -> Self {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {limit}, got {found}"
        );
        Self::failure(413, "RequestEntityTooLarge", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::failure(405, "MethodNotAllowed", message).with(Details::default())
    }

    pub(crate) fn definition_terminating(resource: &Resource, name: &str) -> Self {
        let message = "create not allowed while custom resource definition is terminating";
        Self::forbidden(resource, name, message)
    }

    pub(crate) fn not_acceptable(accepted: &str) -> Self {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::failure(406, "NotAcceptable", message)
    }

    /// 406 of an answer that no serializer writes.
    pub(crate) fn no_representation(available: &str) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
        Self::failure(406, "NotAcceptable", message).with(Details::default())
    }

    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// A patch of a media type that no kind takes.
    pub(crate) fn unknown_patch() -> Self {
        Self::unsupported_media_type("415: Unsupported Media Type").with(Details::default())
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::failure(413, "RequestEntityTooLarge", message)
    }

    /// 410 of a list or a watch from too long ago.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 504 of a revision that is not there yet.
    pub(crate) fn too_large_revision(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        };
        Self::failure(504, "Timeout", message).with(Details {
            causes: vec![cause],
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// What Kubernetes can do and this subset cannot.
    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::failure(501, "NotImplemented", message)
    }

    /// 500 with a text that is safe to show.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let message = message.to_string();
        let cause = Cause { reason: String::new(), message: message.clone(), field: String::new() };
        Self::failure(500, "InternalError", format!("Internal error occurred: {message}"))
            .with(Details { causes: vec![cause], ..Details::default() })
    }

    /// 503: try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    pub(crate) fn storage(error: &StorageError) -> Self {
        match error {
            StorageError::Full => Self::failure(507, "InsufficientStorage", error.to_string()),
            StorageError::Closed => Self::unavailable(error.to_string()),
            StorageError::Io(_) => Self::internal(error),
        }
    }

    /// The HTTP status.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        // A struct of strings and numbers always serialises.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let code = match self.0.code {
            0 => StatusCode::OK,
            code => StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let mut response = Response::new(Body::from(self.to_bytes()));
        *response.status_mut() = code;
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if let Some(details) = &self.0.details
            && details.retry_after_seconds > 0
        {
            response.headers_mut().insert(header::RETRY_AFTER, details.retry_after_seconds.into());
        }
        response
    }
}

impl From<StorageError> for Status {
    fn from(error: StorageError) -> Self {
        Self::storage(&error)
    }
}

/// For writes whose preconditions the caller cannot break.
impl From<WriteError> for Status {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Storage(error) => Self::storage(&error),
            other => Self::internal(other),
        }
    }
}
