//! Google Container Registry, by way of Google's push service. The service redelivers for days
//! whatever is not answered with 2xx, so even refusals are 200 unless the owner wants otherwise.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{FutureExt as _, future::BoxFuture};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::{Answers, Google, Options, Outcome, Source, docker_hub::IMAGE};
use crate::{
    decide::{
        image,
        json::{self, fields},
    },
    jwks::KeySet,
    model::{Answer, Event, Inbound, Keys, Refusal},
};

const UNAUTHORIZED: &str = "Cannot authorize request";
const PAYLOAD: &str = "Cannot decode payload";
const NO_INSERT: Answer = Answer::text(200, "action is not an insert, moving on");
const KEYS_URL: &str = "https://www.googleapis.com/oauth2/v3/certs";
const ISSUERS: [&str; 2] = ["accounts.google.com", "https://accounts.google.com"];
/// How far clocks may differ.
const SKEW: i64 = 60;

/// See the module.
#[derive(Debug)]
pub(super) struct GoogleContainerRegistry {
    check: Option<Check>,
    strict: bool,
}

#[derive(Debug)]
struct Check {
    rules: Google,
    keys: KeySet,
}

impl GoogleContainerRegistry {
    pub(super) fn new(options: &Options) -> Self {
        let check = options.google.clone().map(|mut rules| {
            if rules.issuers.is_empty() {
                rules.issuers = ISSUERS.map(str::to_owned).to_vec();
            }
            let url = rules.jwks_url.clone().unwrap_or_else(|| KEYS_URL.to_owned());
            Check { keys: KeySet::at(url), rules }
        });
        Self { check, strict: options.strict_status }
    }

    fn unauthorized(&self, reason: &'static str) -> Refusal {
        Refusal::credentials(if self.strict { 401 } else { 200 }, UNAUTHORIZED, reason)
    }

    fn unreadable(&self, reason: &'static str) -> Refusal {
        Refusal::payload(if self.strict { 400 } else { 200 }, PAYLOAD, reason)
    }
}

fields! { struct Payload { message: Message = "message" } }
fields! {
    struct Message {
        data: String = "data",
        publish_time: Option<String> = "publishTime",
        id: Option<String> = "messageId",
        old_id: Option<String> = "message_id",
    }
}
fields! { struct Inner { action: String = "action", digest: String = "digest", tag: String = "tag" } }

/// Whether a text is a time as RFC 3339 writes it; jiff alone takes every form of ISO 8601.
fn is_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked("2025-01-01T00:00:00".len()) else {
        return false;
    };
    let fraction = rest.strip_prefix('.').map(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (digits, &rest[digits..])
    });
    let (digits, zone) = fraction.unwrap_or((1, rest));
    shaped(date, "0000-00-00T00:00:00")
        && digits > 0
        && (zone == "Z" || shaped(zone, "+00:00") || shaped(zone, "-00:00"))
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// Whether a text is like another, digits standing for digits.
fn shaped(text: &str, like: &str) -> bool {
    let same = |(a, b): (u8, u8)| if b == b'0' { a.is_ascii_digit() } else { a == b };
    text.len() == like.len() && text.bytes().zip(like.bytes()).all(same)
}

/// The claims that count.
#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: String,
    exp: i64,
    iat: i64,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
}

