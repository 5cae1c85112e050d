//! A Flux v1 daemon (contract §1.9), as flux-recv calls it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{FutureExt as _, future::BoxFuture};
use percent_encoding::percent_decode_str;
use reqwest::{
    Client, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::de::IgnoredAny;
use tokio::time::timeout;

use super::{Failure, Guard, Target, Telling, http_client, near::Near};
use crate::model::{Event, Notice};

/// How long a call may take if nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct FluxV1 {
    name: String,
    url: Url,
    headers: HeaderMap,
    client: Client,
    timeout: Duration,
    /// Used instead if the daemon is on this machine.
    near: Option<Near>,
}

impl FluxV1 {
    /// The daemon whose API is at `api`, known to us by `token`.
    pub fn new(name: &str, api: &str, token: Option<&str>) -> Result<Self, String> {
        let mut target = Self::with(name, api, token, |url| http_client::client(url, TIMEOUT))?;
        target.near = Near::new(&target.url);
        Ok(target)
    }

    /// The same for an address that a stranger chose.
    pub fn guarded(
        name: &str,
        api: &str,
        token: Option<&str>,
        guard: Guard,
    ) -> Result<Self, String> {
        Self::with(name, api, token, |url| {
            guard.check(url)?;
            http_client::guarded(url, TIMEOUT, guard)
        })
    }

    /// The same, but a call may take this long; without a time, the usual one.
    #[must_use]
    pub fn within(self, timeout: Option<Duration>) -> Self {
        Self { timeout: timeout.unwrap_or(TIMEOUT), ..self }
    }

