//! Any HTTP service: gets the event as JSON, signed by the Standard Webhooks rule.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{FutureExt as _, future::BoxFuture};
use reqwest::{
    Client, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};

use super::{Failure, Target, Telling, guard::Guard, http_client};
use crate::{decide::standard_webhooks, limits::Network, model::Event};

/// How a service is called.
#[derive(Debug)]
pub struct Settings {
    /// Where.
    pub url: String,
    /// Whether the URL may be one without TLS.
    pub allow_http: bool,
    /// Addresses that may be called although they are not public.
    pub allow: Vec<Network>,
    /// The signing secret, in the text form of the standard.
    pub secret: Option<Vec<u8>>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// See the module.
pub struct Http {
    name: String,
    url: Url,
    secret: Option<Vec<u8>>,
    client: Client,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Http {
    /// The service of these settings, called `name` by us.
    pub fn new(name: &str, settings: Settings) -> Result<Self, String> {
        let wrong = |why: &str| format!("target \"{name}\": {why}");
        let url = Url::parse(&settings.url).map_err(|error| wrong(&format!("url: {error}")))?;
        match url.scheme() {
            "https" => {}
            "http" if settings.allow_http => {}
            "http" => return Err(wrong("url is not https; set allowHTTP if that is meant")),
            _ => return Err(wrong("url is neither https nor http")),
        }
        if settings
            .secret
            .as_deref()
            .is_some_and(|secret| standard_webhooks::sign(secret, "id", 0, b"").is_none())
        {
            return Err(wrong("the signing key is not whsec_ with base64 of 24 to 64 bytes"));
        }
        let client = http_client::guarded(&url, settings.timeout, Guard::new(settings.allow));
        let client = client.map_err(|error| wrong(&error))?;
        Ok(Self { name: name.to_owned(), url, secret: settings.secret, client })
    }

    fn headers(&self, id: &str, body: &[u8]) -> Result<HeaderMap, Failure> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = i64::try_from(seconds).unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-timestamp", seconds.into());
        let no_value = |_| Failure::Permanent("a header cannot be written".to_owned());
        headers.insert("webhook-id", HeaderValue::try_from(id).map_err(no_value)?);
        let signature = self
            .secret
            .as_deref()
            .and_then(|secret| standard_webhooks::sign(secret, id, seconds, body));
        if let Some(signature) = signature {
            headers
                .insert("webhook-signature", HeaderValue::try_from(signature).map_err(no_value)?);
        }
        Ok(headers)
    }
}

impl Target for Http {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self, event: &Event) -> Option<String> {
        super::subject(event)
    }

    fn coalesces(&self) -> bool {
        false
    }

    fn side_effects(&self) -> bool {
        true
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let id = telling.name();
            let body = telling.document(Some(&id)).to_string();
            let mut headers = self.headers(&id, body.as_bytes())?;
            let trace = telling.event.traceparent.as_deref();
            if let Some(trace) = trace.and_then(|trace| HeaderValue::try_from(trace).ok()) {
                headers.insert("traceparent", trace);
            }
            let call = self.client.post(self.url.clone()).headers(headers).body(body);
            http_client::deliver(call).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings {
            url: url.to_owned(),
            allow_http: false,
            allow: Vec::new(),
            secret: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn only_public_services_with_tls_unless_allowed() {
        assert!(Http::new("t", settings("https://example.com/x")).is_ok());
        for url in ["http://example.com", "https://127.0.0.1/", "https://[::1]/", "ftp://x", "x"] {
            assert!(Http::new("t", settings(url)).is_err(), "{url}");
        }
        let mut allowed = settings("http://127.0.0.1/");
        (allowed.allow_http, allowed.allow) = (true, Network::loopback());
        assert!(Http::new("t", allowed).is_ok());
        let mut signed = settings("https://example.com");
        signed.secret = Some(b"short".to_vec());
        assert!(Http::new("t", signed).is_err());
    }
}
