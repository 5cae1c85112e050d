//! Calls to a service on this machine: without TLS, proxy or names to look up, the client can do with
//! a fraction of what one for the internet needs. The usual Flux v1 daemon is there.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use reqwest::Url;

use super::{Failure, http_client};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Near {
    uri: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Near {
    /// A client for this URL, if it is one of this machine.
    pub(super) fn new(url: &Url) -> Option<Self> {
        let host = url.host_str()?.trim_matches(['[', ']']);
        let here = host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if url.scheme() != "http" || !here {
            return None;
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Some(Self { uri: url.as_str().parse().ok()?, client })
    }

    /// Posts a body; gives that of a success. The caller has the patience.
    pub(super) async fn post(
        &self,
        headers: &HeaderMap,
        body: String,
        good: fn(u16) -> bool,
    ) -> Result<Bytes, Failure> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(headers);
        let response = self.client.request(request).await.map_err(|error| {
            let what = if error.is_connect() { "cannot connect" } else { "the connection broke" };
            Failure::transient(what)
        })?;
        if !good(response.status().as_u16()) {
            return Err(http_client::refusal(response.status(), response.headers()));
        }
        let body = Limited::new(response.into_body(), http_client::MAX_ANSWER).collect().await;
        let body = body.map_err(|error| {
            let long = error.is::<LengthLimitError>();
            Failure::transient(if long { "the answer is too long" } else { "the connection broke" })
        })?;
        Ok(body.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_near() {
        let near = |url: &str| Near::new(&url.parse().unwrap()).is_some();
        for url in ["http://localhost:3030/api/flux", "http://127.0.0.1:1/", "http://[::1]:1/"] {
            assert!(near(url), "{url}");
        }
        for url in ["https://localhost/", "http://10.0.0.1/", "http://flux/", "http://localhost.x/"]
        {
            assert!(!near(url), "{url}");
        }
    }
}