    fn with(
        name: &str,
        api: &str,
        token: Option<&str>,
        client: impl FnOnce(&Url) -> Result<Client, String>,
    ) -> Result<Self, String> {
        let mut url = notify_url(api)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let authorization = match token {
            Some(token) => Some(format!("Scope-Probe token={token}")),
            None => basic(&url),
        };
        if let Some(text) = authorization {
            let mut value =
                HeaderValue::try_from(text).map_err(|_| "the API token is no header value")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let no_host = |()| format!("cannot use \"{api}\" as the API URL");
        url.set_username("").and(url.set_password(None)).map_err(no_host)?;
        let (name, client) = (name.to_owned(), client(&url)?);
        Ok(Self { name, client, url, headers, timeout: TIMEOUT, near: None })
    }
}

/// `/v11/notify` below the API's path; doubled and trailing slashes collapse, query and fragment
/// go.
fn notify_url(api: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("cannot use the API URL: {why}");
    let mut url = Url::parse(api).map_err(|error| wrong(&error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong("its scheme is neither http nor https"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let segments: Vec<&str> = url.path().split('/').filter(|part| !part.is_empty()).collect();
    let path: String =
        segments.iter().chain(&["v11", "notify"]).map(|part| format!("/{part}")).collect();
    url.set_path(&path);
    Ok(url)
}

fn basic(url: &Url) -> Option<String> {
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let user = [decoded(url.username()), decoded(url.password().unwrap_or_default())].join(&b':');
    Some(format!("Basic {}", STANDARD.encode(user)))
}

/// The notice as the daemon's own client writes it: characters that HTML knows are escaped.
fn body(notice: &Notice) -> Result<String, Failure> {
    let json = serde_json::to_string(notice)
        .map_err(|error| Failure::Permanent(format!("cannot write the notice: {error}")))?;
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return Ok(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}

/// Whether a status is one of success.
fn good(status: u16) -> bool {
    [200, 201, 202, 204].contains(&status)
}

/// Whether the body of a success is the daemon's.
fn understood(answer: &[u8]) -> Result<(), Failure> {
    if answer.is_empty() || serde_json::from_slice::<IgnoredAny>(answer).is_ok() {
        Ok(())
    } else {
        Err(Failure::transient("answered something that is no JSON"))
    }
}

impl Target for FluxV1 {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self, event: &Event) -> Option<String> {
        Some(match event.notice.as_ref()? {
            Notice::Git { url, branch } => format!("{url} {branch}"),
            Notice::Image { name } => format!("{}/{}", name.domain, name.image),
        })
    }

    fn coalesces(&self) -> bool {
        true
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let Some(notice) = &telling.event.notice else { return Ok(()) };
            if let Some(near) = &self.near {
                let call = near.post(&self.headers, body(notice)?, good);
                let answer = timeout(self.timeout, call).await;
                return understood(&answer.unwrap_or(Err(Failure::TimedOut))?);
            }
            let request = self.client.post(self.url.clone()).headers(self.headers.clone());
            let response = request
                .body(body(notice)?)
                .timeout(self.timeout)
                .send()
                .await
                .map_err(|error| http_client::unanswered(&error))?;
            if !good(response.status().as_u16()) {
                return Err(http_client::unsuccessful(&response));
            }
            understood(&http_client::body(response).await?)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_daemons_have_tls() {
        let guarded = |api: &str, plain: bool| {
            let guard = Guard::new(crate::limits::Network::loopback()).without_tls(plain);
            FluxV1::guarded("t", api, Some("token"), guard).is_ok()
        };
        assert!(guarded("https://example.com/api/flux", false));
        assert!(!guarded("http://example.com/api/flux", false));
        assert!(guarded("http://127.0.0.1:3030/api/flux", true));
        assert!(!guarded("https://10.0.0.1/", true));
    }

    #[rstest::rstest]
    #[case("http://localhost:3030/api/flux", "http://localhost:3030/api/flux/v11/notify")]
    #[case("http://localhost:3030/api/flux/", "http://localhost:3030/api/flux/v11/notify")]
    #[case("http://h:1", "http://h:1/v11/notify")]
    #[case("http://h:1//a//b//", "http://h:1/a/b/v11/notify")]
    #[case("https://h/a?x=1#y", "https://h/a/v11/notify")]
    fn the_url_is_joined(#[case] api: &str, #[case] url: &str) {
        assert_eq!(notify_url(api).unwrap().as_str(), url);
    }

    #[test]
    fn odd_urls_are_refused() {
        for api in ["", "localhost:3030", "ftp://h", "http://", "/api"] {
            assert!(FluxV1::new("default", api, None).is_err(), "{api}");
        }
    }

    #[test]
    fn user_info_becomes_basic_authentication_and_leaves_the_url() {
        let target = FluxV1::new("default", "http://us%40er:pass@h/api", None).unwrap();
        assert_eq!(target.url.as_str(), "http://h/api/v11/notify");
        assert_eq!(target.headers[AUTHORIZATION], "Basic dXNAZXI6cGFzcw==");
        assert!(!format!("{target:?}").contains("dXNAZXI6cGFzcw"));
        let target = FluxV1::new("default", "http://h/api", Some("t")).unwrap();
        assert_eq!(target.headers[AUTHORIZATION], "Scope-Probe token=t");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_waited_for_as_long_as_is_said() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}", silent.local_addr().unwrap());
        let guard = Guard::new(crate::limits::Network::loopback()).without_tls(true);
        let event = Event::image("push", crate::model::Image::default());
        let telling = Telling {
            id: None,
            endpoint: "code",
            source: "Quay",
            delivery_id: None,
            event: &event,
            more: &[],
            request: None,
        };
        for target in [
            FluxV1::new("near", &api, None).unwrap(),
            FluxV1::guarded("far", &api, None, guard).unwrap(),
        ] {
            let target = target.within(Some(Duration::from_millis(50)));
            let told = timeout(Duration::from_secs(5), target.tell(telling)).await;
            assert_eq!(told, Ok(Err(Failure::TimedOut)), "{}", target.name);
        }
    }

    #[test]
    fn markup_is_escaped() {
        let notice = Notice::Git { url: "a<b>&\u{2028}".into(), branch: "\"\n".into() };
        assert_eq!(
            body(&notice).unwrap(),
            r#"{"Kind":"git","Source":{"URL":"a\u003cb\u003e\u0026\u2028","Branch":"\"\n"}}"#
        );
    }
}
