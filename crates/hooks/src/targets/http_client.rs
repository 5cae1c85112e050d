//! The HTTP client of targets, and what statuses mean to all of them.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use reqwest::{Client, Response, Url};

use super::{Failure, Guard};
use crate::client::{self, Unread};

/// How much of an answer is read.
pub(super) const MAX_ANSWER: usize = 64 * 1024;

/// A client for calls to `url`.
pub(super) fn client(url: &Url, timeout: Duration) -> Result<Client, String> {
    let built = client::builder_for(url, timeout).build();
    built.map_err(|error| format!("cannot make an HTTP client: {error}"))
}

/// A client for calls to a `url` that a stranger chose.
pub(super) fn guarded(url: &Url, timeout: Duration, guard: Guard) -> Result<Client, String> {
    if !guard.admits_url(url) {
        return Err("url is an address that is not public".to_owned());
    }
    guard.builder(timeout).build().map_err(|error| format!("cannot make an HTTP client: {error}"))
}

/// What a call that got no answer means. Addresses and credentials stay out of the text.
pub(super) fn unanswered(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::TimedOut;
    }
    let what = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    Failure::transient(what)
}

/// Makes a call of which only the success counts.
pub(super) async fn deliver(call: reqwest::RequestBuilder) -> Result<(), Failure> {
    let response = call.send().await.map_err(|error| unanswered(&error))?;
    if !response.status().is_success() {
        return Err(unsuccessful(&response));
    }
    body(response).await.map(drop)
}

/// Makes a call whose answer is of no interest beyond its status, however long it is.
pub(super) async fn succeed(call: reqwest::RequestBuilder) -> Result<(), Failure> {
    let response = call.send().await.map_err(|error| unanswered(&error))?;
    if response.status().is_success() { Ok(()) } else { Err(unsuccessful(&response)) }
}

/// What a status that is no success means.
pub(super) fn unsuccessful(response: &Response) -> Failure {
    refusal(response.status(), response.headers())
}

/// The same for whatever client got the answer.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> Failure {
    let why = format!("answered {}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Failure::Unwelcome(why)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Failure::Transient { why, retry_after: retry_after(headers) }
        }
        status if status.is_client_error() => Failure::Permanent(why),
        _ => Failure::Transient { why, retry_after: retry_after(headers) },
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body of an answer, unless it is absurdly long.
pub(super) async fn body(response: Response) -> Result<Vec<u8>, Failure> {
    client::body(response, MAX_ANSWER).await.map_err(|unread| match unread {
        Unread::Broken(error) => unanswered(&error),
        Unread::TooLong => Failure::transient("the answer is too long"),
    })
}
