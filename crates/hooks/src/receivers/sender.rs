//! Whether a request is from the sender that a receiver is for. The rules are those of our own
//! sources where these are the same; the statuses are not: every refusal is a 400.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;

use super::objects;
use crate::{
    decide::{
        digest::hex,
        json::{self, fields},
        signature::{self, Algorithm, equal},
    },
    model::{Answer, Event, EventKind, Inbound, Keys, Refusal},
    sources::{self, Answers, Options, Order, Outcome, Source},
};

/// What a sender's request must be like.
#[derive(Debug)]
pub(super) struct Sender {
    rules: Rules,
    events: Vec<String>,
    /// Whether expressions look at its requests.
    shows: bool,
}

#[derive(Debug)]
enum Rules {
    /// Whoever knows the path.
    Anybody,
    /// A JSON object with these words in it.
    Json(fn(&[u8]) -> bool),
    /// Nexus: its signature, without the rules about what it reports.
    Nexus,
    /// A CDEvent.
    CdEvent,
    /// The verification of a source, and where the sender names its event.
    Verified(Box<dyn Source>, Option<&'static str>),
    /// A source of ours with all that it asks for.
    Own(Box<dyn Source>),
}

fields! { struct DockerHub { push: Tagged = "push_data", repository: RepoUrl = "repository" } }
fields! { struct Tagged { tag: String = "tag" } }
fields! { struct RepoUrl { url: String = "repo_url" } }
fields! { struct Quay { url: String = "docker_url", tags: Vec<String> = "updated_tags" } }
fields! { struct Acr { action: String = "action", target: AcrTarget = "target" } }
fields! { struct AcrTarget { repository: String = "repository", tag: String = "tag" } }
fields! { struct NexusPayload { action: String = "action", repository: String = "repositoryName" } }
fields! { struct Pushed { message: Data = "message" } }
fields! { struct Data { data: String = "data" } }
fields! { struct CdEvent { context: Context = "context", subject: Subject = "subject" } }
fields! { struct Context { id: String = "id", source: String = "source", kind: String = "type" } }
fields! { struct Subject { id: String = "id" } }
fields! { struct Object {} }

impl Sender {
    /// The sender of this type; nothing if there is none.
    pub(super) fn new(kind: &str, events: &[String], options: &Options) -> Option<Self> {
        let source = |name: &str| sources::named(name, options);
        let verified = |name: &str, header| Some(Rules::Verified(source(name)?, header));
        let rules = match kind {
            "generic" => Rules::Anybody,
            "generic-hmac" => verified("GenericHMAC", None)?,
            "generic-oidc" => verified("GenericOIDC", None)?,
            "github" => verified("GitHub", Some("x-github-event"))?,
            "gitlab" => verified("GitLab", Some("x-gitlab-event"))?,
            "bitbucket" => verified("BitbucketServer", Some("x-event-key"))?,
            "harbor" => verified("Harbor", None)?,
            "gcr" => verified("GoogleContainerRegistry", None)?,
            "dockerhub" => Rules::Json(|body| json::first::<DockerHub>(body).is_ok()),
            "quay" => Rules::Json(|body| json::first::<Quay>(body).is_ok()),
            "acr" => Rules::Json(|body| json::first::<Acr>(body).is_ok()),
            "nexus" => Rules::Nexus,
            "cdevents" => Rules::CdEvent,
            // What has nothing but its path is no secret of ours.
            own => Rules::Own(source(own).filter(|source| !source.needs_auth())?),
        };
        let events = events.iter().map(|event| event.to_ascii_lowercase()).collect();
        Some(Self { rules, events, shows: false })
    }

    /// Why it could only say no, whatever is sent.
    pub(super) fn cannot(&self, token: &[u8]) -> Option<String> {
        let (Rules::Own(source) | Rules::Verified(source, _)) = &self.rules else { return None };
        let key = source.key_problem(token).map(|problem| format!("the token {problem}"));
        source.problem().map(str::to_owned).or(key)
    }

    /// The same for expressions that look at its requests.
    pub(super) fn showing(self, shows: bool) -> Self {
        Self { shows, ..self }
    }

