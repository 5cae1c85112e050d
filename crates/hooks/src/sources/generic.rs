//! Senders without a contract of their own: anything that is let in, anything that is signed.

use std::borrow::Cow;

use super::{
    Answers, Options, Outcome, Source,
    extra::{self, invalid, unreadable},
};
use crate::{
    decide::{
        digest::unhex,
        json::{self, Loose, fields},
        signature::Algorithm,
        standard_webhooks,
    },
    model::{Event, Inbound, Keys, Refusal},
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

/// Anything that is signed with `<algorithm>=<hex>` in one header.
#[derive(Debug)]
pub(super) struct GenericHmac {
    header: String,
    minimum: Algorithm,
}

impl GenericHmac {
    pub(super) fn new(options: &Options) -> Self {
        let header = options.header.clone().unwrap_or_else(|| "x-signature".to_owned());
        Self { header: header.to_ascii_lowercase(), minimum: options.minimum }
    }
}

impl Source for GenericHmac {
    fn name(&self) -> &'static str {
        "GenericHMAC"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        let value = request.header(&self.header).one().ok_or(invalid("no signature"))?;
        let at = value.iter().position(|&byte| byte == b'=').ok_or(invalid("no algorithm"))?;
        let algorithm = Algorithm::named(&value[..at])
            .filter(|algorithm| *algorithm >= self.minimum)
            .ok_or(invalid("unknown or weak algorithm"))?;
        let mac = unhex(&value[at + 1..]).ok_or(invalid("signature is not hexadecimal"))?;
        algorithm
            .verifies(&mac, request, keys)
            .then_some(())
            .ok_or(invalid("signature does not match"))
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
    use crate::decide::digest::hex;

    #[test]
    fn any_algorithm_in_any_header() {
        let mac = hex(&Algorithm::Sha512.hmac(KEY, &[b"{}"]));
        let value = format!("sha512={}", mac.to_uppercase());
        let plain = GenericHmac::new(&Options::default());
        assert_eq!(verified(&plain, &[("x-signature", &value)], "{}"), Ok(()));
        let own = Options { header: Some("X-Mine".into()), ..Options::default() };
        assert_eq!(verified(&GenericHmac::new(&own), &[("x-mine", &value)], "{}"), Ok(()));
        let wrong = Err((401, "invalid signature".into()));
        for value in ["", "sha512=", &mac, "md5=00", "sha512=zz"] {
            assert_eq!(verified(&plain, &[("x-signature", value)], "{}"), wrong, "{value}");
        }
        assert_eq!(verified(&plain, &[], "{}"), wrong);
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
