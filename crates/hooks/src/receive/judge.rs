//! Asking the CEL expressions of filters: away from the threads that serve connections, because
//! each may take a tenth of a second.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::{
    Endpoint,
    inline::{self, Call},
};
use crate::{
    decide::{
        cel::{Error, Expression, Input},
        json, signature,
    },
    model::{Event, Inbound},
    targets::{Request, Telling},
};

/// What expressions may look at.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
    pub(super) claims: &'a Value,
}

/// The events that pass the filters, and the calls they lead to.
pub(super) async fn wanted<'a>(
    endpoint: &'a Endpoint,
    seen: Seen<'_>,
    mut events: Vec<Event>,
) -> Result<(Vec<Event>, Vec<Call<'a>>), Error> {
    let Seen { headers, body, claims } = seen;
    events.retain(|event| endpoint.filter.passes(event));
    if let Some(expression) = &endpoint.filter.cel {
        let questions = events.iter().map(|event| (expression.clone(), event)).collect();
        let mut said = judge(endpoint, headers, body, claims, questions).await?.into_iter();
        events.retain(|_| said.next() == Some(true));
    }
    let mut calls = inline::calls(endpoint, &events);
    let asks = |call: &Call<'_>| call.target.filter().and_then(|filter| filter.cel.clone());
    let questions =
        calls.iter().filter_map(|call| Some((asks(call)?, &events[call.event]))).collect();
    let mut said = judge(endpoint, headers, body, claims, questions).await?.into_iter();
    calls.retain(|call| asks(call).is_none() || said.next() == Some(true));
    Ok((events, calls))
}

/// What each expression says of its event.
async fn judge(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: &Bytes,
    claims: &Value,
    questions: Vec<(Expression, &Event)>,
) -> Result<Vec<bool>, Error> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let delivery_id = endpoint.source.delivery_id(&Inbound { headers, body, now: 0 });
    let document = |event: &Event| {
        let telling = Telling {
            id: None,
            endpoint: &endpoint.name,
            source: endpoint.source.name(),
            delivery_id: delivery_id.as_deref(),
            event,
            more: &[],
            request: None,
        };
        // It has no name yet, and never one if it is turned down.
        telling.document(None)
    };
    let questions: Vec<(Expression, Value)> =
        questions.into_iter().map(|(expression, event)| (expression, document(event))).collect();
    let (shown, headers, body) = (shown(endpoint, headers), headers.clone(), body.clone());
    let claims = claims.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let request = Inbound { headers: &headers, body: &body, now: 0 };
        let req = parsed(&signature::hub_payload(&request));
        let ask = |(expression, event): (Expression, Value)| {
            let (req, headers, event, claims) = (&req, &shown, &event, &claims);
            expression.passes(Input { req, headers, event, claims, ..Input::nothing() })
        };
        questions.into_iter().map(ask).collect()
    });
    asked.await.unwrap_or_else(|error| Err(Error::Failed(error.to_string())))
}

/// A body as expressions see it: its first object, as the sources read it; another value, if it is
/// not long and nothing follows it; or else nothing.
fn parsed(body: &[u8]) -> Value {
    const LONG: usize = 64 * 1024;
    if let Ok(object) = json::first::<Map<String, Value>>(body) {
        return Value::Object(object);
    }
    let other = (body.len() <= LONG).then(|| serde_json::from_slice(body).ok()).flatten();
    other.unwrap_or_else(|| Value::Object(Map::new()))
}

fn shown(endpoint: &Endpoint, headers: &HeaderMap) -> Value {
    let shown = headers
        .iter()
        .filter(|(name, _)| {
            !Request::is_secret(name.as_str()) && !endpoint.is_secret(name.as_str())
        })
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into())
        });
    Value::Object(shown.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[rstest::rstest]
    #[case(r#"{"x":1}"#, json!({"x": 1}))]
    #[case(r#"{"x":1}}"#, json!({"x": 1}))]
    #[case(" {\"x\":1}\n{\"y\":2}", json!({"x": 1}))]
    #[case("[1]", json!([1]))]
    #[case("{\"x\":", json!({}))]
    #[case("text", json!({}))]
    #[case("", json!({}))]
    fn bodies_are_read_as_sources_read_them(#[case] body: &str, #[case] expected: Value) {
        assert_eq!(parsed(body.as_bytes()), expected);
    }

    #[test]
    fn bodies_are_bounded() {
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        let long = format!("[{}0]", "0,".repeat(64 * 1024));
        let many = format!("{{\"a\":[{}0]}}", "0,".repeat(1_000_001));
        for body in [deep, long, many] {
            assert_eq!(parsed(body.as_bytes()), json!({}));
        }
    }
}
