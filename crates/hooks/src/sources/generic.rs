//! Senders without a contract of their own: anything that is let in, anything that is signed.

use std::{borrow::Cow, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;

use super::{
    Answers, Options, Outcome, Source,
    extra::{self, invalid, unreadable},
    options::{Encoding, Hmac},
};
use crate::{
    decide::{
        digest::{hex, unhex},
        json::{self, Loose, fields},
        signature::{Algorithm, equal},
        standard_webhooks,
    },
    model::{Event, Inbound, Keys, Refusal},
    oidc::Oidc,
};

/// Anything, from whoever passes the endpoint's own authentication.
#[derive(Debug)]
pub(super) struct Generic;

impl Source for Generic {
    fn name(&self) -> &'static str {
        "Generic"
    }

    fn needs_auth(&self) -> bool {
        true
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        Ok(Outcome::Events(vec![Event::raw("generic", request.body)]))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }
}

/// Anything whose signature is in one header, `<algorithm>=<hex>` unless options say otherwise.
#[derive(Debug)]
pub(super) struct GenericHmac {
    rules: Hmac,
    header: String,
    minimum: Algorithm,
}

/// How far the clock of a sender may be off, in seconds.
const TOLERANCE: u32 = 300;

impl GenericHmac {
    pub(super) fn new(options: &Options) -> Self {
        let rules = options.hmac.clone();
        let header = rules.header.as_deref().unwrap_or("x-signature").to_ascii_lowercase();
        Self { rules, header, minimum: options.minimum }
    }

    /// The algorithm and the bytes of one signature.
    fn read(&self, offered: &[u8]) -> Result<(Algorithm, Vec<u8>), &'static str> {
        let (algorithm, digits) = match (self.rules.algorithm, &self.rules.prefix) {
            (Some(algorithm), Some(prefix)) => {
                (algorithm, offered.strip_prefix(prefix.as_bytes()).ok_or("no prefix")?)
            }
            (wanted, None) => {
                let at = offered.iter().position(|&byte| byte == b'=').ok_or("no algorithm")?;
                let named = Algorithm::named(&offered[..at]).ok_or("unknown algorithm")?;
                if wanted.is_some_and(|wanted| wanted != named) {
                    return Err("another algorithm");
                }
                (named, &offered[at + 1..])
            }
            (None, Some(_)) => return Err("the endpoint names no algorithm"),
        };
        if algorithm < self.minimum {
            return Err("algorithm is too weak for this endpoint");
        }
        let bytes = match self.rules.encoding.unwrap_or_default() {
            Encoding::Hex => unhex(digits),
            Encoding::Base64 => STANDARD.decode(digits).ok(),
            Encoding::Base64Url => {
                let padded = digits.iter().rposition(|&byte| byte != b'=').map_or(0, |at| at + 1);
                URL_SAFE_NO_PAD.decode(&digits[..padded]).ok()
            }
        };
        Ok((algorithm, bytes.filter(|bytes| !bytes.is_empty()).ok_or("signature is unreadable")?))
    }

    /// What is signed, in pieces.
    fn signed<'a>(&'a self, body: &'a [u8], time: &'a [u8], id: &'a [u8]) -> Vec<&'a [u8]> {
        let Some(template) = &self.rules.signed_content else { return vec![body] };
        let values = [("{body}", body), ("{timestamp}", time), ("{id}", id)];
        let mut pieces = Vec::new();
        let mut rest = template.as_str();
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            pieces.push(before.as_bytes());
            match values.iter().find(|(name, _)| from.starts_with(name)) {
                Some((name, value)) => {
                    pieces.push(value);
                    rest = &from[name.len()..];
                }
                None => {
                    pieces.push(b"{");
                    rest = &from[1..];
                }
            }
        }
        pieces.push(rest.as_bytes());
        pieces
    }

    /// The value of a header that is signed as well; empty if none is.
    fn part<'a>(
        &self,
        request: &Inbound<'a>,
        name: Option<&String>,
    ) -> Result<&'a [u8], &'static str> {
        let Some(name) = name else { return Ok(b"") };
        request.header(&name.to_ascii_lowercase()).one().ok_or("a signed header is missing")
    }

    fn check(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), &'static str> {
        let value = request.header(&self.header).one().ok_or("no signature")?;
        let time = self.part(request, self.rules.timestamp_header.as_ref())?;
        let id = self.part(request, self.rules.id_header.as_ref())?;
        if self.rules.timestamp_header.is_some() {
            let sent = std::str::from_utf8(time).ok().and_then(|text| text.parse::<i64>().ok());
            let sent = sent.ok_or("the timestamp is no number")?;
            let tolerance = self.rules.tolerance.unwrap_or(TOLERANCE);
            if request.now.abs_diff(sent) > u64::from(tolerance) {
                return Err("the timestamp is too old or in the future");
            }
        }
        let signed = self.signed(request.body, time, id);
        let offers: Vec<&[u8]> =
            match self.rules.list.as_deref().and_then(|list| list.bytes().next()) {
                Some(separator) => value.split(|&byte| byte == separator).take(32).collect(),
                None => vec![value],
            };
        let mut reason = "no signature";
        for offered in offers {
            match self.read(offered.trim_ascii()) {
                Err(why) => reason = why,
                Ok((algorithm, mac)) => {
                    if keys.any(request.now, |key| equal(&algorithm.hmac(key, &signed), &mac)) {
                        return Ok(());
                    }
                    reason = "signature does not match";
                }
            }
        }
        Err(reason)
    }
}

