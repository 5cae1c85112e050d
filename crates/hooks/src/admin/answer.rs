//! Answers of the API: JSON, and `{"error": …}` for what goes wrong.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};
use web::{Error, Kind};

use crate::journal::{RedeliverError, Unavailable};

/// What goes wrong.
#[derive(Debug)]
pub(super) struct Problem(StatusCode, String);

/// The answer of a handler.
pub(super) type Said = Result<(StatusCode, Json<Value>), Problem>;

/// 200 and this.
pub(super) fn ok(value: Value) -> Said {
    Ok((StatusCode::OK, Json(value)))
}

/// 202 and this.
pub(super) fn accepted(value: Value) -> Said {
    Ok((StatusCode::ACCEPTED, Json(value)))
}

impl Problem {
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("no such {what}"))
    }

    pub(super) fn conflict(text: &str) -> Self {
        Self(StatusCode::CONFLICT, text.to_owned())
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<RedeliverError> for Problem {
    fn from(error: RedeliverError) -> Self {
        let status = match error {
            RedeliverError::Unknown => StatusCode::NOT_FOUND,
            RedeliverError::Running | RedeliverError::NoTarget | RedeliverError::NotDead => {
                StatusCode::CONFLICT
            }
            RedeliverError::Gone => StatusCode::GONE,
            RedeliverError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        tracing::debug!(error = %error.log(), "a request about hooks failed");
        let status = match error.kind() {
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unavailable | Kind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Malformed | Kind::Invalid => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.message().to_owned())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

pub(super) async fn no_route() -> Problem {
    Problem::not_found("route")
}

pub(super) async fn no_method() -> Problem {
    Problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed".to_owned())
}
