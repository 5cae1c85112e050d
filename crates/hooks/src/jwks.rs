//! The published keys of a token issuer, fetched when needed and kept for when it is down.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde::de::DeserializeOwned;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    client::{self, Unread},
    targets::Guard,
};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Unknown key ids make us look again, but not more often than this.
const PAUSE: Duration = Duration::from_secs(60);
/// How long keys count as fresh when the issuer does not say.
const FRESH: Duration = Duration::from_secs(3600);
/// How long keys are good when the issuer cannot be reached.
const STALE: Duration = Duration::from_secs(24 * 3600);
const MAX_BYTES: usize = 256 * 1024;

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct KeySet {
    place: Place,
    /// Whom it may ask, if strangers chose the URL.
    guard: Option<Guard>,
    state: Mutex<State>,
}

/// Where the keys are.
#[derive(Debug)]
enum Place {
    /// At this URL.
    At(String),
    /// Where the issuer of this URL says.
    Issuer(String),
}

/// What is read of an issuer's own description.
#[derive(serde::Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Debug, Default)]
struct State {
    client: Option<reqwest::Client>,
    keys: Option<JwkSet>,
    fetched: Option<Instant>,
    fresh_for: Duration,
    tried: Option<Instant>,
}

impl KeySet {
    /// The keys at this URL; nothing is fetched yet.
    pub(crate) fn at(url: String) -> Self {
        Self { place: Place::At(url), guard: None, state: Mutex::default() }
    }

    /// The keys that this issuer publishes, by its discovery document.
    pub(crate) fn of_issuer(url: &str, guard: Option<Guard>) -> Self {
        Self { place: Place::Issuer(url.to_owned()), guard, state: Mutex::default() }
    }

    /// The claims of a token with a good signature by one of these algorithms. Times, issuer and
    /// audience are for the caller to check: it knows the time.
    pub(crate) async fn verified<T: DeserializeOwned>(
        &self,
        token: &str,
        algorithms: &[Algorithm],
    ) -> Result<T, &'static str> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| "no JWT")?;
        if !algorithms.contains(&header.alg) {
            return Err("algorithm is not one of those");
        }
        let key = self.key(header.kid.as_deref().ok_or("token names no key")?).await?;
        let mut rules = Validation::new(header.alg);
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.set_required_spec_claims::<&str>(&[]);
        jsonwebtoken::decode(token, &key, &rules)
            .map(|token| token.claims)
            .map_err(|_| "signature or claims are wrong")
    }

    async fn key(&self, id: &str) -> Result<DecodingKey, &'static str> {
        let mut state = self.state.lock().await;
        let known = state.keys.as_ref().is_some_and(|keys| keys.find(id).is_some());
        let age = state.fetched.map(|fetched| fetched.elapsed());
        let fresh = known && age.is_some_and(|age| age < state.fresh_for);
        if !fresh && state.tried.is_none_or(|tried| tried.elapsed() >= PAUSE) {
            state.tried = Some(Instant::now());
            match state.fetch(&self.place, self.guard.as_ref()).await {
                Ok((keys, fresh_for)) => {
                    state.keys = Some(keys);
                    state.fresh_for = fresh_for;
                    state.fetched = Some(Instant::now());
                }
                Err(error) => {
                    tracing::warn!(place = ?self.place, %error, "cannot fetch issuer keys")
                }
            }
        }
        if state.fetched.is_none_or(|fetched| fetched.elapsed() > STALE) {
            return Err("no keys of the issuer");
        }
        let key = state.keys.as_ref().and_then(|keys| keys.find(id)).ok_or("unknown key")?;
        DecodingKey::from_jwk(key).map_err(|_| "unusable key")
    }

    /// Asks a service what audience a token is for.
    pub(crate) async fn token_info(&self, url: &str, token: &str) -> Result<String, &'static str> {
        #[derive(serde::Deserialize)]
        struct Info {
            aud: String,
        }
        let client = self.state.lock().await.client(url, self.guard.as_ref())?;
        let escaped =
            percent_encoding::utf8_percent_encode(token, percent_encoding::NON_ALPHANUMERIC);
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}id_token={escaped}");
        let (body, _) = get(&client, &url).await.map_err(|_| "token service failed")?;
        let info: Info =
            serde_json::from_slice(&body).map_err(|_| "token service is unreadable")?;
        Ok(info.aud)
    }
}

impl State {
    fn client(
        &mut self,
        url: &str,
        guard: Option<&Guard>,
    ) -> Result<reqwest::Client, &'static str> {
        if self.client.is_none() {
            // Without this, the first token would panic once another crate of the program enables
            // a second provider.
            let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
            let url = url.parse().map_err(|_| "no URL")?;
            let client = match guard {
                None => client::builder_for(&url, TIMEOUT),
                Some(guard) => guard.builder(TIMEOUT),
            };
            self.client = Some(client.build().map_err(|_| "no HTTP client")?);
        }
        self.client.clone().ok_or("no HTTP client")
    }

    async fn fetch(
        &mut self,
        place: &Place,
        guard: Option<&Guard>,
    ) -> Result<(JwkSet, Duration), &'static str> {
        let url = match place {
            Place::At(url) => url.clone(),
            Place::Issuer(issuer) => {
                let base = issuer.trim_end_matches('/');
                let url = format!("{base}/.well-known/openid-configuration");
                let (body, _) = self.get(&url, guard).await?;
                let read: Result<Discovery, _> = serde_json::from_slice(&body);
                let found = read.map_err(|_| "the issuer's description is unreadable")?;
                if found.issuer.trim_end_matches('/') != base {
                    return Err("the issuer calls itself something else");
                }
                if base.starts_with("https://") && !found.jwks_uri.starts_with("https://") {
                    return Err("the issuer's keys are not behind TLS");
                }
                found.jwks_uri
            }
        };
        let (body, fresh_for) = self.get(&url, guard).await?;
        let keys = serde_json::from_slice(&body).map_err(|_| "answer is no key set")?;
        Ok((keys, fresh_for))
    }

    async fn get(
        &mut self,
        url: &str,
        guard: Option<&Guard>,
    ) -> Result<(Vec<u8>, Duration), &'static str> {
        if let Some(guard) = guard {
            let parsed = url.parse().map_err(|_| "no URL")?;
            guard.check(&parsed)?;
        }
        get(&self.client(url, guard)?, url).await
    }
}

async fn get(client: &reqwest::Client, url: &str) -> Result<(Vec<u8>, Duration), &'static str> {
    let response = client.get(url).send().await.map_err(|_| "no answer")?;
    if response.status() != 200 {
        return Err("status is not 200");
    }
    let fresh_for = response
        .headers()
        .get("cache-control")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(',').find_map(|part| part.trim().strip_prefix("max-age=")))
        .and_then(|seconds| seconds.parse().ok())
        .map_or(FRESH, Duration::from_secs);
    let body = client::body(response, MAX_BYTES).await.map_err(|unread| match unread {
        Unread::Broken(_) => "answer broke off",
        Unread::TooLong => "answer is too long",
    })?;
    Ok((body, fresh_for))
}