impl Source for GenericHmac {
    fn name(&self) -> &'static str {
        "GenericHMAC"
    }

    fn problem(&self) -> Option<&'static str> {
        let Hmac { algorithm, prefix, signed_content, timestamp_header, id_header, list, .. } =
            &self.rules;
        let signs = |name| signed_content.as_ref().is_some_and(|content| content.contains(name));
        if prefix.is_some() && algorithm.is_none() {
            return Some("a prefix of its own needs an algorithm");
        }
        if list.as_ref().is_some_and(|list| list.len() != 1) {
            return Some("list is one character");
        }
        if signed_content.is_some() && !signs("{body}") {
            return Some("signedContent lacks {body}: anybody could replace it");
        }
        if signs("{timestamp}") != timestamp_header.is_some() {
            return Some("timestampHeader and {timestamp} in signedContent belong together");
        }
        (signs("{id}") != id_header.is_some())
            .then_some("idHeader and {id} in signedContent belong together")
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        self.check(request, keys).map_err(invalid)
    }

    fn sign(&self, key: &[u8], body: &[u8], now: i64) -> Option<Vec<(String, String)>> {
        let rules = &self.rules;
        let (time, id) = (now.to_string(), format!("sample-{now}"));
        let algorithm = rules.algorithm.unwrap_or(Algorithm::Sha256);
        let mac = algorithm.hmac(key, &self.signed(body, time.as_bytes(), id.as_bytes()));
        let digits = match rules.encoding.unwrap_or_default() {
            Encoding::Hex => hex(&mac),
            Encoding::Base64 => STANDARD.encode(mac),
            Encoding::Base64Url => URL_SAFE_NO_PAD.encode(mac),
        };
        let prefix = rules.prefix.clone().unwrap_or_else(|| format!("{}=", algorithm.word()));
        let mut headers = vec![(self.header.clone(), format!("{prefix}{digits}"))];
        headers.extend(rules.timestamp_header.clone().map(|name| (name, time)));
        headers.extend(rules.id_header.clone().map(|name| (name, id)));
        Some(headers)
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        Ok(Outcome::Events(vec![Event::raw("generic", request.body)]))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        let name = self.rules.id_header.as_ref()?.to_ascii_lowercase();
        request.text(&name).map(Cow::Borrowed)
    }
}

/// Senders whose identity token an issuer made: CI systems.
#[derive(Debug)]
pub(super) struct GenericOidc {
    issuers: Option<Arc<Oidc>>,
}

impl GenericOidc {
    pub(super) fn new(options: &Options) -> Self {
        Self { issuers: options.oidc.clone() }
    }
}

impl Source for GenericOidc {
    fn name(&self) -> &'static str {
        "GenericOIDC"
    }

    fn problem(&self) -> Option<&'static str> {
        self.issuers.is_none().then_some("issuers are missing")
    }

    fn verify(&self, request: &Inbound<'_>, _keys: &Keys) -> Result<(), Refusal> {
        // Without issuers nobody could vouch for anybody.
        let known = self.issuers.is_some() && request.header("authorization").one().is_some();
        known.then_some(()).ok_or(invalid("no bearer token"))
    }

    fn verify_remotely<'a>(
        &'a self,
        request: &'a Inbound<'a>,
    ) -> Option<BoxFuture<'a, Result<Value, Refusal>>> {
        let issuers = self.issuers.as_ref()?;
        Some(async move { issuers.claims(request).await.map_err(invalid) }.boxed())
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        Ok(Outcome::Events(vec![Event::raw("generic", request.body)]))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }
}

/// Senders that follow the Standard Webhooks rule.
#[derive(Debug)]
pub(super) struct StandardWebhooks;

fields! { struct Typed { kind: Loose = "type" } }

