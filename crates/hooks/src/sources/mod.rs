//! Who sends webhooks. Each sender is one small file: how it proves who it is (`verify`), what it
//! sends (`parse`), what it is told ([`Answers`]). Checks run in the order that the sender's
//! contract gives, the first failure answers.

use std::{borrow::Cow, fmt};

use futures::future::BoxFuture;

use crate::model::{Answer, Event, Inbound, Keys, Refusal};

mod bitbucket_cloud;
mod bitbucket_server;
mod docker_hub;
mod github;
mod gitlab;
mod google;
mod harbor;
mod nexus;
mod options;
mod quay;
#[cfg(test)]
mod testing;

pub use options::{Google, Options, SignatureMode};

/// What an accepted request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// These things happened.
    Events(Vec<Event>),
    /// Nothing that concerns anybody: the sender gets this answer, no target gets anything.
    Nothing(Answer),
}

/// How the inline notifications of one request are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One after the other; the first failure stops.
    Sequence,
    /// All at once; all are tried.
    Together,
}

/// What a sender is told once its request is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Every target has been told.
    pub done: Answer,
    /// A target failed or refused; nothing if the sender is not to know.
    pub failed: Option<Answer>,
    /// A target did not answer in time; nothing if the sender is not to know.
    pub timed_out: Option<Answer>,
    /// How several notifications are made.
    pub order: Order,
}

impl Answers {
    const fn git(failed: &'static str) -> Self {
        Self {
            done: Answer::OK,
            failed: Some(Answer::error(500, failed)),
            timed_out: Some(Answer::error(500, failed)),
            order: Order::Sequence,
        }
    }

    /// Registries never learn about failures: they would redeliver for days, or switch the hook
    /// off.
    const fn image() -> Self {
        Self { done: Answer::EMPTY, failed: None, timed_out: None, order: Order::Sequence }
    }
}

/// The rules of one sender, with the options of one endpoint.
pub trait Source: Send + Sync + fmt::Debug {
    /// The name in configuration files.
    fn name(&self) -> &'static str;

    /// Decides from headers and raw body whether the request comes from who knows the key. Nothing
    /// is parsed before.
    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal>;

    /// The rest of the verification, for senders whose proof needs keys fetched from elsewhere.
    fn verify_remotely<'a>(
        &'a self,
        _request: &'a Inbound<'a>,
    ) -> Option<BoxFuture<'a, Result<(), Refusal>>> {
        None
    }

    /// Reads a verified request.
    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal>;

    /// What the sender is told.
    fn answers(&self) -> Answers;

    /// The sender's id of this delivery, the same when it repeats itself.
    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        self.id_headers().iter().find_map(|name| request.text(name)).map(Cow::Borrowed)
    }

    /// The headers that may carry the id, best first.
    fn id_headers(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The nine sources of flux-recv, by their names in its files.
pub const FLUX_RECV: [&str; 9] = [
    "GitHub",
    "GitLab",
    "BitbucketCloud",
    "BitbucketServer",
    "DockerHub",
    "Quay",
    "GoogleContainerRegistry",
    "Harbor",
    "Nexus",
];

/// The source of this name, or nothing if there is none. Names are case-sensitive.
pub fn named(name: &str, options: &Options) -> Option<Box<dyn Source>> {
    Some(match name {
        "GitHub" => Box::new(github::GitHub::new(options)),
        "GitLab" => Box::new(gitlab::GitLab::new(options)),
        "BitbucketCloud" => Box::new(bitbucket_cloud::BitbucketCloud::new(options)),
        "BitbucketServer" => Box::new(bitbucket_server::BitbucketServer::new(options)),
        "DockerHub" => Box::new(docker_hub::DockerHub),
        "Quay" => Box::new(quay::Quay),
        "GoogleContainerRegistry" => Box::new(google::GoogleContainerRegistry::new(options)),
        "Harbor" => Box::new(harbor::Harbor),
        "Nexus" => Box::new(nexus::Nexus::new(options)),
        _ => return None,
    })
}

/// The branch of a ref: without a leading `refs/heads/`; tags stay whole, slashes stay.
fn strip(reference: &str) -> &str {
    reference.strip_prefix("refs/heads/").unwrap_or(reference)
}
