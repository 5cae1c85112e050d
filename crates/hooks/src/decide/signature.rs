//! HMAC signatures over raw bytes (contract §1.6), compared in constant time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use super::{digest::unhex, form};
use crate::model::{Header, Inbound, Keys};

/// A hash function that a signature may use, weakest first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-1.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The algorithm of exactly this lower-case name.
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"sha1" => Some(Self::Sha1),
            b"sha256" => Some(Self::Sha256),
            b"sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The HMAC of the parts, one after the other.
    pub fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        // An HMAC key may have any length, so the constructors cannot fail.
        macro_rules! with {
            ($hash:ty) => {
                Hmac::<$hash>::new_from_slice(key).map_or_else(
                    |_| Vec::new(),
                    |mut mac| {
                        parts.iter().for_each(|part| mac.update(part));
                        mac.finalize().into_bytes().to_vec()
                    },
                )
            };
        }
        match self {
            Self::Sha1 => with!(Sha1),
            Self::Sha256 => with!(Sha256),
            Self::Sha512 => with!(Sha512),
        }
    }

    /// Whether `mac` is the HMAC of the body under any of the keys.
    pub fn verifies(self, mac: &[u8], request: &Inbound<'_>, keys: &Keys) -> bool {
        keys.any(request.now, |key| equal(&self.hmac(key, &[request.body]), mac))
    }
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Whether a header equals any of the keys.
pub fn token(header: Header<'_>, request: &Inbound<'_>, keys: &Keys) -> bool {
    let offered = match header {
        Header::One(value) => value,
        // Without a secret a missing header is as good as an empty one.
        Header::Missing if keys.open() => b"",
        Header::Missing | Header::Differ => return false,
    };
    keys.any(request.now, |key| equal(key, offered))
}

/// How the body of a signed request is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Form,
}

fn media(request: &Inbound<'_>) -> Option<Media> {
    let value = request.text("content-type")?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Some(Media::Json)
    } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Some(Media::Form)
    } else {
        None
    }
}

/// The whole `X-Hub-Signature` rule: media type, signature, form escapes. The error is for logs.
pub fn hub(request: &Inbound<'_>, keys: &Keys, minimum: Algorithm) -> Result<(), &'static str> {
    let media = media(request).ok_or("content type is neither JSON nor a form")?;
    if !keys.open() {
        hub_signature(request, keys, minimum)?;
    }
    if media == Media::Form && form::payload(request.body).is_none() {
        return Err("form has a bad percent-escape");
    }
    Ok(())
}

/// The signature alone. A SHA-256 header decides by itself: a bad one is never rescued by a good
/// SHA-1.
pub fn hub_signature(
    request: &Inbound<'_>,
    keys: &Keys,
    minimum: Algorithm,
) -> Result<(), &'static str> {
    let header = match request.header("x-hub-signature-256") {
        Header::Missing | Header::One(b"") => request.header("x-hub-signature"),
        strong => strong,
    };
    let value = match header {
        Header::One(value) => value,
        Header::Missing => return Err("no signature"),
        Header::Differ => return Err("different signatures"),
    };
    let at = value.iter().position(|&byte| byte == b'=').ok_or("signature names no algorithm")?;
    let algorithm = Algorithm::named(&value[..at]).ok_or("unknown algorithm")?;
    if algorithm < minimum {
        return Err("algorithm is too weak for this endpoint");
    }
    let mac = unhex(&value[at + 1..]).ok_or("signature is not hexadecimal")?;
    algorithm.verifies(&mac, request, keys).then_some(()).ok_or("signature does not match")
}

