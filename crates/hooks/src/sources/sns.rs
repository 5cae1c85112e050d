//! Amazon SNS: notifications signed with a certificate of Amazon's, which wrap what a registry or a
//! bucket says.

use std::{collections::HashMap, time::Duration};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;

use super::{
    Answers, Options, Outcome, Source,
    ecr::Ecr,
    extra::{self, IGNORED, invalid, unreadable},
    s3::S3,
};
use crate::{
    client,
    decide::{
        json::{self, fields},
        signature::Algorithm,
        x509::{self, Certificate},
    },
    model::{Answer, Event, Inbound, Keys, Refusal},
    targets::Guard,
};

/// How far the time of a message may be off, in seconds.
const TOLERANCE: u64 = 300;
/// How long fetching a certificate or confirming may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest certificate, and the longest answer to a confirmation.
const MOST: usize = 64 * 1024;
/// How many certificates are remembered.
const CERTIFICATES: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Sns {
    topics: Vec<String>,
    auto_confirm: bool,
    minimum: Algorithm,
    known: Mutex<HashMap<String, Certificate>>,
}

fields! {
    struct Message {
        kind: String = "Type",
        id: String = "MessageId",
        topic: String = "TopicArn",
        subject: Option<String> = "Subject",
        text: String = "Message",
        timestamp: String = "Timestamp",
        token: String = "Token",
        subscribe: String = "SubscribeURL",
        version: String = "SignatureVersion",
        signature: String = "Signature",
        certificate: String = "SigningCertURL",
    }
}

impl Message {
    /// The names and values that are signed, in their order.
    fn signed(&self) -> String {
        let all = [
            ("Message", Some(&self.text)),
            ("MessageId", Some(&self.id)),
            ("Subject", self.subject.as_ref().filter(|_| self.kind == "Notification")),
            ("SubscribeURL", Some(&self.subscribe).filter(|_| self.kind != "Notification")),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", Some(&self.token).filter(|_| self.kind != "Notification")),
            ("TopicArn", Some(&self.topic)),
            ("Type", Some(&self.kind)),
        ];
        let present = all.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        present.map(|(name, value)| format!("{name}\n{value}\n")).collect()
    }
}

/// Whether a URL is one of Amazon's notification service.
fn of_amazon(url: &str) -> Option<reqwest::Url> {
    let url: reqwest::Url = url.parse().ok()?;
    let host = url.host_str()?;
    let plain = host.strip_suffix(".cn").unwrap_or(host);
    let region = plain.strip_prefix("sns.")?.strip_suffix(".amazonaws.com")?;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let named = region.len() >= 3 && region.bytes().all(good);
    let bare = url.port().is_none() && url.username().is_empty() && url.password().is_none();
    (url.scheme() == "https" && named && bare).then_some(url)
}

async fn fetch(url: reqwest::Url) -> Result<Vec<u8>, &'static str> {
    let client = Guard::new(Vec::new()).builder(PATIENCE).build().map_err(|_| "no HTTP client")?;
    let response = client.get(url).send().await.map_err(|_| "no answer")?;
    if response.status() != 200 {
        return Err("status is not 200");
    }
    client::body(response, MOST).await.map_err(|_| "the answer broke off or is too long")
}

impl Sns {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            topics: options.topics.clone(),
            auto_confirm: options.auto_confirm,
            minimum: options.minimum,
            known: Mutex::default(),
        }
    }

    async fn certificate(&self, url: &str) -> Result<Certificate, &'static str> {
        if let Some(known) = self.known.lock().get(url) {
            return Ok(known.clone());
        }
        let place = of_amazon(url).filter(|url| url.path().ends_with(".pem"));
        let pem = fetch(place.ok_or("the certificate is elsewhere")?).await?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|_| "no certificate")?;
        let read = x509::read(&der).ok_or("the certificate is unreadable")?;
        let mut known = self.known.lock();
        if known.len() >= CERTIFICATES {
            known.clear();
        }
        known.insert(url.to_owned(), read.clone());
        Ok(read)
    }

    async fn check(&self, message: &Message, now: i64) -> Result<(), &'static str> {
        if !self.topics.contains(&message.topic) {
            return Err("another topic");
        }
        let sent: jiff::Timestamp = message.timestamp.parse().map_err(|_| "no time")?;
        if now.abs_diff(sent.as_second()) > TOLERANCE {
            return Err("the time is too long ago or in the future");
        }
        let algorithm = match (&*message.version, self.minimum) {
            ("1", Algorithm::Sha1) => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            ("2", _) => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err("the signature's version is unknown or too old"),
        };
        let signature = STANDARD.decode(&message.signature).map_err(|_| "no base64")?;
        let certificate = self.certificate(&message.certificate).await?;
        if now < certificate.from || now > certificate.until {
            return Err("the certificate is not valid now");
        }
        let key = UnparsedPublicKey::new(algorithm, certificate.key);
        let signed = message.signed();
        key.verify(signed.as_bytes(), &signature).map_err(|_| "signature does not match")
    }

    async fn confirm(&self, message: &Message) -> Result<(), Refusal> {
        const LATER: &str = "cannot confirm the subscription";
        let Some(url) = of_amazon(&message.subscribe) else {
            return Err(invalid("the confirmation is elsewhere"));
        };
        let confirmed = fetch(url).await;
        confirmed.map(drop).map_err(|reason| Refusal::payload(503, LATER, reason))
    }
}

