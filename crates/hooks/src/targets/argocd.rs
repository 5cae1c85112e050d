//! Argo CD by its own API, for whom its Applications are out of reach: in another cluster, in another
//! namespace.

use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use http::HeaderValue;
use reqwest::{Client, Url, header::AUTHORIZATION};

use super::{Failure, Guard, Target, Telling, http_client};
use crate::model::Event;

/// How Argo CD is reached.
#[derive(Debug)]
pub struct Settings {
    /// Where it is.
    pub url: String,
    /// Which addresses may be called.
    pub guard: Guard,
    /// The token of an account that may `get` the applications.
    pub token: Vec<u8>,
    /// The names of the applications.
    pub applications: Vec<String>,
    /// Whether its caches are dropped as well.
    pub hard: bool,
    /// How long a call may take.
    pub timeout: Duration,
}

/// See the module.
pub struct ArgoCd {
    name: String,
    /// One for each application.
    urls: Vec<Url>,
    authorization: HeaderValue,
    client: Client,
}

impl std::fmt::Debug for ArgoCd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArgoCd").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ArgoCd {
    /// The Argo CD of these settings, called `name` by us.
    pub fn new(name: &str, settings: Settings) -> Result<Self, String> {
        let Settings { url, guard, token, applications, hard, timeout } = settings;
        let base = Url::parse(&url).map_err(|error| format!("url: {error}"))?;
        guard.check(&base).map_err(str::to_owned)?;
        let client = http_client::guarded(&base, timeout, guard)?;
        let refresh = if hard { "hard" } else { "normal" };
        let url = |application: &String| {
            let mut url = base.clone();
            url.path_segments_mut()
                .map_err(|()| "url has no path".to_owned())?
                .pop_if_empty()
                .extend(["api", "v1", "applications", application]);
            url.set_query(Some(&format!("refresh={refresh}")));
            Ok::<_, String>(url)
        };
        let urls = applications.iter().map(url).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err("resources name no Application".to_owned());
        }
        let value = [b"Bearer ", &*token].concat();
        let mut authorization = HeaderValue::from_bytes(&value)
            .map_err(|_| "the token cannot be sent in a header".to_owned())?;
        authorization.set_sensitive(true);
        Ok(Self { name: name.to_owned(), urls, authorization, client })
    }
}

impl Target for ArgoCd {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self, event: &Event) -> Option<String> {
        super::subject(event)
    }

    fn coalesces(&self) -> bool {
        true
    }

    fn tell<'a>(&'a self, _: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let mut worst = Ok(());
            for url in &self.urls {
                let call = self.client.get(url.clone());
                let call = call.header(AUTHORIZATION, self.authorization.clone());
                // All are told, also after one failed.
                worst = worst.and(http_client::succeed(call).await);
            }
            worst
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argo(url: &str, token: &str, applications: &[&str]) -> Result<ArgoCd, String> {
        let settings = Settings {
            url: url.to_owned(),
            guard: Guard::new(Vec::new()),
            token: token.as_bytes().to_vec(),
            applications: applications.iter().map(|name| (*name).to_owned()).collect(),
            hard: true,
            timeout: Duration::from_secs(1),
        };
        ArgoCd::new("t", settings)
    }

    #[test]
    fn names_stay_names_and_tokens_are_secret() {
        let argo = argo("https://argo.example.com/cd/", "t0ken", &["a", "../b?c"]).unwrap();
        let urls: Vec<&str> = argo.urls.iter().map(Url::as_str).collect();
        let base = "https://argo.example.com/cd/api/v1/applications";
        assert_eq!(urls[0], format!("{base}/a?refresh=hard"));
        assert_eq!(urls[1], format!("{base}/..%2Fb%3Fc?refresh=hard"));
        assert!(!format!("{argo:?} {:?}", argo.authorization).contains("t0ken"));
    }

    #[test]
    fn only_public_ones_with_tls_unless_allowed() {
        for url in ["http://argo.example.com", "https://127.0.0.1", "x", "ftp://x"] {
            assert!(argo(url, "t", &["a"]).is_err(), "{url}");
        }
        assert!(argo("https://argo.example.com", "t\n", &["a"]).is_err());
        assert!(argo("https://argo.example.com", "t", &[]).is_err());
    }
}
