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
        signature,
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
    let questions: Vec<(Expression, Value)> = questions
        .into_iter()
        .map(|(expression, event)| {
            let source = endpoint.source.name();
            let endpoint = &endpoint.name;
            let telling = Telling { id: None, endpoint, source, event, more: &[], request: None };
            (expression, telling.document(""))
        })
        .collect();
    let (shown, headers, body) = (shown(endpoint, headers), headers.clone(), body.clone());
    let claims = claims.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let request = Inbound { headers: &headers, body: &body, now: 0 };
        let req = serde_json::from_slice(&signature::hub_payload(&request));
        let req = req.unwrap_or_else(|_| Value::Object(Map::new()));
        let ask = |(expression, event): (Expression, Value)| {
            let (req, headers, event, claims) = (&req, &shown, &event, &claims);
            expression.passes(Input { req, headers, event, claims, ..Input::nothing() })
        };
        questions.into_iter().map(ask).collect()
    });
    asked.await.unwrap_or_else(|error| Err(Error::Failed(error.to_string())))
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
