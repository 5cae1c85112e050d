//! From a request to what it means.

use bytes::Bytes;
use serde_json::Value;

use super::{
    Endpoint,
    judge::{Seen, wanted},
};
use crate::{
    decide::{auth::Auth, x509::Names},
    model::{Inbound, Refusal},
    sources::Outcome,
};

/// Authentication first, on raw bytes; only then is anything parsed. Also gives the claims of the
/// sender's token, if it brings one.
pub(super) async fn read(
    endpoint: &Endpoint,
    request: &Inbound<'_>,
    client: Option<&Names>,
) -> Result<(Outcome, Value), Refusal> {
    let wrong = |reason| Refusal::credentials(401, "invalid signature", reason);
    let mut claims = Value::Null;
    match &endpoint.auth {
        None => {}
        Some(Auth::Oidc(issuers)) => claims = issuers.claims(request).await.map_err(wrong)?,
        Some(Auth::Mtls(subjects)) if client.is_some_and(|names| names.any(subjects)) => {}
        Some(auth) if auth.passes(request) => {}
        Some(_) => return Err(wrong("wrong credentials")),
    }
    endpoint.source.verify(request, &endpoint.keys)?;
    if let Some(check) = endpoint.source.verify_remotely(request) {
        let found = check.await?;
        claims = if found.is_null() { claims } else { found };
    }
    let outcome = endpoint.source.parse_claimed(request, &claims)?;
    Ok((outcome, claims))
}

/// Which targets a request would be told to, and about what; nobody is told. The error is why it would
/// be refused.
pub(crate) async fn preview(
    endpoint: &Endpoint,
    request: &Inbound<'_>,
    body: &Bytes,
) -> Result<Vec<(String, String)>, String> {
    let read = read(endpoint, request, None).await.map_err(|refusal| refusal.reason.to_owned())?;
    let (Outcome::Events(events), claims) = read else { return Ok(Vec::new()) };
    let seen = Seen { headers: request.headers, body, claims: &claims };
    let wanted = wanted(endpoint, seen, events).await.map_err(|error| error.to_string())?;
    let calls = wanted.1.into_iter();
    Ok(calls.map(|call| (call.target.name().to_owned(), call.subject)).collect())
}
