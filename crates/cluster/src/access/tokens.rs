//! The `bearer` mode: the cluster says whose token it is, by TokenReview.

use std::{fmt, time::Duration};

use http::{header, request::Parts};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::{Api, Client, api::PostParams};
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use web::{Authenticate, Error, Identity, Kind, local::bearer};

use crate::error;

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const TOKENS: u64 = 10_000;
/// The longest token that is asked about.
const LONGEST: usize = 16 << 10;

/// Asks the cluster whose tokens callers send. What it said is remembered for a short time, under a
/// hash of the token.
pub struct TokenReviews {
    api: Api<TokenReview>,
    audiences: Option<Vec<String>>,
    known: Cache<[u8; 32], Option<Identity>>,
}

impl fmt::Debug for TokenReviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReviews").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

impl TokenReviews {
    /// Asks this cluster for tokens of these audiences; of its own API if there are none.
    pub fn new(client: &Client, audiences: Vec<String>) -> Self {
        let known = Cache::builder().max_capacity(TOKENS).time_to_live(FRESH).build();
        let audiences = (!audiences.is_empty()).then_some(audiences);
        Self { api: Api::all(client.clone()), audiences, known }
    }

    async fn whose(&self, token: &str) -> Result<Option<Identity>, Error> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.known.get(&key) {
            return Ok(known);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: self.audiences.clone(),
            },
            ..TokenReview::default()
        };
        let answer = self.api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|source| match error::is_unanswered(&source) {
            true => error::public(source),
            // Never with the review in it: that holds the token.
            false => Error::internal("a TokenReview failed".to_owned()),
        })?;
        let status = answer.status.unwrap_or_default();
        let ours = self.audiences.as_ref().is_none_or(|wanted| {
            status.audiences.iter().flatten().any(|audience| wanted.contains(audience))
        });
        let found = match status.authenticated {
            Some(true) if ours => status.user.and_then(identity),
            _ => None,
        };
        self.known.insert(key, found.clone());
        Ok(found)
    }
}

fn identity(user: UserInfo) -> Option<Identity> {
    let name = user.username.filter(|name| !name.is_empty())?;
    Some(Identity { user: name, groups: user.groups.unwrap_or_default() })
}

impl Authenticate for TokenReviews {
    async fn authenticate(&self, parts: &mut Parts) -> Result<Identity, Error> {
        let nobody = |reason: &str| {
            Error::new(Kind::Unauthenticated, "nobody is signed in").with_context(reason.to_owned())
        };
        let token = bearer(&parts.headers).map(str::to_owned);
        parts.headers.remove(header::AUTHORIZATION);
        match token {
            Some(token) if !token.is_empty() && token.len() <= LONGEST => {
                self.whose(&token).await?.ok_or_else(|| nobody("the token is good for nobody"))
            }
            _ => Err(nobody("there is no bearer token")),
        }
    }
}
