//! What an error of the Kubernetes API means to whoever made the request.

use std::time::Duration;

use kube::core::Status;
use web::{Cause, Error, Kind, Origin};

/// Maps an error of the Kubernetes API to the one error type of requests.
///
/// A conflict here is a conflict of the object that the caller named; handlers that hit one with a
/// version of their own should read again and retry before they pass it on.
pub fn public(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => from_status(*status),
        kube::Error::Service(source) if timed_out(source.as_ref()) => {
            Error::new(Kind::Timeout, "the Kubernetes API took too long").with_context(source)
        }
        error @ (kube::Error::Service(_)
        | kube::Error::HyperError(_)
        | kube::Error::ReadEvents(_)) => unavailable(error),
        error => Error::internal(error),
    }
}

/// Whether the object or its kind does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether a write lost against a newer version of the object.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason != "AlreadyExists")
}

/// Whether the object to create exists.
pub fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// Whether the API did not answer the question at all: trying again later helps.
pub fn is_unanswered(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 503 | 504),
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether the API refuses the object, so that sending it again is of no use.
pub fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
}

/// An error with all its causes; a cause that says the same again is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

fn from_status(status: Status) -> Error {
    let kind = match (status.code, status.reason.as_str()) {
        (507, _) => Kind::InsufficientStorage,
        (_, "NotFound") | (404, _) => Kind::NotFound,
        (_, "AlreadyExists" | "Conflict") | (409, _) => Kind::Conflict,
        (_, "Invalid") | (422, _) => Kind::Invalid,
        (_, "Forbidden") | (403, _) => Kind::Forbidden,
        (429 | 503, _) => return unavailable_for(&status),
        (504, _) => Kind::Timeout,
        _ => return Error::internal(status),
    };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or(&[]);
    let causes = causes
        .iter()
        .map(|cause| Cause {
            origin: Origin::Kubernetes,
            reason: cause.reason.clone(),
            field: cause.field.clone(),
            message: cause.message.clone(),
        })
        .collect();
    Error::new(kind, status.message.clone()).with_causes(causes).with_context(status)
}

fn unavailable_for(status: &Status) -> Error {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    unavailable(status.clone()).with_retry_after(Duration::from_secs(u64::from(seconds.max(1))))
}

fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Unavailable, "the Kubernetes API cannot answer now; try again")
        .with_retry_after(Duration::from_secs(1))
        .with_context(source)
}

fn timed_out(source: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(source);
    while let Some(error) = next {
        if error.to_string().contains("timed out") {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn api(status: serde_json::Value) -> kube::Error {
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    }

    #[test]
    fn every_status_has_a_kind() {
        for (code, reason, kind) in [
            (404, "NotFound", Kind::NotFound),
            (409, "AlreadyExists", Kind::Conflict),
            (409, "Conflict", Kind::Conflict),
            (422, "Invalid", Kind::Invalid),
            (403, "Forbidden", Kind::Forbidden),
            (429, "TooManyRequests", Kind::Unavailable),
            (503, "ServiceUnavailable", Kind::Unavailable),
            (504, "Timeout", Kind::Timeout),
            (507, "", Kind::InsufficientStorage),
            (500, "InternalError", Kind::Internal),
            (401, "Unauthorized", Kind::Internal),
        ] {
            let error = public(api(json!({"code": code, "reason": reason, "message": "m"})));
            assert_eq!(error.kind(), kind, "{code} {reason}");
        }
    }

    #[test]
    fn causes_come_along() {
        let error = public(api(json!({
            "code": 422, "reason": "Invalid", "message": "is invalid",
            "details": {"causes": [
                {"reason": "FieldValueRequired", "field": "spec.kind", "message": "Required value"},
            ]},
        })));
        assert_eq!(
            error.causes(),
            [Cause {
                origin: Origin::Kubernetes,
                reason: "FieldValueRequired".into(),
                field: "spec.kind".into(),
                message: "Required value".into(),
            }]
        );
    }
}
