//! Who a response is for, and the few facts of a request that an error renderer may look at.

use std::fmt;

use axum::response::Response;
use http::{HeaderMap, Method, Uri, header, request::Parts};

use crate::Error;

/// The kind of reader at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// A person: the request asks for `text/html`.
    Browser,
    /// A script or program: anything else, `*/*` included.
    Program,
}

impl Client {
    /// Reads `Accept`. Only an explicit `text/html` that is not refused by `q=0` makes a browser.
    pub fn of(headers: &HeaderMap) -> Self {
        let wants_html = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(accepts_html);
        if wants_html { Self::Browser } else { Self::Program }
    }
}

fn accepts_html(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let refused = parts.any(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>() == Ok(0.0)
        })
    });
    !refused
        && (media.eq_ignore_ascii_case("text/html")
            || media.eq_ignore_ascii_case("application/xhtml+xml"))
}

/// What is left of a request once its body and headers went to the handler.
#[derive(Clone)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target. Its query may carry a ticket: print [`Uri::path`] only.
    pub uri: Uri,
    /// Who will read the response.
    pub client: Client,
}

impl Head {
    /// The head of a request.
    pub fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            client: Client::of(&parts.headers),
        }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.uri.path(), self.client)
    }
}

/// How a listener words a rejection that comes from outside of its handlers. A listener that serves
/// several dialects chooses by the path.
pub type Render = fn(&Error, &Head) -> Response;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("text/html,application/xhtml+xml,*/*;q=0.8", Client::Browser)]
    #[case("application/json, TEXT/HTML;q=0.1", Client::Browser)]
    #[case("text/html;q=0", Client::Program)]
    #[case("text/html; Q=0.000", Client::Program)]
    #[case("*/*", Client::Program)]
    #[case("text/htmlx", Client::Program)]
    #[case("", Client::Program)]
    fn only_an_explicit_html_range_makes_a_browser(#[case] accept: &str, #[case] want: Client) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(Client::of(&headers), want);
    }
}
