//! The bodies every route shares: `{"data": …}` and `{"error": …}`.

use axum::{
    body::Body as HttpBody,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use web::{Cause, Error, Origin};

/// Headers of most answers, those of the listener included: as many as a map of headers has room for
/// before it becomes twice as large.
const HEADERS: usize = 6;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with `{"data": …}`.
#[derive(Debug, Serialize)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
}

impl<T: Serialize> IntoResponse for Data<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self)
    }
}

/// 201 with `{"data": …}` and the path of what was made.
#[derive(Debug)]
pub(crate) struct Created<T> {
    pub(crate) location: String,
    pub(crate) data: T,
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::CREATED, &Data { data: self.data });
        // Names passed validation, so they are plain ASCII and the value is always valid.
        if let Ok(location) = HeaderValue::try_from(self.location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// 202 with `{"data": …}`: it will be done.
#[derive(Debug)]
pub(crate) struct Accepted<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        json(StatusCode::ACCEPTED, &Data { data: self.0 })
    }
}

/// 204 without a body.
#[derive(Debug)]
pub(crate) struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// A compact JSON body.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => raw_json(status, bytes.into()),
        Err(error) => super::error::Problem::from(Error::internal(error)).into_response(),
    }
}

/// A body that is JSON already.
pub(crate) fn raw_json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(HttpBody::from(body));
    *response.status_mut() = status;
    // Room for all that is added on the way out: a map of headers that grows is made anew.
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CONTENT_TYPE, JSON);
    *response.headers_mut() = headers;
    response
}

/// The error envelope; `detail` is the `cause`, which only some statuses carry.
pub(crate) fn failure(status: StatusCode, message: &str, detail: Option<Detail<'_>>) -> Response {
    let code = status.as_str();
    let body = serde_json::to_vec(&Failure { error: Body { code, message, cause: detail } });
    // Strings and lists of strings always serialise.
    raw_json(status, body.unwrap_or_default().into())
}

/// `error.cause`.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "ErrorCause")]
pub(crate) struct Detail<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) conflict_cause: Vec<ConflictCause<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) validation_errors: Vec<ValidationError<'a>>,
}

/// One reason for a conflict.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConflictCause<'a> {
    origin: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

impl<'a> From<&'a Cause> for ConflictCause<'a> {
    fn from(cause: &'a Cause) -> Self {
        Self { origin: origin(cause.origin), message: &cause.message }
    }
}

/// One field that breaks a rule.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ValidationError<'a> {
    origin: &'static str,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

impl<'a> From<&'a Cause> for ValidationError<'a> {
    fn from(cause: &'a Cause) -> Self {
        Self {
            origin: origin(cause.origin),
            reason: &cause.reason,
            field: &cause.field,
            message: &cause.message,
        }
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Internal => "INTERNAL",
        Origin::Kubernetes => "KUBERNETES",
    }
}

/// A failure.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorEnvelope")]
pub(crate) struct Failure<'a> {
    error: Body<'a>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorBody")]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Detail<'a>>,
}
