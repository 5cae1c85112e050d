//! For operators, on a listener of its own: is it well, what came in, what became of it, do it
//! again (contract §3.10). Everything about deliveries wants the token; payloads and secrets are
//! never shown.

use std::{net::IpAddr, sync::Arc};

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{
    decide::signature::equal,
    journal::{Delivery, Id, Journal, RedeliverError, State, Unavailable},
    listener::{Body, Handler},
    receive::Receiver,
};

/// The most deliveries of one answer.
const MAX_LIMIT: usize = 200;
/// The most deliveries that are looked at for one answer.
const MAX_SCAN: usize = 10_000;
const PREFIX: &str = "/api/v1/hooks/";

/// See the module.
pub struct Admin {
    receiver: Arc<Receiver>,
    token: Option<Vec<u8>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// A status and what is said with it.
type Said = (StatusCode, Value);

fn error(status: StatusCode, text: &str) -> Said {
    (status, json!({ "error": text }))
}

impl Admin {
    /// For this receiver. Without a token nobody may see or do anything but ask how it is.
    pub fn new(receiver: Arc<Receiver>, token: Option<Vec<u8>>) -> Arc<Self> {
        Arc::new(Self { receiver, token })
    }

    fn allowed(&self, request: &Request<Incoming>) -> bool {
        let sent = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let sent = sent.and_then(|value| value.strip_prefix(b"Bearer "));
        self.token.as_deref().zip(sent).is_some_and(|(token, sent)| equal(token, sent))
    }

    async fn api(&self, method: &Method, route: &str, query: &str) -> Said {
        let journal = self.receiver.journal();
        let parts: Vec<&str> = route.split('/').collect();
        match (method, &*parts, journal) {
            (&Method::GET, ["endpoints"], _) => (StatusCode::OK, self.endpoints()),
            (_, ["deliveries" | "deadletters", ..], None) => {
                error(StatusCode::NOT_FOUND, "no endpoint keeps its deliveries")
            }
            (&Method::GET, ["deliveries"], Some(journal)) => list(&journal, query, false),
            (&Method::GET, ["deadletters"], Some(journal)) => list(&journal, query, true),
            (&Method::GET, ["deliveries", id], Some(journal)) => one(&journal, id),
            (&Method::POST, ["deliveries", id, "redeliver"], Some(journal)) => {
                redeliver(&journal, id).await
            }
            _ => error(StatusCode::NOT_FOUND, "no such route"),
        }
    }

    fn endpoints(&self) -> Value {
        // Eight digits are enough to tell paths apart, and too few to use one.
        let masked = |path: &String| path.chars().take(14).chain("…".chars()).collect::<String>();
        let items = self.receiver.endpoints().into_iter().map(|(name, source, paths)| {
            let paths: Vec<String> = paths.iter().map(masked).collect();
            json!({ "name": name, "source": source, "paths": paths })
        });
        json!({ "items": items.collect::<Vec<_>>() })
    }

    fn ready(&self) -> (StatusCode, String) {
        match self.receiver.journal().map(|journal| (journal.keeps(), journal.depth())) {
            Some((false, _) | (_, Err(_))) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{Unavailable}\n"))
            }
            Some((true, Ok(_))) | None => (StatusCode::OK, "ready\n".to_owned()),
        }
    }

    fn metrics(&self) -> String {
        let mut text = String::from("# TYPE qm_hook_requests_total counter\n");
        for ((endpoint, source, code), count) in self.receiver.counts() {
            let endpoint = endpoint.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            text.push_str(&format!(
                "qm_hook_requests_total{{endpoint=\"{endpoint}\",source=\"{source}\",code=\"{code}\"}} {count}\n"
            ));
        }
        if let Some(Ok(depth)) = self.receiver.journal().map(|journal| journal.depth()) {
            text.push_str(&format!(
                "# TYPE qm_hook_queue_depth gauge\nqm_hook_queue_depth {depth}\n"
            ));
        }
        text
    }
}