impl Check {
    fn token<'a>(request: &Inbound<'a>) -> Option<&'a str> {
        let (scheme, token) = request.text("authorization")?.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && token.len() <= 16 * 1024).then_some(token)
    }

    async fn passes(&self, token: &str, now: i64) -> Result<(), &'static str> {
        if let Some(url) = &self.rules.token_info_url {
            let audience = self.keys.token_info(url, token).await?;
            return (audience == self.rules.audience).then_some(()).ok_or("other audience");
        }
        let claims: Claims = self.keys.verified(token, &[Algorithm::RS256]).await?;
        self.accepts(&claims, now)
    }

    fn accepts(&self, claims: &Claims, now: i64) -> Result<(), &'static str> {
        let Google { audience, email, issuers, .. } = &self.rules;
        if claims.aud != *audience {
            return Err("other audience");
        }
        if !issuers.contains(&claims.iss) {
            return Err("other issuer");
        }
        if now > claims.exp.saturating_add(SKEW) {
            return Err("expired");
        }
        if claims.iat > now + SKEW {
            return Err("from the future");
        }
        match email {
            Some(email) if claims.email.as_ref() != Some(email) || !claims.email_verified => {
                Err("other service account")
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Source for GoogleContainerRegistry {
    fn name(&self) -> &'static str {
        "GoogleContainerRegistry"
    }

    fn verify(&self, request: &Inbound<'_>, _keys: &Keys) -> Result<(), Refusal> {
        if self.check.is_some() && Check::token(request).is_none() {
            return Err(self.unauthorized("no bearer token"));
        }
        Ok(())
    }

    fn verify_remotely<'a>(
        &'a self,
        request: &'a Inbound<'a>,
    ) -> Option<BoxFuture<'a, Result<Value, Refusal>>> {
        let check = self.check.as_ref()?;
        let token = Check::token(request)?;
        Some(
            async move {
                let passed = check.passes(token, request.now).await;
                passed.map(|()| Value::Null).map_err(|reason| self.unauthorized(reason))
            }
            .boxed(),
        )
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let Payload { message } =
            json::first(request.body).map_err(|error| self.unreadable(error.0))?;
        if message.publish_time.is_some_and(|time| !is_time(&time)) {
            return Err(self.unreadable("message.publishTime is no time"));
        }
        let inner = STANDARD.decode(&message.data).unwrap_or_default();
        let Inner { action, digest, tag } = json::first(&inner).unwrap_or_default();
        if !action.eq_ignore_ascii_case("insert") {
            return Ok(Outcome::Nothing(NO_INSERT));
        }
        let mut image = image::split(if tag.is_empty() { &digest } else { &tag })
            .map_err(|_| Refusal::payload(400, IMAGE, "neither tag nor digest is an image"))?;
        // host/path@sha256:…
        let told = digest.rsplit_once('@').map_or(&*digest, |(_, told)| told);
        image.digest = image.digest.or(image::is_digest(told).then(|| told.to_owned()));
        Ok(Outcome::Events(vec![Event::image(action, image)]))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        let Payload { message } = json::first(request.body).ok()?;
        message.id.or(message.old_id).map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn body(inner: &str) -> String {
        format!(r#"{{"message":{{"data":"{}","messageId":"7"}}}}"#, STANDARD.encode(inner))
    }

    fn plain() -> GoogleContainerRegistry {
        GoogleContainerRegistry::new(&Options::default())
    }

    #[test]
    fn an_insert_is_told_by_tag_or_digest() {
        let by = |inner: &str| told(&plain(), &[], &body(inner));
        let expected = Ok(vec![image("gcr.io", "p/app")]);
        assert_eq!(by(r#"{"action":"INSERT","tag":"gcr.io/p/app:1"}"#), expected);
        assert_eq!(by(r#"{"action":"insert","digest":"gcr.io/p/app@sha256:00"}"#), expected);
        assert_eq!(by(r#"{"action":"INSERT"}"#), Err((400, IMAGE.into())));
        let nothing = Err((200, "action is not an insert, moving on".into()));
        for inner in
            ["", "{}", "no json", r#"{"action":"DELETE","tag":"gcr.io/p/a"}"#, r#"{"action":1}"#]
        {
            assert_eq!(by(inner), nothing, "{inner}");
        }
        assert_eq!(told(&plain(), &[], r#"{"message":{"data":"%"}}"#), nothing);
        assert_eq!(told(&plain(), &[], "{}"), nothing);
    }

    #[test]
    fn the_digest_is_kept() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for inner in [
            format!(
                r#"{{"action":"INSERT","tag":"gcr.io/p/app:1","digest":"gcr.io/p/app@{digest}"}}"#
            ),
            format!(r#"{{"action":"INSERT","tag":"gcr.io/p/app:1","digest":"{digest}"}}"#),
            format!(r#"{{"action":"INSERT","digest":"gcr.io/p/app@{digest}"}}"#),
        ] {
            assert_eq!(digests(&plain(), &body(&inner)), [Some(digest.clone())], "{inner}");
        }
        let odd = r#"{"action":"INSERT","tag":"gcr.io/p/app:1","digest":"gcr.io/p/app"}"#;
        assert_eq!(digests(&plain(), &body(odd)), [None]);
    }

    #[test]
    fn refusals_are_200_unless_wanted_otherwise() {
        let bad = [
            "",
            "null",
            "[]",
            "0",
            r#"{"message":1}"#,
            r#"{"message":{"publishTime":"yesterday"}}"#,
            r#"{"message":{"publishTime":1}}"#,
            r#"{"message":{"publishTime":""}}"#,
            r#"{"message":{"publishTime":"2025-01-01T00Z"}}"#,
            r#"{"message":{"publishTime":"20250101T000000Z"}}"#,
            r#"{"message":{"publishTime":"2025-01-01 00:00:00Z"}}"#,
            r#"{"message":{"publishTime":"2025-01-01T00:00:00,5Z"}}"#,
            r#"{"message":{"publishTime":"2025-01-01T00:00:00.Z"}}"#,
            r#"{"message":{"publishTime":"2025-01-01T00:00:00"}}"#,
            r#"{"message":{"publishTime":"2025-01-01T00:00:00+01"}}"#,
            r#"{"message":{"publishTime":"2025-01-01T00:00:00Z[UTC]"}}"#,
            r#"{"message":{"publishTime":"2025-02-30T00:00:00Z"}}"#,
        ];
        let strict = Options { strict_status: true, ..Options::default() };
        for body in bad {
            assert_eq!(told(&plain(), &[], body), Err((200, PAYLOAD.into())), "{body}");
            let source = GoogleContainerRegistry::new(&strict);
            assert_eq!(told(&source, &[], body), Err((400, PAYLOAD.into())), "{body}");
        }
        for time in
            ["2025-01-01T00:00:00.123Z", "2025-01-01T00:00:00Z", "2025-01-01T00:00:00.1-08:30"]
        {
            let good = format!(r#"{{"message":{{"publishTime":"{time}"}}}}"#);
            let nothing = Err((200, NO_INSERT.text.into_owned()));
            assert_eq!(told(&plain(), &[], &good), nothing, "{time}");
        }
    }

    fn checking(strict_status: bool) -> GoogleContainerRegistry {
        let google = Some(Google {
            audience: "me".into(),
            email: Some("push@example.com".into()),
            ..Google::default()
        });
        GoogleContainerRegistry::new(&Options { google, strict_status, ..Options::default() })
    }

    #[test]
    fn a_bearer_token_is_needed_once_google_is_configured() {
        for headers in [&[][..], &[("authorization", "Basic x")], &[("authorization", "tok")]] {
            let refused = |status| Err((status, UNAUTHORIZED.into()));
            assert_eq!(verified(&checking(false), headers, "{}"), refused(200));
            assert_eq!(verified(&checking(true), headers, "{}"), refused(401));
        }
        assert_eq!(verified(&checking(false), &[("authorization", "bearer t")], "{}"), Ok(()));
        assert_eq!(verified(&plain(), &[], "{}"), Ok(()));
        let long = format!("Bearer {}", "a".repeat(1 << 20));
        assert!(verified(&checking(false), &[("authorization", &long)], "{}").is_err());
    }

    #[test]
    fn claims_must_all_fit() {
        let source = checking(false);
        let check = source.check.as_ref().unwrap();
        let claims = || Claims {
            iss: "https://accounts.google.com".into(),
            aud: "me".into(),
            exp: 100,
            iat: 50,
            email: Some("push@example.com".into()),
            email_verified: true,
        };
        assert_eq!(check.accepts(&claims(), 60), Ok(()));
        assert_eq!(check.accepts(&claims(), 160), Ok(()));
        assert_eq!(check.accepts(&claims(), 161), Err("expired"));
        assert_eq!(check.accepts(&claims(), -11), Err("from the future"));
        let with = |change: fn(&mut Claims)| {
            let mut claims = claims();
            change(&mut claims);
            check.accepts(&claims, 60)
        };
        assert_eq!(with(|claims| claims.aud = "you".into()), Err("other audience"));
        assert_eq!(with(|claims| claims.iss = "evil".into()), Err("other issuer"));
        assert_eq!(with(|claims| claims.email = None), Err("other service account"));
        assert_eq!(with(|claims| claims.email_verified = false), Err("other service account"));
    }
}