/// The JSON of a request under the hub rule: the body, or the form's payload.
pub fn hub_payload<'a>(request: &Inbound<'a>) -> std::borrow::Cow<'a, [u8]> {
    match media(request) {
        Some(Media::Form) => form::payload(request.body).unwrap_or_default().into(),
        Some(Media::Json) | None => request.body.into(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{super::digest::hex, *};
    use crate::model::Key;

    const KEY: &[u8] = b"correct-horse-battery-staple-01";
    const BODY: &[u8] = br#"{"zen":"keep it small"}"#;
    const SHA1: &str = "sha1=baff9c25dc21351e1c455231f1c1aa33fcae6c5d";
    const SHA256: &str = "sha256=ab5e058ba340e6e742d2de031edb158294002baf097637ffc06d5b979e2ee141";
    const SHA512: &str = "sha512=8babaf92393ea02cc5d5df780cf2dd9d129c1ced715af6a1b52b0d64048163da80313629529f07cb2d70fa13c23dcedd5cc95182553cdbd317a464576ee2288d";
    const FORM: &[u8] = b"payload=%7B%22zen%22%3A%22keep+it+small%22%7D";
    const FORM_MAC: &str =
        "sha256=683c52ea131a6418c6cc2d205216c28666b70b7e141528a7b3bf1a71f02163b0";

    fn keys() -> Keys {
        Keys(vec![Key::new(KEY.to_vec(), None)])
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn check(pairs: &[(&'static str, &str)], body: &[u8], minimum: Algorithm) -> bool {
        let mut headers = headers(pairs);
        if !headers.contains_key("content-type") {
            headers.insert("content-type", "application/json".parse().unwrap());
        }
        hub(&Inbound { headers: &headers, body, now: 0 }, &keys(), minimum).is_ok()
    }

    const OLD: &str = "x-hub-signature";
    const NEW: &str = "x-hub-signature-256";

    #[test]
    fn the_vectors_of_the_contract_pass() {
        for value in [SHA1, SHA256, SHA512] {
            assert!(check(&[(OLD, value)], BODY, Algorithm::Sha1), "{value}");
            let (name, digits) = value.split_once('=').unwrap();
            let upper = format!("{name}={}", digits.to_uppercase());
            assert!(check(&[(OLD, &upper)], BODY, Algorithm::Sha1), "{upper}");
        }
        let form = [(OLD, FORM_MAC), ("content-type", "application/x-www-form-urlencoded")];
        assert!(check(&form, FORM, Algorithm::Sha1));
        assert_eq!(format!("sha1={}", hex(&Algorithm::Sha1.hmac(KEY, &[BODY]))), SHA1);
    }

    #[test]
    fn the_strong_header_decides_alone() {
        assert!(check(&[(NEW, SHA256), (OLD, "sha1=00")], BODY, Algorithm::Sha1));
        assert!(!check(&[(NEW, "sha256=00"), (OLD, SHA1)], BODY, Algorithm::Sha1));
        assert!(check(&[(NEW, ""), (OLD, SHA1)], BODY, Algorithm::Sha1));
        assert!(!check(&[(OLD, SHA1)], BODY, Algorithm::Sha256));
        assert!(check(&[(OLD, SHA256)], BODY, Algorithm::Sha256));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("sha1")]
    #[case("sha1=")]
    #[case("sha256=0123456789")]
    #[case("x")]
    #[case("sha1=baff9c25dc21351e1c455231f1c1aa33fcae6c5")]
    #[case("sha1=baff9c25dc21351e1c455231f1c1aa33 cae6c5d")]
    #[case("sha1= baff9c25dc21351e1c455231f1c1aa33fcae6c5d")]
    #[case("sha1=bäff9c25dc21351e1c455231f1c1aa33fcae6c5d")]
    #[case("md5=baff9c25dc21351e1c455231f1c1aa33fcae6c5d")]
    #[case("SHA1=baff9c25dc21351e1c455231f1c1aa33fcae6c5d")]
    #[case("none=")]
    #[case("baff9c25dc21351e1c455231f1c1aa33fcae6c5d")]
    #[case("sha256=baff9c25dc21351e1c455231f1c1aa33fcae6c5d")]
    fn odd_signatures_fail(#[case] value: &str) {
        assert!(!check(&[(OLD, value)], BODY, Algorithm::Sha1));
        if !value.is_empty() {
            assert!(!check(&[(NEW, value), (OLD, SHA1)], BODY, Algorithm::Sha1));
        }
    }

    #[test]
    fn missing_different_and_foreign_signatures_fail() {
        assert!(!check(&[], BODY, Algorithm::Sha1));
        assert!(check(&[(OLD, SHA1), (OLD, SHA1)], BODY, Algorithm::Sha1));
        assert!(!check(&[(OLD, SHA1), (OLD, SHA256)], BODY, Algorithm::Sha1));
        assert!(!check(&[(OLD, SHA1)], br#"{"zen":"keep it small" }"#, Algorithm::Sha1));
    }

    #[rstest::rstest]
    #[case("application/json; charset=utf-8", true)]
    #[case("Application/JSON", true)]
    #[case("text/plain", false)]
    #[case("", false)]
    #[case("multipart/form-data", false)]
    fn only_json_and_forms_are_signed(#[case] media: &str, #[case] passes: bool) {
        assert_eq!(check(&[(OLD, SHA1), ("content-type", media)], BODY, Algorithm::Sha1), passes);
    }

    #[test]
    fn a_form_with_a_bad_escape_fails_even_when_signed() {
        let body = b"payload=%zz";
        let mac = format!("sha256={}", hex(&Algorithm::Sha256.hmac(KEY, &[body])));
        let form = [(OLD, mac.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        assert!(!check(&form, body, Algorithm::Sha1));
    }
}