impl Source for Sns {
    fn name(&self) -> &'static str {
        "SNS"
    }

    fn problem(&self) -> Option<&'static str> {
        self.topics.is_empty().then_some("topics are missing: anybody may have one")
    }

    fn verify(&self, request: &Inbound<'_>, _keys: &Keys) -> Result<(), Refusal> {
        let known = request.header("x-amz-sns-message-type").one().is_some();
        known.then_some(()).ok_or(invalid("no message type"))
    }

    fn verify_remotely<'a>(
        &'a self,
        request: &'a Inbound<'a>,
    ) -> Option<BoxFuture<'a, Result<Value, Refusal>>> {
        let checking = async move {
            // The signature is in the body, and covers its fields, not its bytes.
            let message: Message =
                json::first(request.body).map_err(|_| invalid("the body is unreadable"))?;
            if !request.is("x-amz-sns-message-type", &message.kind) {
                return Err(invalid("header and body differ"));
            }
            self.check(&message, request.now).await.map_err(invalid)?;
            if message.kind == "SubscriptionConfirmation" && self.auto_confirm {
                self.confirm(&message).await?;
            }
            Ok(Value::Null)
        };
        Some(checking.boxed())
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let message: Message = json::first(request.body).map_err(unreadable)?;
        match &*message.kind {
            "Notification" => {}
            "SubscriptionConfirmation" if self.auto_confirm => {
                return Ok(Outcome::Nothing(Answer::OK));
            }
            _ => return Ok(Outcome::Nothing(IGNORED)),
        }
        let inner = Inbound { body: message.text.as_bytes(), ..*request };
        match serde_json::from_str::<Value>(&message.text) {
            Ok(value) if value.get("Records").is_some() => S3::plain().parse(&inner),
            Ok(value) if value.get("Event").is_some_and(|event| event == "s3:TestEvent") => {
                Ok(Outcome::Nothing(Answer::OK))
            }
            Ok(value) if value.get("source").is_some_and(|source| source == "aws.ecr") => {
                Ecr.parse(&inner)
            }
            _ => Ok(Outcome::Events(vec![Event::raw("sns", inner.body)])),
        }
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }

    fn id_headers(&self) -> &'static [&'static str] {
        &["x-amz-sns-message-id"]
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::KeySize,
        signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
    };
    use serde_json::json;

    use super::{super::testing::*, *};

    const TOPIC: &str = "arn:aws:sns:eu-central-1:000000000000:pushes";
    const PEM: &str = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-1.pem";
    const NOW: i64 = 1_735_689_600;

    #[test]
    fn only_amazons_own_addresses_are_asked() {
        assert!(of_amazon(PEM).is_some());
        assert!(of_amazon("https://sns.cn-north-1.amazonaws.com.cn/x").is_some());
        for url in [
            "http://sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com.evil.example/a.pem",
            "https://sns.evil.example/sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.x.y.amazonaws.com/a.pem",
            "https://sns.eu.amazonaws.com/a.pem",
            "https://user@sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com:8443/a.pem",
            "https://169.254.169.254/a.pem",
            "",
        ] {
            assert!(of_amazon(url).is_none(), "{url}");
        }
    }

    /// A source that knows the certificate of a key of ours, and the key.
    fn world(options: &Options) -> (Sns, RsaKeyPair) {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // The bare key: readers of certificates give another form of the same.
        let certificate = Certificate {
            key: key.public_key().as_ref().to_vec(),
            from: NOW - 10,
            until: NOW + 10_000,
        };
        let sns = Sns::new(options);
        sns.known.lock().insert(PEM.to_owned(), certificate);
        (sns, key)
    }

    fn options() -> Options {
        Options { topics: vec![TOPIC.to_owned()], ..Options::default() }
    }

    fn signed(key: &RsaKeyPair, change: Value) -> String {
        let mut body = json!({"Type": "Notification", "MessageId": "1", "TopicArn": TOPIC,
            "Subject": "s", "Message": "{}", "Timestamp": "2025-01-01T00:00:00.000Z",
            "SignatureVersion": "2", "SigningCertURL": PEM});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let message: Message = serde_json::from_value(body.clone()).unwrap();
        let text = message.signed();
        let mut signature = vec![0; key.public_modulus_len()];
        let random = SystemRandom::new();
        key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
        body["Signature"] = STANDARD.encode(signature).into();
        body.to_string()
    }

    async fn check(sns: &Sns, kind: &str, body: &str, now: i64) -> Result<(), &'static str> {
        let headers = headers(&[("x-amz-sns-message-type", kind)]);
        let request = Inbound { headers: &headers, body: body.as_bytes(), now };
        let checked = sns.verify_remotely(&request).unwrap().await;
        checked.map(drop).map_err(|refusal| refusal.reason)
    }

    #[tokio::test]
    async fn a_signed_notification_passes_and_nothing_else_does() {
        let (sns, key) = world(&options());
        let body = signed(&key, json!({}));
        assert_eq!(check(&sns, "Notification", &body, NOW).await, Ok(()));
        let wrong =
            async |kind: &str, body: String, now| check(&sns, kind, &body, now).await.is_err();
        assert!(wrong("SubscriptionConfirmation", body.clone(), NOW).await);
        for now in [NOW + 301, NOW - 301, NOW + 10_001] {
            assert!(wrong("Notification", body.clone(), now).await);
        }
        assert!(wrong("Notification", body.replace("\"{}\"", "\"{} \""), NOW).await);
        assert!(wrong("Notification", body.replace("\"s\"", "\"t\""), NOW).await);
        let old = body.replace("\"SignatureVersion\":\"2\"", "\"SignatureVersion\":\"1\"");
        assert!(wrong("Notification", old, NOW).await);
        assert!(wrong("Notification", signed(&key, json!({"TopicArn": "arn:other"})), NOW).await);
        let elsewhere = json!({"SigningCertURL": "https://evil.example/a.pem"});
        assert!(wrong("Notification", signed(&key, elsewhere), NOW).await);
        let strict = Options { minimum: Algorithm::Sha256, ..options() };
        let (sns, key) = world(&strict);
        let body = signed(&key, json!({"SignatureVersion": "1"}));
        let said = check(&sns, "Notification", &body, NOW).await;
        assert_eq!(said, Err("the signature's version is unknown or too old"));
    }

    #[tokio::test]
    async fn confirmations_elsewhere_are_not_asked_for() {
        let (sns, key) = world(&Options { auto_confirm: true, ..options() });
        let body = json!({"Type": "SubscriptionConfirmation", "Token": "t", "Subject": null,
            "SubscribeURL": "https://169.254.169.254/confirm"});
        let body = signed(&key, body);
        let said = check(&sns, "SubscriptionConfirmation", &body, NOW).await;
        assert_eq!(said, Err("the confirmation is elsewhere"));
    }

    #[test]
    fn the_message_inside_is_what_happened() {
        let (sns, _) = world(&options());
        let wrapped = |text: &str| json!({"Type": "Notification", "Message": text}).to_string();
        let parse = |text: &str| {
            let (headers, body) = (headers(&[]), wrapped(text));
            let request = Inbound { headers: &headers, body: body.as_bytes(), now: NOW };
            match sns.parse(&request).unwrap() {
                Outcome::Events(mut events) => events.remove(0),
                Outcome::Nothing(answer) => panic!("{answer:?}"),
            }
        };
        let bucket = r#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}]}"#;
        assert_eq!(parse(bucket).object.unwrap().key, "k");
        let registry = r#"{"source":"aws.ecr","detail-type":"ECR Image Action","account":"0","region":"r","detail":{"action-type":"PUSH","result":"SUCCESS","repository-name":"app"}}"#;
        assert_eq!(parse(registry).image.unwrap().name, "app");
        assert_eq!(parse("plain text").event, "sns");
        assert!(Sns::new(&Options::default()).problem().is_some());
    }
}
