//! Passes the request on as it came, so that a receiver further in can verify it by itself.

use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use http::HeaderMap;
use reqwest::{Client, Url};

use super::{Failure, Guard, Request, Target, Telling, Wants, http_client};
use crate::model::Event;

/// How a request is passed on.
#[derive(Debug)]
pub struct Settings {
    /// Where to; each gets it.
    pub urls: Vec<String>,
    /// Which addresses may be called.
    pub guard: Guard,
    /// Whether what the sender proves itself with is passed on as well.
    pub forward_auth: bool,
    /// How long a call may take.
    pub timeout: Duration,
}

/// See the module.
pub struct Relay {
    name: String,
    places: Vec<(Url, Client)>,
    forward_auth: bool,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Relay {
    /// The receivers of these settings, called `name` by us.
    pub fn new(name: &str, settings: Settings) -> Result<Self, String> {
        let wrong = |why: &str| format!("target \"{name}\": {why}");
        let Settings { urls, guard, forward_auth, timeout } = settings;
        if urls.is_empty() {
            return Err(wrong("url is missing"));
        }
        let place = |text: &String| {
            let url = Url::parse(text).map_err(|error| wrong(&format!("url: {error}")))?;
            guard.check(&url).map_err(wrong)?;
            let client = http_client::guarded(&url, timeout, guard.clone());
            Ok::<_, String>((url, client.map_err(|error| wrong(&error))?))
        };
        let places = urls.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), places, forward_auth })
    }

    /// The headers that are passed on. A request may hold secrets that another relay wants.
    fn headers(&self, request: &Request) -> HeaderMap {
        let passed = request.marked().filter(|(.., secret)| self.forward_auth || !secret);
        passed.map(|(name, value, _)| (name.clone(), value.clone())).collect()
    }

    async fn pass(&self, url: &Url, client: &Client, request: &Request) -> Result<(), Failure> {
        let headers = self.headers(request);
        let call = client.post(url.clone()).headers(headers).body(request.body.clone());
        http_client::deliver(call).await
    }
}

impl Target for Relay {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self, event: &Event) -> Option<String> {
        super::subject(event)
    }

    fn coalesces(&self) -> bool {
        false
    }

    fn wants(&self) -> Wants {
        if self.forward_auth { Wants::Secrets } else { Wants::Request }
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let Some(request) = telling.request else {
                return Err(Failure::Permanent("the request is not kept any more".to_owned()));
            };
            // All are told, also after one failed; the next attempt tells all of them again.
            let calls = self.places.iter().map(|(url, client)| self.pass(url, client, request));
            let told = futures::future::join_all(calls).await;
            told.into_iter().fold(Ok(()), Result::and)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_only_passed_on_by_relays_that_shall() {
        let mut own = http::HeaderValue::from_static("s3cret");
        own.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("x-mine", own);
        headers.append("x-a", http::HeaderValue::from_static("1"));
        headers.append("x-a", http::HeaderValue::from_static("2"));
        let request = Request { headers, body: bytes::Bytes::new() };
        for (forward_auth, passed) in [(false, 2), (true, 3)] {
            let (urls, guard) = (vec!["https://example.com".to_owned()], Guard::new(Vec::new()));
            let timeout = Duration::from_secs(1);
            let settings = Settings { urls, guard, forward_auth, timeout };
            assert_eq!(Relay::new("t", settings).unwrap().headers(&request).len(), passed);
        }
    }

    #[test]
    fn only_public_receivers_with_tls_unless_allowed() {
        let relay = |url: &str, guard: Guard| {
            let urls = vec![url.to_owned()];
            let timeout = Duration::from_secs(1);
            Relay::new("t", Settings { urls, guard, forward_auth: false, timeout }).is_ok()
        };
        let public = || Guard::new(Vec::new());
        assert!(relay("https://example.com/hook", public()));
        for url in ["http://example.com", "https://127.0.0.1/", "https://[::1]/", "ftp://x", "x"] {
            assert!(!relay(url, public()), "{url}");
        }
        let inside = Guard::new(crate::limits::Network::loopback()).without_tls(true);
        assert!(relay("http://127.0.0.1/", inside));
    }
}
