//! The Standard Webhooks signature (contract §3.6): id, time and body, HMAC-SHA256 or Ed25519.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};

use super::signature::{Algorithm, equal};
use crate::model::{Header, Inbound, Keys};

/// How far clocks may differ, in seconds.
const TOLERANCE: u64 = 300;

/// A secret in the text form of the standard.
enum Secret {
    Shared(Vec<u8>),
    Public(Vec<u8>),
}

impl Secret {
    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim();
        if let Some(public) = text.strip_prefix("whpk_") {
            return decode(public).filter(|key| key.len() == 32).map(Self::Public);
        }
        let secret = decode(text.strip_prefix("whsec_").unwrap_or(text))?;
        (24..=64).contains(&secret.len()).then_some(Self::Shared(secret))
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

/// Whether a key can be used at all; for the check at the start.
pub fn is_secret(key: &[u8]) -> bool {
    Secret::read(key).is_some()
}

/// Verifies the three headers. The error is for logs.
pub fn verify(request: &Inbound<'_>, keys: &Keys) -> Result<(), &'static str> {
    let header = |name: &str| {
        let own = request.header(&format!("webhook-{name}"));
        let value = if own.present() { own } else { request.header(&format!("svix-{name}")) };
        match value {
            Header::One(value) => Ok(value),
            Header::Missing => Err("a header is missing"),
            Header::Differ => Err("different values of a header"),
        }
    };
    let (id, time, signatures) = (header("id")?, header("timestamp")?, header("signature")?);
    if id.is_empty() || id.contains(&b'.') {
        return Err("the id has a dot");
    }
    let sent: i64 = std::str::from_utf8(time)
        .ok()
        .filter(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|time| time.parse().ok())
        .ok_or("the timestamp is no number")?;
    if request.now.abs_diff(sent) > TOLERANCE {
        return Err("the timestamp is too old or in the future");
    }
    let parts = [id, b".", time, b".", request.body];
    let mut offered = Vec::new();
    for entry in signatures.split(|&byte| byte == b' ').take(32) {
        let Some(at) = entry.iter().position(|&byte| byte == b',') else { continue };
        let Ok(bytes) = STANDARD.decode(&entry[at + 1..]) else { continue };
        offered.push((&entry[..at], bytes));
    }
    let matches = keys.any(request.now, |key| match Secret::read(key) {
        Some(Secret::Shared(secret)) => {
            let mac = Algorithm::Sha256.hmac(&secret, &parts);
            offered
                .iter()
                .filter(|(version, _)| *version == b"v1")
                .fold(false, |found, (_, bytes)| found | equal(&mac, bytes))
        }
        Some(Secret::Public(public)) => {
            let key = UnparsedPublicKey::new(&ED25519, &public);
            let signed = parts.concat();
            offered
                .iter()
                .any(|(version, bytes)| *version == b"v1a" && key.verify(&signed, bytes).is_ok())
        }
        None => false,
    });
    matches.then_some(()).ok_or("no signature matches")
}

/// Signs a body as a sender does: the value of `webhook-signature`.
pub fn sign(secret: &[u8], id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let Secret::Shared(secret) = Secret::read(secret)? else { return None };
    let time = seconds.to_string();
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    Some(format!("v1,{}", STANDARD.encode(Algorithm::Sha256.hmac(&secret, &parts))))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::model::Key;

    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const PUBLIC: &str = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    const V1: &str = "v1,36GJsaafGD/SnwdsU8McIBdoC/ifMhiLLtsrBSsuc14=";
    const V1A: &str = "v1a,iskoChPQZsctv22pQ6Z5RwSQTfNKq7oZHOB5NBygWSPTjld0StmN7r3jswyBIIhP67a6tdOBUjiUu6dQxJIDAw==";
    const BODY: &[u8] = br#"{"type":"demo.ping","timestamp":"2025-01-01T00:00:00Z","data":{}}"#;
    const TIME: i64 = 1_735_689_600;

    fn check(key: &str, prefix: &str, signature: &str, body: &[u8], now: i64) -> bool {
        let mut headers = HeaderMap::new();
        let mut set = |name: &str, value: &str| {
            let name: http::HeaderName = format!("{prefix}-{name}").parse().unwrap();
            headers.append(name, value.parse().unwrap());
        };
        set("id", "msg_0001");
        set("timestamp", "1735689600");
        set("signature", signature);
        let keys = Keys(vec![Key::new(key.as_bytes().to_vec(), None)]);
        verify(&Inbound { headers: &headers, body, now }, &keys).is_ok()
    }

    #[test]
    fn the_vectors_of_the_contract_pass() {
        assert!(check(SECRET, "webhook", V1, BODY, TIME));
        assert!(check(SECRET.trim_start_matches("whsec_"), "svix", V1, BODY, TIME));
        assert!(check(PUBLIC, "webhook", V1A, BODY, TIME));
        assert!(check(SECRET, "webhook", &format!("v0,x v1,AAAA {V1}"), BODY, TIME + 300));
        assert_eq!(sign(SECRET.as_bytes(), "msg_0001", TIME, BODY).as_deref(), Some(V1));
    }

    #[test]
    fn row_45_stale_future_and_foreign_ones_fail() {
        for now in [TIME + 301, TIME - 301] {
            assert!(!check(SECRET, "webhook", V1, BODY, now));
        }
        assert!(!check(SECRET, "webhook", V1, b"{}", TIME));
        assert!(!check(SECRET, "webhook", V1A, BODY, TIME));
        assert!(!check(PUBLIC, "webhook", V1, BODY, TIME));
        assert!(!check("short", "webhook", V1, BODY, TIME));
        assert!(!check(SECRET, "other", V1, BODY, TIME));
        assert!(!check(SECRET, "webhook", V1.trim_start_matches("v1,"), BODY, TIME));
    }
}