    /// Whether the event that a header names is one of those that count.
    fn listed(&self, request: &Inbound<'_>, header: &str) -> Result<(), &'static str> {
        let named = request.text(header).unwrap_or_default().to_ascii_lowercase();
        let counts = self.events.is_empty() || self.events.contains(&named);
        counts.then_some(()).ok_or("the event is not listed")
    }

    /// What expressions see as `req` of a request of the right sender; nothing if it only tries
    /// whether somebody is there.
    fn payload<'a>(&self, request: &Inbound<'a>) -> Result<Option<Cow<'a, [u8]>>, &'static str> {
        let body = || Ok(Some(Cow::Borrowed(request.body)));
        match &self.rules {
            Rules::Anybody => body(),
            Rules::Json(reads) if reads(request.body) => body(),
            Rules::Json(_) => Err("the body cannot be read"),
            Rules::Nexus => {
                json::first::<NexusPayload>(request.body).map_err(|error| error.0)?;
                body()
            }
            Rules::CdEvent => {
                let CdEvent { context, subject } =
                    json::first(request.body).map_err(|error| error.0)?;
                // dev.cdevents.<subject>.<predicate>.<version>
                let typed = context.kind.to_ascii_lowercase();
                let known = typed.starts_with("dev.cdevents.") && typed.split('.').count() > 3;
                if !known
                    || [&context.id, &context.source, &subject.id].map(String::len).contains(&0)
                {
                    return Err("not a CDEvent");
                }
                self.listed(request, "ce-type")?;
                body()
            }
            Rules::Own(source) => match source.parse(request).map_err(|refusal| refusal.reason)? {
                Outcome::Nothing(_) => Ok(None),
                Outcome::Events(_) => Ok(Some(signature::hub_payload(request))),
            },
            Rules::Verified(source, header) => {
                let payload = match (source.name(), header) {
                    ("GoogleContainerRegistry", _) => Cow::Owned(inner(request.body)?),
                    (_, Some("x-gitlab-event") | None) => Cow::Borrowed(request.body),
                    (_, Some(_)) => signature::hub_payload(request),
                };
                if let Some(header) = header {
                    let event = request.text(header).unwrap_or_default();
                    if ["ping", "diagnostics:ping"].contains(&event) {
                        return Ok(None);
                    }
                    self.listed(request, header)?;
                }
                Ok(Some(payload))
            }
        }
    }
}

/// Whether the sender says that its body is JSON.
fn says_json(request: &Inbound<'_>) -> bool {
    let media = request.text("content-type").and_then(|text| text.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// Every refusal is the same to the sender, and without a word.
fn refused(refusal: Refusal) -> Refusal {
    Refusal { answer: Answer::error(400, ""), ..refusal }
}

impl Source for Sender {
    fn name(&self) -> &'static str {
        "Receiver"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        match &self.rules {
            Rules::Anybody | Rules::Json(_) | Rules::CdEvent => Ok(()),
            Rules::Nexus => {
                let wrong = |reason| Refusal::credentials(400, "", reason);
                let offered = request.header("x-nexus-webhook-signature").one();
                let offered = offered.ok_or(wrong("no signature"))?;
                let mac = |key: &[u8]| hex(&Algorithm::Sha1.hmac(key, &[request.body]));
                let right = keys.any(request.now, |key| equal(mac(key).as_bytes(), offered));
                right.then_some(()).ok_or(wrong("signature does not match"))
            }
            Rules::Own(source) | Rules::Verified(source, _) => {
                source.verify(request, keys).map_err(refused)
            }
        }
    }

    fn verify_remotely<'a>(
        &'a self,
        request: &'a Inbound<'a>,
    ) -> Option<BoxFuture<'a, Result<Value, Refusal>>> {
        let (Rules::Own(source) | Rules::Verified(source, _)) = &self.rules else { return None };
        let check = source.verify_remotely(request)?;
        Some(check.map(|checked| checked.map_err(refused)).boxed())
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        self.parse_claimed(request, &Value::Null)
    }