/// The value of a query parameter; ours need no escapes.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn list(journal: &Journal, query: &str, dead: bool) -> Said {
    let limit = parameter(query, "limit").map_or(Ok(50), str::parse::<usize>);
    let cursor = parameter(query, "cursor").map(str::parse::<Id>).transpose();
    let (Ok(limit), Ok(mut cursor)) = (limit, cursor) else {
        return error(StatusCode::BAD_REQUEST, "limit or cursor is none");
    };
    let limit = limit.clamp(1, MAX_LIMIT);
    let (endpoint, state) = (parameter(query, "endpoint"), parameter(query, "state"));
    let wanted = |delivery: &Delivery| {
        endpoint.is_none_or(|name| name == delivery.endpoint)
            && state.is_none_or(|state| state == word(delivery))
            && (!dead || delivery.dead())
    };
    let mut items = Vec::new();
    let mut scanned = 0;
    while scanned < MAX_SCAN {
        let Ok(page) = journal.deliveries(cursor, MAX_LIMIT) else {
            return error(StatusCode::SERVICE_UNAVAILABLE, "the journal cannot be read");
        };
        if page.is_empty() {
            cursor = None;
            break;
        }
        for delivery in page {
            cursor = Some(delivery.id);
            scanned += 1;
            if wanted(&delivery) {
                items.push(shown(&delivery));
                if items.len() == limit {
                    return (
                        StatusCode::OK,
                        json!({ "items": items, "next": cursor.map(|id| id.to_string()) }),
                    );
                }
            }
        }
    }
    (StatusCode::OK, json!({ "items": items, "next": cursor.map(|id| id.to_string()) }))
}

fn one(journal: &Journal, id: &str) -> Said {
    let Ok(id) = id.parse() else { return error(StatusCode::NOT_FOUND, "no such delivery") };
    match journal.delivery(id) {
        Ok(Some(delivery)) => (StatusCode::OK, shown(&delivery)),
        Ok(None) => error(StatusCode::NOT_FOUND, "no such delivery"),
        Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, "the journal cannot be read"),
    }
}

async fn redeliver(journal: &Journal, id: &str) -> Said {
    let Ok(id) = id.parse::<Id>() else { return error(StatusCode::NOT_FOUND, "no such delivery") };
    match journal.redeliver(id).await {
        Ok(()) => (StatusCode::ACCEPTED, json!({ "id": id.to_string(), "status": "accepted" })),
        Err(problem) => {
            let status = match problem {
                RedeliverError::Unknown => StatusCode::NOT_FOUND,
                RedeliverError::Running => StatusCode::CONFLICT,
                RedeliverError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            error(status, &problem.to_string())
        }
    }
}

/// The state of a delivery in one word.
fn word(delivery: &Delivery) -> &'static str {
    let any =
        |wanted: fn(&State) -> bool| delivery.notifications.iter().any(|one| wanted(&one.state));
    let pending = any(|state| matches!(state, State::Pending | State::Merged(..)));
    let tried =
        delivery.notifications.iter().any(|one| one.state == State::Pending && one.attempts > 0);
    match (pending, tried) {
        (_, true) => "retrying",
        (true, false) => "queued",
        (false, _) if delivery.dead() => "dead",
        (false, _) => "delivered",
    }
}

fn shown(delivery: &Delivery) -> Value {
    let mut value = serde_json::to_value(delivery).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        let received = jiff::Timestamp::from_millisecond(delivery.id.received_ms()).ok();
        fields.insert("id".to_owned(), delivery.id.to_string().into());
        fields.insert("receivedAt".to_owned(), received.map(|at| at.to_string()).into());
        fields.insert("state".to_owned(), word(delivery).into());
    }
    value
}

impl Handler for Admin {
    async fn handle(self: Arc<Self>, _peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let text = |status, media, text: String| {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            let media = http::HeaderValue::from_static(media);
            response.headers_mut().insert(header::CONTENT_TYPE, media);
            response
        };
        const PLAIN: &str = "text/plain; charset=utf-8";
        if let Some(route) = path.strip_prefix(PREFIX) {
            let (status, value) = if self.allowed(&request) {
                self.api(request.method(), route, query).await
            } else {
                error(StatusCode::UNAUTHORIZED, "a bearer token is needed")
            };
            return text(status, "application/json", value.to_string());
        }
        match path {
            "/healthz" => text(StatusCode::OK, PLAIN, "ok\n".to_owned()),
            "/readyz" => {
                let (status, said) = self.ready();
                text(status, PLAIN, said)
            }
            "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4", self.metrics()),
            _ => text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n".to_owned()),
        }
    }

    fn exempt(&self, _peer: IpAddr) -> bool {
        true
    }
}
