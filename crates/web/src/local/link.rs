//! Links that carry a ticket, and the redirects that take it away again.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, Uri, header};

/// A redirect that signs a browser in and leaves no trace of the ticket in its history.
pub fn redirect_with_cookie(target: &str, cookie: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(
        header::LOCATION,
        HeaderValue::from_str(target).unwrap_or_else(|_| HeaderValue::from_static("/")),
    );
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The value of a query parameter; an escaped name counts as well, so that none slips by.
pub fn query_value(uri: &Uri, name: &str) -> Option<String> {
    pairs(uri).map(split).find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value))
}

/// Path and query without one parameter, the rest byte for byte. It never leaves the listener:
/// a path that a browser would read as another host's loses its extra slashes.
pub fn without_query(uri: &Uri, name: &str) -> String {
    let kept: Vec<&str> = pairs(uri).filter(|pair| decoded(split(pair).0) != name).collect();
    let path = format!("/{}", uri.path().trim_start_matches(['/', '\\']));
    if kept.is_empty() { path } else { format!("{path}?{}", kept.join("&")) }
}

fn pairs(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
}

fn split(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
