//! Artifactory.

use super::{
    Answers, Options, Outcome, Source, TokenMode,
    extra::{IGNORED, invalid, unreadable},
};
use crate::{
    decide::{
        digest::hex,
        image,
        json::{self, Loose, Unreadable, fields},
        signature::{Algorithm, equal},
    },
    model::{Event, Inbound, Keys, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Artifactory {
    mode: TokenMode,
}

impl Artifactory {
    pub(super) fn new(options: &Options) -> Self {
        Self { mode: options.token_mode }
    }
}

const HEADER: &str = "x-jfrog-event-auth";

fields! {
    struct Payload {
        domain: String = "domain",
        event: String = "event_type",
        origin: String = "jpd_origin",
        virtual_repo: Loose = "virtualRepo",
        data: Data = "data",
    }
}
fields! {
    struct Data { repo: String = "repo_key", image: String = "image_name", tag: Loose = "tag" }
}

impl Source for Artifactory {
    fn name(&self) -> &'static str {
        "Artifactory"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        let offered = request.header(HEADER).one().ok_or(invalid("no signature"))?;
        let matches = keys.any(request.now, |key| match self.mode {
            TokenMode::Plain => equal(key, offered),
            TokenMode::Signature => {
                equal(hex(&Algorithm::Sha256.hmac(key, &[request.body])).as_bytes(), offered)
            }
        });
        matches.then_some(()).ok_or(invalid("signature does not match"))
    }

    fn secret_header(&self) -> Option<&'static str> {
        (self.mode == TokenMode::Plain).then_some(HEADER)
    }

    fn sign(&self, key: &[u8], _body: &[u8], _now: i64) -> Option<Vec<(String, String)>> {
        let header = self.secret_header()?;
        let key = std::str::from_utf8(key.trim_ascii_end()).ok()?;
        Some(vec![(header.to_owned(), key.to_owned())])
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload = json::first(request.body).map_err(unreadable)?;
        if payload.domain != "docker" || payload.event != "pushed" {
            return Ok(Outcome::Nothing(IGNORED));
        }
        let origin = &payload.origin;
        let host = origin.split_once("://").map_or(&**origin, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        let repo = payload.virtual_repo.0.filter(|repo| !repo.is_empty());
        let repo = repo.unwrap_or(payload.data.repo);
        let mut image = image::split(&format!("{host}/{repo}/{}", payload.data.image))
            .map_err(|_| unreadable(Unreadable("origin, repository and name are no image")))?;
        image.tags.extend(payload.data.tag.0);
        Ok(Outcome::Events(vec![Event::image(payload.event, image)]))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    const BODY: &str = r#"{"domain":"docker","event_type":"pushed","jpd_origin":"https://art.example.com/artifactory",
        "data":{"repo_key":"docker-local","image_name":"t/a","tag":"1"}}"#;

    #[test]
    fn the_secret_itself_passes_if_it_is_sent() {
        let source =
            Artifactory::new(&Options { token_mode: TokenMode::Plain, ..Options::default() });
        let key = std::str::from_utf8(KEY).unwrap();
        let wrong = Err((401, "invalid signature".into()));
        let check = |value: &str| verified(&source, &[(HEADER, value)], BODY);
        assert_eq!(check(key), Ok(()));
        assert_eq!(check(&key[1..]), wrong);
        assert_eq!(check(&hex(&Algorithm::Sha256.hmac(KEY, &[BODY.as_bytes()]))), wrong);
        assert_eq!(verified(&source, &[], BODY), wrong);
        assert_eq!((source.secret_header(), signs().secret_header()), (Some(HEADER), None));
        let signed = source.sign(KEY, b"", 0).unwrap();
        assert_eq!(signed, [(HEADER.to_owned(), key.to_owned())]);
    }

    fn signs() -> Artifactory {
        Artifactory::new(&Options::default())
    }

    #[test]
    fn the_signature_is_bare_lower_case_hex() {
        let mac = hex(&Algorithm::Sha256.hmac(KEY, &[BODY.as_bytes()]));
        let check = |mac: &str| verified(&signs(), &[("x-jfrog-event-auth", mac)], BODY);
        let wrong = Err((401, "invalid signature".into()));
        assert_eq!(check(&mac), Ok(()));
        assert_eq!(check(&mac.to_uppercase()), wrong);
        assert_eq!(check(std::str::from_utf8(KEY).unwrap()), wrong);
    }

    #[test]
    fn pushes_are_told() {
        let by = |body: &str| told(&signs(), &[], body);
        assert_eq!(by(BODY), Ok(vec![image("art.example.com", "docker-local/t/a")]));
        let virtual_repo = BODY.replace("{\"domain", "{\"virtualRepo\":\"docker\",\"domain");
        assert_eq!(by(&virtual_repo), Ok(vec![image("art.example.com", "docker/t/a")]));
        assert_eq!(by(&BODY.replace("pushed", "deleted")), Err((200, "ignored".into())));
        assert_eq!(by("{"), Err((400, "cannot decode payload".into())));
    }
}
