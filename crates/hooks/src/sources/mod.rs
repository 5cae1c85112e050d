//! Who sends webhooks. Each sender is one small file: how it proves who it is (`verify`), what it
//! sends (`parse`), what it is told ([`Answers`]). Checks run in the order that the sender's
//! contract gives, the first failure answers.

use std::{borrow::Cow, fmt};

use futures::future::BoxFuture;
use serde_json::Value;

use crate::model::{Answer, Event, Inbound, Keys, Refusal};

mod acr;
mod alertmanager;
mod artifactory;
mod azure_devops;
mod bitbucket_cloud;
mod bitbucket_server;
mod cloud_events;
mod docker_hub;
mod ecr;
mod extra;
mod files;
mod forge;
mod generic;
mod github;
mod github_packages;
mod gitlab;
mod google;
mod harbor;
mod harbor_cloud_events;
#[cfg(test)]
mod mangled;
mod nexus;
mod options;
mod quay;
mod s3;
pub mod sample;
mod sns;
#[cfg(test)]
mod testing;

pub use options::{Encoding, Google, Hmac, Options, SignatureMode, TokenMode};

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
    /// is parsed before. Left out by senders that cannot sign: then [`Self::needs_auth`] must hold,
    /// but for the few whose contract makes the path itself the secret.
    fn verify(&self, _request: &Inbound<'_>, _keys: &Keys) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether the sender cannot prove who it is, so that the endpoint must ask for something else.
    fn needs_auth(&self) -> bool {
        false
    }

    /// The header in which the sender sends the key itself, if it is none that is a secret anyway.
    fn secret_header(&self) -> Option<&'static str> {
        None
    }

    /// Whether a sender of this origin may send, for senders that ask before (`OPTIONS`); nothing if
    /// they do not.
    fn allows(&self, _origin: &str) -> Option<bool> {
        None
    }

    /// The headers of a signature of our own, for senders whose headers are a matter of options; to
    /// try an endpoint out.
    fn sign(&self, _key: &[u8], _body: &[u8], _now: i64) -> Option<Vec<(String, String)>> {
        None
    }

    /// What the sender of a body that breaks off is told.
    fn broken(&self) -> &'static str {
        "bad request"
    }

    /// What is wrong with the options.
    fn problem(&self) -> Option<&'static str> {
        None
    }

    /// What is wrong with a key that this source can never use.
    fn key_problem(&self, _key: &[u8]) -> Option<&'static str> {
        None
    }

    /// The rest of the verification, for senders whose proof needs keys fetched from elsewhere. Gives
    /// the claims of the sender's token, or null.
    fn verify_remotely<'a>(
        &'a self,
        _request: &'a Inbound<'a>,
    ) -> Option<BoxFuture<'a, Result<Value, Refusal>>> {
        None
    }

    /// Reads a verified request.
    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal>;

    /// The same with the claims of the sender's token.
    fn parse_claimed(&self, request: &Inbound<'_>, _claims: &Value) -> Result<Outcome, Refusal> {
        self.parse(request)
    }

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

/// All sources, by their names in files and objects.
pub const ALL: [&str; 30] = [
    "GitHub",
    "GitLab",
    "BitbucketCloud",
    "BitbucketServer",
    "DockerHub",
    "Quay",
    "GoogleContainerRegistry",
    "Harbor",
    "Nexus",
    "Gitea",
    "Forgejo",
    "Gogs",
    "AzureDevOps",
    "ACR",
    "ECR",
    "GHCR",
    "Artifactory",
    "HarborCloudEvents",
    "QuayRepoEvents",
    "CDEvents",
    "CloudEvents",
    "StandardWebhooks",
    "Generic",
    "GenericHMAC",
    "GenericOIDC",
    "SNS",
    "S3",
    "MinIO",
    "CephRGW",
    "Alertmanager",
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
        "Gitea" => Box::new(forge::Forge::new("Gitea", options)),
        "Forgejo" => Box::new(forge::Forge::new("Forgejo", options)),
        "Gogs" => Box::new(forge::Forge::new("Gogs", options)),
        "AzureDevOps" => Box::new(azure_devops::AzureDevOps::new(options)),
        "ACR" => Box::new(acr::Acr),
        "ECR" => Box::new(ecr::Ecr),
        "GHCR" => Box::new(github_packages::GitHubPackages::new(options)),
        "Artifactory" => Box::new(artifactory::Artifactory::new(options)),
        "HarborCloudEvents" => Box::new(harbor_cloud_events::HarborCloudEvents),
        "QuayRepoEvents" => Box::new(quay::QuayRepoEvents),
        "CDEvents" => Box::new(cloud_events::CloudEvents::cd_events(options)),
        "CloudEvents" => Box::new(cloud_events::CloudEvents::generic(options)),
        "StandardWebhooks" => Box::new(generic::StandardWebhooks),
        "Generic" => Box::new(generic::Generic),
        "GenericHMAC" => Box::new(generic::GenericHmac::new(options)),
        "GenericOIDC" => Box::new(generic::GenericOidc::new(options)),
        "SNS" => Box::new(sns::Sns::new(options)),
        "S3" => Box::new(s3::S3::new("S3", options)),
        "MinIO" => Box::new(s3::S3::new("MinIO", options)),
        "CephRGW" => Box::new(s3::S3::new("CephRGW", options)),
        "Alertmanager" => Box::new(alertmanager::Alertmanager),
        _ => return None,
    })
}

