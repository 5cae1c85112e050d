//! The one mapping from [`web::Error`] to this contract's statuses, messages and causes.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use web::{Cause, Error, Kind, Origin};

use super::envelope::{Detail, failure};

const AUTHENTICATE: &str = "authentication is required to access this resource";
const FORBIDDEN: &str = "you are not authorized to access this resource";
const NOT_FOUND: &str = "the requested resource could not be found";
const BROKEN: &str = "the server encountered a problem and could not process your request";
const OUTDATED: &str = "the object has another revision than If-Match asks for";
const FULL: &str = "there is no space left; nothing was written";
const CONFLICT: &str = "kubernetes conflict error (see .cause.conflict_cause[] for details)";
const REFUSED_BY_KUBERNETES: &str = "kubernetes validation error (see .cause.validation_errors[] \
     for details, field paths are those of the Kubernetes object)";

/// When a client may come back if nobody knows better.
const SOON: Duration = Duration::from_secs(1);

/// A failed request of this dialect. What a handler or extractor returns with `?`.
#[derive(Debug)]
pub(crate) struct Problem(Error);

impl Problem {
    /// The request can be read and breaks a rule (422), found by Quartermaster.
    pub(crate) fn invalid(message: &str, causes: Vec<Cause>) -> Self {
        Self(Error::new(Kind::Invalid, message).with_causes(causes))
    }

    /// The path names things that cannot exist.
    pub(crate) fn path(causes: Vec<Cause>) -> Self {
        Self::invalid("path parameters were invalid", causes)
    }

    /// The query string breaks a rule.
    pub(crate) fn query(causes: Vec<Cause>) -> Self {
        Self::invalid("query parameters were invalid", causes)
    }

    /// The body breaks a rule.
    pub(crate) fn body(causes: Vec<Cause>) -> Self {
        Self::invalid("request body was invalid", causes)
    }

    /// What the body refers to does not fit.
    pub(crate) fn references(causes: Vec<Cause>) -> Self {
        Self::invalid("validation error (see .cause.validation_errors[] for details)", causes)
    }

    /// A rule that admission would have enforced; field paths are those of the object.
    pub(crate) fn admission(causes: Vec<Cause>) -> Self {
        let as_kubernetes = |cause| Cause { origin: Origin::Kubernetes, ..cause };
        Self::invalid(REFUSED_BY_KUBERNETES, causes.into_iter().map(as_kubernetes).collect())
    }

    /// The object, or one that the path names, does not exist.
    pub(crate) fn not_found() -> Self {
        Self(Error::new(Kind::NotFound, NOT_FOUND))
    }

    /// Something that the request is about does not exist, and this is why.
    pub(crate) fn missing(cause: Cause) -> Self {
        Self(Error::new(Kind::NotFound, NOT_FOUND).with_causes(vec![cause]))
    }

    /// The caller may not do this; the reason goes to the log only.
    pub(crate) fn forbidden(reason: &str) -> Self {
        Self(Error::new(Kind::Forbidden, FORBIDDEN).with_context(reason))
    }

    /// It would not fit into the quotas of its namespace.
    pub(crate) fn quota(exceeded: Vec<String>) -> Self {
        let causes = exceeded.into_iter().map(|text| Cause::internal("", "", text)).collect();
        Self(Error::new(Kind::Forbidden, FORBIDDEN).with_causes(causes))
    }

    /// The state of the object forbids it.
    pub(crate) fn conflict(message: &str, causes: Vec<Cause>) -> Self {
        Self(Error::new(Kind::Conflict, message).with_causes(causes))
    }

    /// The object is not in the version that `If-Match` names.
    pub(crate) fn outdated() -> Self {
        Self(Error::new(Kind::PreconditionFailed, OUTDATED))
    }

    /// The request cannot be read.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self(Error::new(Kind::Malformed, message))
    }

    /// Something could not be read that this server can do without. If it may not read it, that is
    /// no failure of the request: its rights are the business of whoever runs it.
    pub(crate) fn unless_readable(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 403 => {
                let message =
                    "this server may not read that; `quartermaster rbac` prints its roles";
                Self(Error::new(Kind::Unavailable, message).with_context(error))
            }
            _ => error.into(),
        }
    }

    /// What the caller is told.
    pub(crate) fn message(&self) -> &str {
        wording(&self.0).1
    }

    /// What went wrong.
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        let said = match &error {
            kube::Error::Api(status) => status.message.clone(),
            _ => String::new(),
        };
        let error = cluster::error::public(error);
        match error.kind() {
            // It is this server that lacks the right; the caller was allowed to ask.
            Kind::Forbidden if said.contains("forbidden: User ") => Self(Error::internal(said)),
            // A conflict, or a refusal by a quota or by admission: what the cluster says about it
            // is for the caller.
            Kind::Forbidden | Kind::Conflict if error.causes().is_empty() && !said.is_empty() => {
                Self(error.with_causes(vec![kubernetes(said)]))
            }
            _ => Self(error),
        }
    }
}

