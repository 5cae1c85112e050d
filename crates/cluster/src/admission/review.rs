//! `AdmissionReview`: what an API server asks and how it is answered.
//!
//! Whoever reaches the port can ask, so everything is bounded: the length of a question, the time
//! until its answer, and what all questions together take. A question that cannot be read is
//! answered with a `Status`, which an API server passes on in its own error.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request as HttpRequest, State},
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use web::{Error, Head, Kind, listener};

use super::{Denial, Operation, Request, Reviews, Rules, configuration::Webhook};

/// The longest question: two objects as large as API servers take them, and what is around them.
pub const MAX_BYTES: u64 = 7 << 20;
/// The time for an answer; API servers wait for 10 s.
pub const DEADLINE: Duration = Duration::from_secs(9);
/// What all questions at a time may have, in kibibytes.
const ALL_KIB: u32 = 32 << 10;

const VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Answers the questions that arrive for a webhook by these rules. To be wrapped in a stack with the
/// limits of this module and [`render`].
pub fn router<R: Rules>(webhook: &Webhook, rules: Arc<R>, reviews: &Reviews) -> Router {
    let door = Door {
        webhook: webhook.name,
        rules,
        places: Arc::new(Semaphore::new(ALL_KIB as usize)),
        reviews: reviews.clone(),
    };
    Router::new().route(webhook.path, post(answer::<R>).with_state(Arc::new(door)))
}

/// What the questions for one webhook meet.
struct Door<R> {
    webhook: &'static str,
    rules: Arc<R>,
    places: Arc<Semaphore>,
    reviews: Reviews,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Question>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    kind: GroupKind,
    #[serde(default)]
    resource: GroupResource,
    sub_resource: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    operation: String,
    object: Option<Map<String, Value>>,
    old_object: Option<Map<String, Value>>,
}

#[derive(Default, Deserialize)]
struct GroupKind {
    #[serde(default)]
    kind: String,
}

#[derive(Default, Deserialize)]
struct GroupResource {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resource: String,
}

async fn answer<R: Rules>(State(door): State<Arc<Door<R>>>, request: HttpRequest) -> Response {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        let text = "the body of a review must be application/json";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", text);
    }
    let length = body.size_hint().upper().unwrap_or(MAX_BYTES).min(MAX_BYTES);
    let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(ALL_KIB).clamp(1, ALL_KIB);
    // Nobody closes it.
    let Ok(_place) = door.places.acquire_many(kib).await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "ending");
    };
    let read = match listener::read(body).await {
        Ok(read) => read,
        Err(error) => return render(&error, &Head::of(&parts)),
    };
    let question = match question(&read) {
        Ok(question) => question,
        Err(why) => {
            door.reviews.unreadable(door.webhook);
            return refuse(StatusCode::BAD_REQUEST, "BadRequest", &why);
        }
    };
    drop(read);
    let verdict = match question.operation() {
        Some(operation) => door.rules.review(&question.request(operation)).await,
        // Whoever asks about something else has a configuration of their own making.
        None => Ok(Vec::new()),
    };
    door.reviews.note(door.webhook, &verdict);
    if let Err(denial) = &verdict {
        let Question { namespace, name, .. } = &question;
        tracing::info!(code = denial.code, ?namespace, ?name, "a write is refused");
    }
    json_answer(StatusCode::OK, &reviewed(&question.uid, verdict))
}

/// A charset beside it does no harm.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn question(body: &[u8]) -> Result<Question, String> {
    let review: Review = serde_json::from_slice(body)
        .map_err(|error| format!("the body is no {KIND} of {VERSION}: {error}"))?;
    if (review.api_version.as_str(), review.kind.as_str()) != (VERSION, KIND) {
        return Err(format!("the body must be a {KIND} of {VERSION}, and says that it is not"));
    }
    let question = review.request.ok_or_else(|| format!("the {KIND} has no request"))?;
    if question.uid.is_empty() {
        return Err(format!("the request of the {KIND} has no uid"));
    }
    Ok(question)
}

impl Question {
    fn operation(&self) -> Option<Operation> {
        match self.operation.as_str() {
            "CREATE" => Some(Operation::Create),
            "UPDATE" => Some(Operation::Update),
            "DELETE" => Some(Operation::Delete),
            _ => None,
        }
    }

    fn request(&self, operation: Operation) -> Request<'_> {
        Request {
            operation,
            group: &self.resource.group,
            resource: &self.resource.resource,
            kind: &self.kind.kind,
            subresource: self.sub_resource.as_deref().unwrap_or_default(),
            name: self.name.as_deref().unwrap_or_default(),
            namespace: self.namespace.as_deref().unwrap_or_default(),
            object: self.object.as_ref(),
            old_object: self.old_object.as_ref(),
        }
    }
}

fn reviewed(uid: &str, verdict: Result<Vec<String>, Denial>) -> Value {
    let mut response = json!({"uid": uid, "allowed": verdict.is_ok()});
    match verdict {
        Ok(warnings) => {
            response["status"] = json!({"metadata": {}, "code": 200});
            if !warnings.is_empty() {
                response["warnings"] = json!(warnings);
            }
        }
        Err(denial) => response["status"] = json!(status(denial)),
    }
    json!({"apiVersion": VERSION, "kind": KIND, "response": response})
}

fn status(denial: Denial) -> Status {
    Status {
        code: Some(denial.code.into()),
        status: Some("Failure".to_owned()),
        reason: Some(denial.reason.to_owned()),
        message: Some(denial.message),
        details: denial.details.map(|details| *details),
        ..Status::default()
    }
}

/// How the listener words what goes wrong before the rules are asked.
pub fn render(error: &Error, _: &Head) -> Response {
    let (code, reason) = match error.kind() {
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
        Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
        Kind::Malformed => (StatusCode::BAD_REQUEST, "BadRequest"),
        Kind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    };
    refuse(code, reason, error.message())
}

fn refuse(code: StatusCode, reason: &'static str, message: &str) -> Response {
    let message = message.to_owned();
    let status = status(Denial { code: code.as_u16(), reason, message, details: None });
    json_answer(code, &json!(status))
}

fn json_answer(code: StatusCode, body: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    (code, [(header::CONTENT_TYPE, json)], Body::from(body.to_string())).into_response()
}