impl Source for StandardWebhooks {
    fn name(&self) -> &'static str {
        "StandardWebhooks"
    }

    fn key_problem(&self, key: &[u8]) -> Option<&'static str> {
        (!standard_webhooks::is_secret(key))
            .then_some("is neither whsec_ with base64 of 24 to 64 bytes nor whpk_ with 32")
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        standard_webhooks::verify(request, keys).map_err(invalid)
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let Typed { kind } = json::first(request.body).map_err(unreadable)?;
        let kind = kind.0.unwrap_or_else(|| "generic".to_owned());
        json::name(&kind).map_err(unreadable)?;
        Ok(Outcome::Events(vec![Event::raw(kind, request.body)]))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        request.text("webhook-id").or_else(|| request.text("svix-id")).map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn any_algorithm_in_any_header() {
        let mac = hex(&Algorithm::Sha512.hmac(KEY, &[b"{}"]));
        let value = format!("sha512={}", mac.to_uppercase());
        let plain = GenericHmac::new(&Options::default());
        assert_eq!(verified(&plain, &[("x-signature", &value)], "{}"), Ok(()));
        let hmac = Hmac { header: Some("X-Mine".into()), ..Hmac::default() };
        let own = Options { hmac, ..Options::default() };
        assert_eq!(verified(&GenericHmac::new(&own), &[("x-mine", &value)], "{}"), Ok(()));
        let wrong = Err((401, "invalid signature".into()));
        for value in ["", "sha512=", &mac, "md5=00", "sha512=zz"] {
            assert_eq!(verified(&plain, &[("x-signature", value)], "{}"), wrong, "{value}");
        }
        assert_eq!(verified(&plain, &[], "{}"), wrong);
    }

    fn rules(json: Value) -> GenericHmac {
        let hmac = serde_json::from_value(json).unwrap();
        GenericHmac::new(&Options { hmac, ..Options::default() })
    }

    #[test]
    fn signatures_are_written_in_many_ways() {
        let all = [
            serde_json::json!({"algorithm": "sha256", "prefix": "", "encoding": "base64"}),
            serde_json::json!({"algorithm": "sha512", "prefix": "v1=", "encoding": "base64url"}),
            serde_json::json!({"signedContent": "{id}.{timestamp}.{body}{x",
                "timestampHeader": "X-Time", "idHeader": "X-Id", "list": ","}),
        ];
        for (number, json) in all.into_iter().enumerate() {
            let source = rules(json);
            assert_eq!(source.problem(), None);
            let signed = source.sign(KEY, b"{}", 0).unwrap();
            let pairs: Vec<(&str, &str)> = signed.iter().map(|(k, v)| (&**k, &**v)).collect();
            assert_eq!(verified(&source, &pairs, "{}"), Ok(()), "{number}");
            assert!(verified(&source, &pairs, "{} ").is_err(), "{number}");
            let longer = format!("sha1=00,{}", pairs[0].1);
            let several = [&[(pairs[0].0, &*longer)], &pairs[1..]].concat();
            assert_eq!(verified(&source, &several, "{}").is_ok(), number == 2, "{number}");
        }
        let stale = rules(serde_json::json!({"signedContent": "{timestamp}{body}",
            "timestampHeader": "X-Time", "tolerance": 10}));
        for (at, good) in [(10, true), (11, false), (-11, false)] {
            let signed = stale.sign(KEY, b"{}", at).unwrap();
            let pairs: Vec<(&str, &str)> = signed.iter().map(|(k, v)| (&**k, &**v)).collect();
            assert_eq!(verified(&stale, &pairs, "{}").is_ok(), good, "{at}");
        }
        for bad in [
            serde_json::json!({"prefix": ""}),
            serde_json::json!({"signedContent": "{timestamp}"}),
            serde_json::json!({"signedContent": "{timestamp}{body}"}),
            serde_json::json!({"idHeader": "X-Id"}),
            serde_json::json!({"list": ", "}),
        ] {
            assert!(rules(bad.clone()).problem().is_some(), "{bad}");
        }
    }

    #[test]
    fn the_senders_words_are_kept() {
        let headers = headers(&[]);
        let parse = |source: &dyn Source, body: &[u8]| match source.parse(&Inbound {
            headers: &headers,
            body,
            now: 0,
        }) {
            Ok(Outcome::Events(mut events)) => events.remove(0),
            other => panic!("{other:?}"),
        };
        let event = parse(&StandardWebhooks, br#"{"type":"demo.ping","data":{"a":1}}"#);
        assert_eq!(event.event, "demo.ping");
        assert_eq!(event.raw.unwrap()["data"]["a"], 1);
        assert_eq!(parse(&Generic, b"no json").raw, None);
        assert_eq!(told(&StandardWebhooks, &[], ""), Err((400, "cannot decode payload".into())));
        assert!(StandardWebhooks.key_problem(b"short").is_some());
    }
}
