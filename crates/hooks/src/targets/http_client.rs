//! The HTTP client of targets, and what statuses mean to all of them.

use std::{net::IpAddr, time::Duration};

use reqwest::{Client, Response, StatusCode, Url, header::RETRY_AFTER, redirect::Policy};

use super::Failure;

/// How much of an answer is read.
const MAX_ANSWER: usize = 64 * 1024;

/// A client for calls to `url`. Redirects are not followed: whoever answers could send us
/// anywhere. A proxy of the environment is obeyed, but never used for this machine itself.
pub(super) fn client(url: &Url, timeout: Duration) -> Result<Client, String> {
    // reqwest is built without a provider of its own; the first one installed stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = Client::builder()
        .redirect(Policy::none())
        .timeout(timeout)
        .http1_only()
        .pool_idle_timeout(Duration::from_secs(30));
    let builder = if is_local(url) { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| format!("cannot make an HTTP client: {error}"))
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a call that got no answer means. Addresses and credentials stay out of the text.
pub(super) fn unanswered(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::TimedOut;
    }
    let what = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    Failure::transient(what)
}

/// What a status that is no success means.
pub(super) fn unsuccessful(response: &Response) -> Failure {
    let status = response.status();
    let why = format!("answered {}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Failure::Unwelcome(why)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Failure::Transient { why, retry_after: retry_after(response) }
        }
        status if status.is_client_error() => Failure::Permanent(why),
        _ => Failure::Transient { why, retry_after: retry_after(response) },
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body of an answer, unless it is absurdly long.
pub(super) async fn body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::transient("the answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