/// The branch of a ref: without a leading `refs/heads/`; tags stay whole, slashes stay.
fn strip(reference: &str) -> &str {
    reference.strip_prefix("refs/heads/").unwrap_or(reference)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{testing::*, *};
    use crate::model::Key;

    /// Headers that let every source get to the body.
    const HEADERS: [(&str, &str); 12] = [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-gitlab-event", "Push Hook"),
        ("x-event-key", "repo:push"),
        ("x-gitea-event", "push"),
        ("x-nexus-webhook-id", "rm:repository:component"),
        ("x-nexus-webhook-signature", "00"),
        ("x-hub-signature", "sha1=00"),
        ("webhook-id", "1"),
        ("webhook-timestamp", "0"),
        ("webhook-signature", "v1,AA"),
        ("authorization", "Bearer x"),
    ];

    fn try_all(body: &[u8], extra: &str) {
        let mut headers = headers(&HEADERS);
        if let Ok(value) = http::HeaderValue::from_bytes(extra.as_bytes()) {
            for name in ["x-hub-signature-256", "x-signature", "x-jfrog-event-auth", "ce-type"] {
                headers.insert(name, value.clone());
            }
        }
        let request = Inbound { headers: &headers, body, now: 0 };
        let keys = Keys(vec![Key::new(KEY.to_vec(), None)]);
        for name in ALL {
            let source = named(name, &Options::default()).unwrap();
            assert_eq!(source.name(), name);
            let _ = source.verify(&request, &keys);
            let _ = source.parse(&request);
            let _ = source.delivery_id(&request);
        }
    }

    #[test]
    fn names_are_exact() {
        assert!(FLUX_RECV.iter().all(|name| ALL.contains(name)));
        for name in ["github", "", "GitHub ", "Unknown"] {
            assert!(named(name, &Options::default()).is_none());
        }
    }

    #[test]
    fn what_proves_nothing_needs_auth() {
        let headers = http::HeaderMap::new();
        let request = Inbound { headers: &headers, body: b"{}", now: 0 };
        let keys = Keys(vec![Key::new(KEY.to_vec(), None)]);
        let by_path = ["BitbucketCloud", "DockerHub", "Quay", "GoogleContainerRegistry"];
        for name in ALL {
            let source = named(name, &Options::default()).unwrap();
            let proves = source.verify(&request, &keys).is_err();
            assert!(proves || source.needs_auth() || by_path.contains(&name), "{name}");
        }
    }

    fn parsed(name: &str, body: &str) -> Result<Vec<Event>, Refusal> {
        let mut headers = headers(&HEADERS);
        if name == "BitbucketServer" {
            headers.insert("x-event-key", http::HeaderValue::from_static("repo:refs_changed"));
        }
        let source = named(name, &Options::default()).unwrap();
        match source.parse(&Inbound { headers: &headers, body: body.as_bytes(), now: 0 })? {
            Outcome::Events(events) => Ok(events),
            Outcome::Nothing(answer) => panic!("{name}: {answer:?}"),
        }
    }

    /// The journal reads what it wrote with the parser that read the request, and has it inside of
    /// something else.
    #[test]
    fn deep_values_come_out_of_the_journal_again() {
        for depth in 90..=127 {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            let body = format!(r#"{{"type":"a","x":{open}{close}}}"#);
            let text = serde_json::to_string(&body).unwrap();
            let (open, close) = (&open[..depth - 3], &close[..depth - 3]);
            for (name, body) in [
                ("Generic", &*body),
                ("StandardWebhooks", &body),
                ("SNS", &format!(r#"{{"Type":"Notification","Message":{text}}}"#)),
                (
                    "Alertmanager",
                    &format!(
                        r#"{{"version":"4","status":"firing","alerts":[{{"labels":{open}{close}}}]}}"#
                    ),
                ),
            ] {
                let Ok(events) = parsed(name, body) else {
                    assert!(name == "Alertmanager" && depth > 100, "{name}, {depth}");
                    continue;
                };
                let kept = serde_json::to_vec(&serde_json::json!({"events": events})).unwrap();
                let read: HashMap<String, Vec<Event>> = serde_json::from_slice(&kept)
                    .unwrap_or_else(|error| panic!("{name}, {depth}: {error}"));
                assert_eq!(read["events"], events);
            }
        }
    }

    /// One short body must not become events of many gigabytes.
    #[test]
    fn what_every_event_repeats_is_bounded() {
        let many = |one: &str, count: usize| vec![one; count].join(",");
        let long = "a".repeat(4000);
        for (name, before, one, after, count) in [
            (
                "BitbucketCloud",
                r#"{"push":{"changes":["#,
                r#"{"new":{}}"#,
                &*format!(r#"]}},"repository":{{"full_name":"{long}"}}}}"#),
                90_000,
            ),
            (
                "BitbucketServer",
                r#"{"changes":["#,
                r#"{"ref":{"type":"BRANCH"}}"#,
                &format!(
                    r#"],"repository":{{"links":{{"clone":[{{"name":"ssh","href":"{long}"}}]}}}}}}"#
                ),
                90_000,
            ),
            (
                "AzureDevOps",
                r#"{"eventType":"git.push","resource":{"refUpdates":["#,
                "{}",
                &format!(r#"],"repository":{{"remoteUrl":"{long}"}}}}}}"#),
                90_000,
            ),
            (
                "Alertmanager",
                r#"{"version":"4","status":"firing","alerts":["#,
                "{}",
                &format!(r#"],"groupKey":"{long}"}}"#),
                90_000,
            ),
            (
                "S3",
                r#"{"Records":["#,
                r#"{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"a"},"object":{"key":"b"}}}"#,
                "]}",
                90_000,
            ),
            (
                "Harbor",
                r#"{"type":"PUSH_ARTIFACT","event_data":{"resources":["#,
                r#"{"resource_url":"a/b"}"#,
                "]}}",
                90_000,
            ),
            (
                "HarborCloudEvents",
                r#"{"type":"harbor.tag.created","data":{"resources":["#,
                r#"{"resource_url":"a/b"}"#,
                "]}}",
                90_000,
            ),
        ] {
            let body = |count| format!("{before}{}{after}", many(one, count));
            assert!(parsed(name, &body(1000)).is_ok(), "{name}");
            let refusal = parsed(name, &body(count)).unwrap_err();
            assert_eq!((refusal.answer.status, refusal.reason), (400, "too many events"), "{name}");
        }
    }

    /// As many different things as a body may name: each is compared with all before it no more.
    #[test]
    fn many_different_things_take_no_square_of_time() {
        let list =
            |one: &dyn Fn(usize) -> String| (0..50_000).map(one).collect::<Vec<_>>().join(",");
        let images = list(&|n| format!(r#"{{"resource_url":"a.io/b/{n}:1"}}"#));
        let branches = list(&|n| format!(r#"{{"ref":{{"id":"refs/heads/{n}","type":"BRANCH"}}}}"#));
        for (name, body) in [
            (
                "Harbor",
                format!(r#"{{"type":"PUSH_ARTIFACT","event_data":{{"resources":[{images}]}}}}"#),
            ),
            (
                "HarborCloudEvents",
                format!(r#"{{"type":"harbor.tag.created","data":{{"resources":[{images}]}}}}"#),
            ),
            (
                "BitbucketServer",
                format!(
                    r#"{{"changes":[{branches}],"repository":{{"links":{{"clone":[{{"name":"ssh","href":"ssh://a/b"}}]}}}}}}"#
                ),
            ),
        ] {
            let count = parsed(name, &body).map(|events| events.len());
            assert_eq!(count, Ok(50_000), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_source_panics(body: Vec<u8>, extra in ".{0,40}") {
            try_all(&body, &extra);
        }

        #[test]
        fn no_source_panics_at_its_own_words(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{", "}", "[", "]", ":", ",", "null", "1", "\"\"", "\"x\"", "\"ref\"",
                    "\"repository\"", "\"ssh_url\"", "\"push\"", "\"changes\"", "\"new\"",
                    "\"resources\"", "\"event_data\"", "\"type\"", "\"Records\"", "\"s3\"",
                    "\"object\"", "\"key\"", "\"%zz\"", "\"message\"", "\"data\"", "\"links\"",
                    "\"clone\"", "\"refs/tags/\"", "\"pushImage\"", "\"alerts\"", "\"subject\"",
                ]),
                0..60,
            ),
        ) {
            try_all(words.concat().as_bytes(), "sha256=00");
        }
    }
}
