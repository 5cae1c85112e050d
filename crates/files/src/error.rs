//! Failures as JSON, and the one translation of operating system errors.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use rustix::io::Errno;

/// A refused or failed request: a status and a text for the person who made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Error {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// What the operating system said about `subject`.
    pub(crate) fn from_errno(errno: Errno, subject: &str) -> Self {
        let (status, what) = match errno {
            Errno::NOENT => (StatusCode::NOT_FOUND, "does not exist"),
            Errno::NOTDIR => (StatusCode::CONFLICT, "is not a folder"),
            Errno::ISDIR => (StatusCode::CONFLICT, "is a folder"),
            Errno::EXIST => (StatusCode::CONFLICT, "exists already"),
            Errno::NOTEMPTY => (StatusCode::CONFLICT, "is not empty"),
            Errno::XDEV | Errno::LOOP => {
                (StatusCode::FORBIDDEN, "leads out of this folder through a link")
            }
            Errno::ACCESS | Errno::PERM => (StatusCode::FORBIDDEN, "may not be accessed"),
            Errno::ROFS => (StatusCode::FORBIDDEN, "is on a read-only volume"),
            Errno::INVAL => (StatusCode::CONFLICT, "cannot be moved there"),
            Errno::NAMETOOLONG => (StatusCode::BAD_REQUEST, "has a name that is too long"),
            Errno::NOSPC | Errno::DQUOT => {
                (StatusCode::INSUFFICIENT_STORAGE, "does not fit: the volume is full")
            }
            Errno::FBIG => (StatusCode::PAYLOAD_TOO_LARGE, "is larger than the volume takes"),
            other => {
                tracing::error!(%subject, error = %other, "a file operation failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "cannot be read or written")
            }
        };
        Self::new(status, format!("{subject} {what}"))
    }

    pub(crate) fn from_io(error: &std::io::Error, subject: &str) -> Self {
        Self::from_errno(Errno::from_io_error(error).unwrap_or(Errno::IO), subject)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "error": {"code": self.status.as_u16().to_string(), "message": self.message}
        });
        (self.status, Json(body)).into_response()
    }
}