/// A cause in the words of the cluster.
pub(crate) fn kubernetes(message: impl Into<String>) -> Cause {
    Cause {
        origin: Origin::Kubernetes,
        reason: String::new(),
        field: String::new(),
        message: message.into(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        reject(&self.0)
    }
}

/// Turns the answer of a create into this dialect's words: the API server says that something
/// exists, the caller is told what.
pub(crate) fn created<T>(answer: kube::Result<T>, noun: &str) -> Result<T, Problem> {
    answer.map_err(|error| match &error {
        kube::Error::Api(status) if status.reason == "AlreadyExists" => {
            Problem::conflict(&format!("{noun} already exists"), Vec::new())
        }
        _ => error.into(),
    })
}

/// Renders an error as this contract words it. Public for layers in front of the router, which
/// reject in the words of the dialect behind them.
pub fn reject(error: &Error) -> Response {
    log(error);
    let (status, message) = wording(error);
    let mut response = failure(status, message, detail(error));
    let after = error.retry_after().or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON));
    if let Some(after) = after {
        let seconds = after.as_secs().max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn wording(error: &Error) -> (StatusCode, &str) {
    let own = error.message();
    match error.kind() {
        Kind::Malformed => (StatusCode::BAD_REQUEST, own),
        Kind::Invalid if refused_by_kubernetes(error) => {
            (StatusCode::UNPROCESSABLE_ENTITY, REFUSED_BY_KUBERNETES)
        }
        Kind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, own),
        Kind::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, own),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, own),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, AUTHENTICATE),
        Kind::Forbidden => (StatusCode::FORBIDDEN, FORBIDDEN),
        Kind::NotFound => (StatusCode::NOT_FOUND, NOT_FOUND),
        Kind::Conflict if error.causes().is_empty() => (StatusCode::CONFLICT, own),
        Kind::Conflict => (StatusCode::CONFLICT, CONFLICT),
        Kind::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, own),
        Kind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, own),
        Kind::Unavailable | Kind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, own),
        Kind::InsufficientStorage => (StatusCode::INSUFFICIENT_STORAGE, FULL),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, BROKEN),
    }
}

fn refused_by_kubernetes(error: &Error) -> bool {
    error.causes().iter().any(|cause| cause.origin == Origin::Kubernetes)
}

/// `cause` belongs to 409 and 422; a refusal by quota or admission (403) and something missing that
/// the path does not name (404) explain themselves in the same places, everything else has none.
fn detail(error: &Error) -> Option<Detail<'_>> {
    let conflict = || Detail {
        conflict_cause: error.causes().iter().map(Into::into).collect(),
        ..Detail::default()
    };
    let invalid = || Detail {
        validation_errors: error.causes().iter().map(Into::into).collect(),
        ..Detail::default()
    };
    match error.kind() {
        Kind::Invalid => Some(invalid()),
        Kind::NotFound if !error.causes().is_empty() && !refused_by_kubernetes(error) => {
            Some(invalid())
        }
        Kind::Conflict => Some(conflict()),
        Kind::Forbidden if !error.causes().is_empty() => Some(conflict()),
        _ => None,
    }
}

fn log(error: &Error) {
    match error.kind() {
        Kind::Internal | Kind::InsufficientStorage => {
            tracing::error!(error = %error.log(), "request failed");
        }
        Kind::Unavailable | Kind::Timeout | Kind::Forbidden => {
            tracing::warn!(error = %error.log(), "request refused");
        }
        _ => tracing::debug!(error = %error.log(), "request refused"),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_conflict_always_has_a_cause_object() {
        let response = reject(&Error::new(Kind::Conflict, "workspace already exists"));
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(
            text(response).await,
            r#"{"error":{"code":"409","message":"workspace already exists","cause":{}}}"#
        );
    }

    #[tokio::test]
    async fn causes_from_kubernetes_change_the_message() {
        let cause = Cause {
            origin: Origin::Kubernetes,
            reason: "FieldValueInvalid".into(),
            field: "spec.kind".into(),
            message: "Invalid value: \"x\"".into(),
        };
        let error = Error::new(Kind::Invalid, "Workspace.kubeflow.org \"a\" is invalid");
        let body = text(reject(&error.with_causes(vec![cause]))).await;
        assert!(body.contains(r#""message":"kubernetes validation error"#), "{body}");
        assert!(
            body.contains(
                r#"{"origin":"KUBERNETES","type":"FieldValueInvalid","field":"spec.kind""#
            )
        );
    }

    #[tokio::test]
    async fn the_reason_of_a_403_stays_in_the_log() {
        let response = Problem::forbidden("label can-update is not true").into_response();
        let body = text(response).await;
        assert!(!body.contains("can-update"), "{body}");
        assert!(!body.contains("cause"), "{body}");
    }

    #[test]
    fn unavailable_says_when_to_come_back() {
        let error = Error::new(Kind::Unavailable, "the cluster cannot answer now")
            .with_retry_after(Duration::from_millis(200));
        let response = reject(&error);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
