//! A request of each sender, made by us: to try an endpoint out. Signed with the endpoint's own
//! newest key, and it names things that do not exist.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    decide::{auth::Auth, digest::hex, signature::Algorithm, standard_webhooks},
    receive::Endpoint,
    sources::Source,
};

/// How a sender proves that it knows the key.
#[derive(Debug, Clone, Copy)]
enum Proof {
    /// Not at all.
    None,
    /// The key is the value of this header.
    Token(&'static str),
    /// `Authorization: Bearer <key>`; a key of two words is the whole header.
    Bearer,
    /// HMAC of the body in this header, with what goes before the digits.
    Hmac(&'static str, Algorithm, &'static str),
    /// By the Standard Webhooks rule.
    Standard,
}

/// What to enter at the sender beside the URL, a line each.
pub fn advice(source: &dyn Source) -> String {
    const KEY: &str = "the content of the key file";
    let Some(sample) = of(source.name()) else {
        return "- this sender signs with keys of its own\n".to_owned();
    };
    let mut lines = match sample.proof {
        Proof::None if source.needs_auth() => {
            "- it cannot sign: add `auth` to the endpoint, and enter the same here\n".to_owned()
        }
        Proof::None => "- nothing else: who knows the URL may send\n".to_owned(),
        Proof::Token(header) => format!("- token (sent as {header}): {KEY}\n"),
        Proof::Bearer => format!("- authentication token (sent as a bearer token): {KEY}\n"),
        Proof::Hmac(header, ..) => format!("- secret (signs, in {header}): {KEY}\n"),
        Proof::Standard => format!("- signing secret: {KEY}\n"),
    };
    for (name, value) in sample.headers.iter().filter(|(name, _)| *name == "content-type") {
        lines.push_str(&format!("- {name}: {value}\n"));
    }
    if let Some((header, event)) = sample.event {
        lines.push_str(&format!("- events: {event} ({header})\n"));
    }
    lines
}

/// What a sender sends.
struct Sample {
    /// The header of the event's name, and the name.
    event: Option<(&'static str, &'static str)>,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    proof: Proof,
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const HUB: Proof = Proof::Hmac("x-hub-signature-256", Algorithm::Sha256, "sha256=");
const GIT: &str = r#"{"ref":"refs/heads/main","before":"1111111111111111111111111111111111111111","after":"2222222222222222222222222222222222222222","repository":{"full_name":"quartermaster/sample","ssh_url":"git@code.invalid:quartermaster/sample.git","clone_url":"https://code.invalid/quartermaster/sample.git"},"commits":[],"total_commits":0}"#;
const S3: &str = r#"{"Records":[{"eventName":"s3:ObjectCreated:Put","eventTime":"2025-01-01T00:00:00Z","s3":{"bucket":{"name":"quartermaster-sample"},"object":{"key":"sample","size":1}}}]}"#;
const CD_EVENT: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("ce-specversion", "1.0"),
    ("ce-id", "sample"),
    ("ce-source", "/quartermaster/sample"),
];

fn of(source: &str) -> Option<Sample> {
    let plain = |body| Sample { event: None, headers: JSON, body, proof: Proof::None };
    let event = |name, event, proof, body| Sample {
        event: Some((name, event)),
        headers: JSON,
        body,
        proof,
    };
    Some(match source {
        "GitHub" => event("x-github-event", "push", HUB, GIT),
        "GitLab" => event(
            "x-gitlab-event",
            "Push Hook",
            Proof::Token("x-gitlab-token"),
            r#"{"event_name":"push","ref":"refs/heads/main","project":{"path_with_namespace":"quartermaster/sample","git_ssh_url":"git@code.invalid:quartermaster/sample.git"}}"#,
        ),
        "BitbucketCloud" => event(
            "x-event-key",
            "repo:push",
            Proof::Hmac("x-hub-signature", Algorithm::Sha256, "sha256="),
            r#"{"push":{"changes":[{"new":{"name":"main"}}]},"repository":{"full_name":"quartermaster/sample"}}"#,
        ),
        "BitbucketServer" => event(
            "x-event-key",
            "repo:refs_changed",
            Proof::Hmac("x-hub-signature", Algorithm::Sha256, "sha256="),
            r#"{"repository":{"links":{"clone":[{"name":"ssh","href":"ssh://git@code.invalid/quartermaster/sample.git"}]}},"changes":[{"ref":{"id":"refs/heads/main","type":"BRANCH"}}]}"#,
        ),
        "DockerHub" => {
            plain(r#"{"repository":{"repo_name":"quartermaster/sample"},"push_data":{"tag":"1"}}"#)
        }
        "Quay" | "QuayRepoEvents" => {
            plain(r#"{"docker_url":"registry.invalid/quartermaster/sample","updated_tags":["1"]}"#)
        }
        "GoogleContainerRegistry" => plain(
            // {"action":"INSERT","tag":"registry.invalid/quartermaster/sample:1"}
            r#"{"message":{"data":"eyJhY3Rpb24iOiJJTlNFUlQiLCJ0YWciOiJyZWdpc3RyeS5pbnZhbGlkL3F1YXJ0ZXJtYXN0ZXIvc2FtcGxlOjEifQ==","messageId":"sample"}}"#,
        ),
        "Harbor" => Sample {
            proof: Proof::Token("authorization"),
            ..plain(
                r#"{"type":"PUSH_ARTIFACT","event_data":{"resources":[{"resource_url":"registry.invalid/quartermaster/sample:1"}]}}"#,
            )
        },
        "HarborCloudEvents" => Sample {
            proof: Proof::Token("authorization"),
            ..plain(
                r#"{"specversion":"1.0","id":"sample","source":"/quartermaster/sample","type":"harbor.artifact.pushed","data":{"resources":[{"resource_url":"registry.invalid/quartermaster/sample:1"}]}}"#,
            )
        },
        "Nexus" => Sample {
            event: Some(("x-nexus-webhook-id", "rm:repository:component")),
            headers: JSON,
            body: r#"{"action":"CREATED","component":{"format":"docker","name":"quartermaster/sample"}}"#,
            proof: Proof::Hmac("x-nexus-webhook-signature", Algorithm::Sha1, ""),
        },
        "Gitea" => event("x-gitea-event", "push", forge("x-gitea-signature"), GIT),
        "Forgejo" => event("x-forgejo-event", "push", forge("x-forgejo-signature"), GIT),
        "Gogs" => event("x-gogs-event", "push", forge("x-gogs-signature"), GIT),
        "AzureDevOps" => plain(
            r#"{"id":"sample","eventType":"git.push","resource":{"refUpdates":[{"name":"refs/heads/main"}],"repository":{"remoteUrl":"https://dev.azure.invalid/quartermaster/sample/_git/sample"}}}"#,
        ),
        "ACR" => plain(
            r#"{"id":"sample","action":"push","target":{"repository":"quartermaster/sample","tag":"1"},"request":{"host":"registry.invalid"}}"#,
        ),
        "ECR" => plain(
            r#"{"id":"sample","source":"aws.ecr","detail-type":"ECR Image Action","account":"000000000000","region":"eu-central-1","detail":{"action-type":"PUSH","result":"SUCCESS","repository-name":"quartermaster/sample","image-tag":"1"}}"#,
        ),
        "GHCR" => event(
            "x-github-event",
            "package",
            HUB,
            r#"{"action":"published","package":{"package_type":"container","package_version":{"package_url":"registry.invalid/quartermaster/sample:1"}}}"#,
        ),
        "Artifactory" => Sample {
            proof: Proof::Hmac("x-jfrog-event-auth", Algorithm::Sha256, ""),
            ..plain(
                r#"{"domain":"docker","event_type":"pushed","jpd_origin":"https://registry.invalid/","data":{"repo_key":"quartermaster","image_name":"sample","tag":"1"}}"#,
            )
        },
        "CDEvents" => Sample {
            event: Some(("ce-type", "dev.cdevents.artifact.published.0.2.0")),
            headers: CD_EVENT,
            body: r#"{"subject":{"id":"pkg:oci/sample?repository_url=registry.invalid/quartermaster/sample&tag=1"}}"#,
            proof: Proof::None,
        },
        "CloudEvents" => Sample {
            event: Some(("ce-type", "quartermaster.sample")),
            headers: CD_EVENT,
            body: "{}",
            proof: Proof::None,
        },
        "StandardWebhooks" => Sample {
            proof: Proof::Standard,
            ..plain(r#"{"type":"quartermaster.sample","data":{}}"#)
        },
        "Generic" => plain("{}"),
        "GenericHMAC" => Sample {
            proof: Proof::Hmac("x-signature", Algorithm::Sha256, "sha256="),
            ..plain("{}")
        },
        "S3" | "MinIO" => Sample { proof: Proof::Bearer, ..plain(S3) },
        "CephRGW" => plain(S3),
        "Alertmanager" => plain(
            r#"{"version":"4","status":"firing","groupKey":"sample","alerts":[{"status":"firing","labels":{"alertname":"sample"},"annotations":{},"fingerprint":"0"}]}"#,
        ),
        _ => return None,
    })
}

const fn forge(header: &'static str) -> Proof {
    Proof::Hmac(header, Algorithm::Sha256, "")
}

/// The headers and the body of a request that this endpoint accepts, with this body and event if
/// they are given.
pub fn request(
    endpoint: &Endpoint,
    event: Option<&str>,
    payload: Option<String>,
    now: i64,
) -> Result<(HeaderMap, String), &'static str> {
    let sample = of(endpoint.source.name()).ok_or("this source cannot be tried out from here")?;
    let body = payload.unwrap_or_else(|| sample.body.to_owned());
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &[u8]| {
        let name = HeaderName::try_from(name).map_err(|_| "a header has no valid name")?;
        let value = HeaderValue::from_bytes(value).map_err(|_| "a header cannot hold its value")?;
        headers.insert(name, value);
        Ok::<_, &'static str>(())
    };
    for (name, value) in sample.headers {
        set(name, value.as_bytes())?;
    }
    if let Some((name, usual)) = sample.event {
        set(name, event.unwrap_or(usual).as_bytes())?;
    }
    let key = endpoint.keys.0.iter().find(|key| key.valid_at(now)).ok_or("no key is valid now")?;
    let key = key.bytes();
    let own = endpoint.source.sign(key, body.as_bytes(), now);
    match sample.proof {
        _ if own.is_some() => {
            for (name, value) in own.into_iter().flatten() {
                set(&name, value.as_bytes())?;
            }
        }
        Proof::None => {}
        Proof::Token(name) => set(name, key.trim_ascii_end())?,
        Proof::Bearer if key.contains(&b' ') => set("authorization", key.trim_ascii_end())?,
        Proof::Bearer => set("authorization", &[b"Bearer ", key.trim_ascii_end()].concat())?,
        Proof::Hmac(name, algorithm, before) => {
            let digits = hex(&algorithm.hmac(key, &[body.as_bytes()]));
            set(name, format!("{before}{digits}").as_bytes())?;
        }
        Proof::Standard => {
            let id = format!("sample_{now}");
            let signature = standard_webhooks::sign(key, &id, now, body.as_bytes());
            set("webhook-id", id.as_bytes())?;
            set("webhook-timestamp", now.to_string().as_bytes())?;
            let signature = signature.ok_or("a public key cannot sign")?;
            set("webhook-signature", signature.as_bytes())?;
        }
    }
    match &endpoint.auth {
        None => {}
        Some(Auth::Basic { username, password }) => {
            let both = STANDARD.encode([username, &b":"[..], password].concat());
            set("authorization", format!("Basic {both}").as_bytes())?;
        }
        Some(Auth::Bearer(token)) => set("authorization", &[b"Bearer ", &**token].concat())?,
        Some(Auth::Header { name, value }) => set(name, value)?,
        Some(Auth::Mtls(_)) => {
            return Err("only who has the certificate can send to this endpoint");
        }
        Some(Auth::Oidc(_)) => return Err("only the issuer can make a token for this endpoint"),
    }
    Ok((headers, body))
}

#[cfg(test)]
pub(super) mod tests {
    use crate::{
        limits::{Bucket, Rate},
        model::{Inbound, Key, Keys},
        receive::{Keep, Pause},
        sources::{ALL, Options, Outcome, named},
    };

    use super::*;

    pub(in crate::sources) fn endpoint(source: &str, key: &str) -> Endpoint {
        Endpoint {
            name: "a".to_owned(),
            source: named(source, &Options::default()).unwrap(),
            keys: Keys(vec![Key::new(key.as_bytes().to_vec(), None)]),
            auth: None,
            filter: crate::decide::filter::Filter::default(),
            targets: Vec::new(),
            dead_letter: None,
            body_bytes: None,
            rate: Bucket::new(Rate { per_second: 1.0, burst: 1.0 }),
            keep: Keep::Nothing,
            inline_time: std::time::Duration::ZERO,
            allow: Vec::new(),
            pause: Pause::No,
        }
    }

    #[test]
    fn every_source_takes_its_own_sample() {
        for name in ALL {
            let key = match name {
                "StandardWebhooks" => "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                _ => "correct-horse-battery-staple-01\n",
            };
            let endpoint = endpoint(name, key);
            if ["SNS", "GenericOIDC"].contains(&name) {
                assert!(request(&endpoint, None, None, 0).is_err(), "{name}: others hold its keys");
                continue;
            }
            let (headers, body) = request(&endpoint, None, None, 1000).unwrap();
            let request = Inbound { headers: &headers, body: body.as_bytes(), now: 1000 };
            assert_eq!(endpoint.source.verify(&request, &endpoint.keys), Ok(()), "{name}");
            let Ok(Outcome::Events(events)) = endpoint.source.parse(&request) else {
                panic!("{name}: {:?}", endpoint.source.parse(&request));
            };
            assert_eq!(events.len(), 1, "{name}");
        }
    }

    #[test]
    fn own_words_are_signed_as_well() {
        let endpoint = endpoint("GitHub", "correct-horse-battery-staple-01");
        let body = r#"{"zen":"keep it small"}"#.to_owned();
        let (headers, body) = request(&endpoint, Some("ping"), Some(body), 0).unwrap();
        assert_eq!(headers["x-github-event"], "ping");
        assert_eq!(
            headers["x-hub-signature-256"],
            "sha256=ab5e058ba340e6e742d2de031edb158294002baf097637ffc06d5b979e2ee141"
        );
        assert_eq!(body.len(), 23);
    }
}