    fn parse_claimed(&self, request: &Inbound<'_>, claims: &Value) -> Result<Outcome, Refusal> {
        let payload = self.payload(request);
        let payload = payload.map_err(|reason| Refusal::payload(400, "", reason))?;
        let Some(payload) = payload else { return Ok(Outcome::Nothing(Answer::EMPTY)) };
        let mut event = Event::new(EventKind::Generic, "request");
        if self.shows {
            let blind = Refusal::payload(500, "", "the filter needs a JSON object");
            let nothing = (!says_json(request)).then(|| objects::shown(b"{}", claims)).flatten();
            event.raw = Some(objects::shown(&payload, claims).or(nothing).ok_or(blind)?);
        }
        Ok(Outcome::Events(vec![event]))
    }

    fn answers(&self) -> Answers {
        let failed = Some(Answer::error(500, ""));
        let timed_out = failed.clone();
        Answers { done: Answer::EMPTY, failed, timed_out, order: Order::Together }
    }
}

/// What Google's push service wraps.
fn inner(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    let Pushed { message } = json::first(body).map_err(|error| error.0)?;
    let inner = STANDARD.decode(message.data).map_err(|_| "message.data is no base64")?;
    json::first::<Object>(&inner).map_err(|_| "message.data is no JSON object")?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::model::Key;

    const KEY: &[u8] = b"correct-horse-battery-staple-01";

    async fn judged(kind: &str, events: &[&str], headers: &[(&str, &str)], body: &str) -> String {
        let events: Vec<String> = events.iter().map(|event| (*event).to_owned()).collect();
        let sender = Sender::new(kind, &events, &Options::default()).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            map.append(name, HeaderValue::try_from(*value).unwrap());
        }
        let request = Inbound { headers: &map, body: body.as_bytes(), now: 0 };
        let keys = Keys(vec![Key::new(KEY.to_vec(), None)]);
        let verified = sender.verify(&request, &keys);
        let verified = match sender.verify_remotely(&request) {
            Some(check) if verified.is_ok() => check.await.map(drop),
            _ => verified,
        };
        match verified.map_err(|refusal| refusal.reason).and_then(|()| sender.payload(&request)) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(payload)) => String::from_utf8(payload.into_owned()).unwrap(),
            Err(why) => format!("no: {why}"),
        }
    }

    fn mac(algorithm: Algorithm, body: &str) -> String {
        hex(&algorithm.hmac(KEY, &[body.as_bytes()]))
    }

    #[tokio::test]
    async fn signatures_and_tokens_decide() {
        let body = r#"{"zen":"keep it small"}"#;
        let json = ("content-type", "application/json; charset=utf-8");
        let good = format!("sha256={}", mac(Algorithm::Sha256, body));
        let old = format!("sha1={}", mac(Algorithm::Sha1, body));
        for (kind, name) in [("github", "x-github-event"), ("bitbucket", "x-event-key")] {
            let strong = ("x-hub-signature-256", &*good);
            assert_eq!(judged(kind, &[], &[json, (name, "push"), strong], body).await, body);
            let weak = [json, (name, "push"), ("x-hub-signature", &*old)];
            assert_eq!(judged(kind, &[], &weak, body).await, body);
            let both = [weak[0], weak[1], weak[2], ("x-hub-signature-256", "sha256=00")];
            assert!(judged(kind, &[], &both, body).await.starts_with("no"));
            let other = [json, (name, "push"), strong];
            assert!(judged(kind, &["release"], &other, body).await.starts_with("no"));
            assert_eq!(judged(kind, &["PUSH"], &other, body).await, body);
        }
        let ping = [json, ("x-github-event", "ping"), ("x-hub-signature-256", &*good)];
        assert_eq!(judged("github", &["push"], &ping, body).await, "nothing");
        let unsigned = [json, ("x-github-event", "ping")];
        assert!(judged("github", &["push"], &unsigned, body).await.starts_with("no"));

        let key = std::str::from_utf8(KEY).unwrap();
        for (kind, header) in [("gitlab", "x-gitlab-token"), ("harbor", "authorization")] {
            assert_eq!(judged(kind, &[], &[(header, key)], "x").await, "x");
            assert!(judged(kind, &[], &[(header, "other")], "x").await.starts_with("no"));
        }
        let hook = [("x-gitlab-token", key), ("x-gitlab-event", "Push Hook")];
        assert_eq!(judged("gitlab", &["push hook"], &hook, "x").await, "x");
        assert!(judged("gitlab", &["Tag Push Hook"], &hook, "x").await.starts_with("no"));
        let signed = format!("sha512={}", mac(Algorithm::Sha512, body));
        assert_eq!(judged("generic-hmac", &[], &[("x-signature", &signed)], body).await, body);
        assert!(judged("generic-hmac", &[], &[], body).await.starts_with("no"));
        let nexus = mac(Algorithm::Sha1, body);
        let header = "x-nexus-webhook-signature";
        assert_eq!(judged("nexus", &[], &[(header, &nexus)], body).await, body);
        let upper = nexus.to_uppercase();
        assert!(judged("nexus", &[], &[(header, &upper)], body).await.starts_with("no"));
    }

    #[tokio::test]
    async fn the_others_must_be_readable() {
        assert_eq!(judged("generic", &[], &[], "anything").await, "anything");
        for kind in ["dockerhub", "quay", "acr"] {
            assert_eq!(judged(kind, &[], &[], "{}}").await, "{}}");
            assert!(judged(kind, &[], &[], "[]").await.starts_with("no"), "{kind}");
        }
        assert!(judged("quay", &[], &[], r#"{"docker_url":1}"#).await.starts_with("no"));
        let event = r#"{"context":{"version":"0.4.1","id":"1","source":"/s","type":"dev.cdevents.artifact.published.0.2.0"},"subject":{"id":"pkg:oci/a"}}"#;
        let named = [("ce-type", "dev.cdevents.artifact.published.0.2.0")];
        assert_eq!(judged("cdevents", &[], &[], event).await, event);
        let wanted = "dev.cdevents.Artifact.published.0.2.0";
        assert_eq!(judged("cdevents", &[wanted], &named, event).await, event);
        assert!(judged("cdevents", &["dev.other"], &named, event).await.starts_with("no"));
        let other = event.replace("dev.cdevents.", "dev.");
        assert!(judged("cdevents", &[], &[], &other).await.starts_with("no"));
        let pushed =
            format!(r#"{{"message":{{"data":"{}"}}}}"#, STANDARD.encode(r#"{"action":"INSERT"}"#));
        assert_eq!(judged("gcr", &[], &[], &pushed).await, r#"{"action":"INSERT"}"#);
        let empty = r#"{"message":{"data":"AA=="}}"#;
        assert!(judged("gcr", &[], &[], empty).await.starts_with("no"));
    }

    #[test]
    fn filters_see_nothing_of_what_is_no_json() {
        let shown = |media: &'static str, body: &str| {
            let sender = Sender::new("generic", &[], &Options::default()).unwrap().showing(true);
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(media));
            let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
            match sender.parse(&request) {
                Ok(Outcome::Events(events)) => Ok(events[0].raw.clone().unwrap()["req"].clone()),
                Ok(Outcome::Nothing(_)) => panic!("{body}"),
                Err(refusal) => Err(refusal.answer.status),
            }
        };
        let json = "application/json; charset=utf-8";
        let (nothing, read) = (serde_json::json!({}), serde_json::json!({"a": 1}));
        assert_eq!(shown("text/plain", "hello"), Ok(nothing.clone()));
        assert_eq!(shown("text/plain", ""), Ok(nothing));
        assert_eq!(shown("text/plain", r#"{"a":1}"#), Ok(read.clone()));
        assert_eq!(shown(json, r#"{"a":1}"#), Ok(read));
        // Who says that it is JSON has to keep to it.
        assert_eq!(shown(json, "hello"), Err(500));
    }

    #[tokio::test]
    async fn sources_of_our_own_keep_their_rules() {
        let body = r#"{"ref":"refs/heads/main","repository":{"ssh_url":"git@h:a/b.git"}}"#;
        let signature = mac(Algorithm::Sha256, body);
        let good = [
            ("content-type", "application/json"),
            ("x-gitea-event", "push"),
            ("x-gitea-signature", &*signature),
        ];
        assert_eq!(judged("Gitea", &[], &good, body).await, body);
        assert!(judged("Gitea", &[], &good[..2], body).await.starts_with("no"));
        for unknown in ["", "gitea", "Generic", "ACR"] {
            assert!(Sender::new(unknown, &[], &Options::default()).is_none(), "{unknown}");
        }
    }
}
