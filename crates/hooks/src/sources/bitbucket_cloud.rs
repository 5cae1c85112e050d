//! Bitbucket Cloud: signs only when a secret was entered there.

use super::{Answers, Options, Outcome, SignatureMode, Source};
use crate::{
    decide::{
        json::{self, Loose, fields},
        signature::{self, Algorithm},
    },
    model::{Event, EventKind, Inbound, Keys, Refusal, Repo},
};

const SIGNATURE: &str = "The signature header is invalid.";
const EVENT: &str = "Unexpected or missing header X-Event-Key";
const PAYLOAD: &str = "Unable to decode payload as JSON";

/// See the module.
#[derive(Debug)]
pub(super) struct BitbucketCloud {
    signature: SignatureMode,
    minimum: Algorithm,
}

impl BitbucketCloud {
    pub(super) fn new(options: &Options) -> Self {
        Self { signature: options.signature, minimum: options.minimum }
    }
}

fields! { struct Payload { push: Push = "push", repository: Repository = "repository" } }
fields! { struct Push { changes: Vec<Change> = "changes" } }
fields! { struct Change { new: Option<New> = "new" } }
fields! { struct New { name: String = "name", kind: Loose = "type", target: Target = "target" } }
fields! { struct Target { hash: Loose = "hash" } }
fields! { struct Repository { full_name: String = "full_name" } }

fn unreadable(reason: &'static str) -> Refusal {
    Refusal::payload(400, PAYLOAD, reason)
}

impl Source for BitbucketCloud {
    fn name(&self) -> &'static str {
        "BitbucketCloud"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        let signed = request.header("x-hub-signature").present()
            || request.header("x-hub-signature-256").present();
        match self.signature {
            SignatureMode::Off => return Ok(()),
            SignatureMode::Auto if !signed => return Ok(()),
            SignatureMode::Auto | SignatureMode::Require => {}
        }
        signature::hub_signature(request, keys, self.minimum)
            .map_err(|reason| Refusal::credentials(401, SIGNATURE, reason))
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        if !request.is("x-event-key", "repo:push") {
            return Err(Refusal::event(400, EVENT));
        }
        let payload: Payload = json::first(request.body).map_err(|error| unreadable(error.0))?;
        let full_name = payload.repository.full_name;
        json::name(&full_name).map_err(|error| unreadable(error.0))?;
        let url = format!("git@bitbucket.org:{full_name}.git");
        let https = format!("https://bitbucket.org/{full_name}.git");
        let (changes, repeated) = (payload.push.changes, 4 * full_name.len());
        json::events(changes.len(), repeated).map_err(|error| unreadable(error.0))?;
        let mut events = Vec::new();
        // A change without `new` is a deletion: there is no branch left to look at.
        for new in changes.into_iter().filter_map(|change| change.new) {
            json::name(&new.name).map_err(|error| unreadable(error.0))?;
            let repo =
                Repo { full_name: full_name.clone(), urls: vec![url.clone(), https.clone()] };
            let mut event = if new.kind.0.as_deref() == Some("tag") {
                let reference = format!("refs/tags/{}", new.name);
                Event::git("repo:push", repo, &reference)
            } else {
                Event::git("repo:push", repo, &format!("refs/heads/{}", new.name))
            };
            debug_assert!(matches!(event.kind, EventKind::GitPush | EventKind::GitTag));
            event.after = new.target.hash.0;
            events.push(event.told(&*url, new.name));
        }
        Ok(Outcome::Events(events))
    }

    fn answers(&self) -> Answers {
        Answers::git("Unable to process all push events")
    }

    fn id_headers(&self) -> &'static [&'static str] {
        &["x-request-uuid"]
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::decide::digest::hex;

    fn told_by(body: &str) -> Result<Vec<String>, (u16, String)> {
        told(&BitbucketCloud::new(&Options::default()), &[("x-event-key", "repo:push")], body)
    }

    #[test]
    fn every_change_is_told_in_order() {
        let body = r#"{"push":{"changes":[{"new":{"name":"b","type":"branch"}},
            {"new":null},{"new":{"name":"a/x"}},{"new":{"name":"v1","type":"tag"}},
            {"new":{"name":"b"}}]},"repository":{"full_name":"t/a"}}"#;
        let url = "git@bitbucket.org:t/a.git";
        let expected = ["b", "a/x", "v1", "b"].map(|name| git(url, name)).to_vec();
        assert_eq!(told_by(body), Ok(expected));
    }

    #[test]
    fn nothing_changed_is_fine() {
        for body in ["{}", r#"{"push":{"changes":null}}"#, r#"{"push":null,"repository":null}"#] {
            assert_eq!(told_by(body), Ok(vec![]), "{body}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        let source = BitbucketCloud::new(&Options::default());
        assert_eq!(told(&source, &[], "{}"), Err((400, EVENT.into())));
        let fork = [("x-event-key", "repo:fork")];
        assert_eq!(told(&source, &fork, "{}"), Err((400, EVENT.into())));
        for body in ["", "null", "[]", "{\"push\":[]}", "{\"push\":{\"changes\":{}}}"] {
            assert_eq!(told_by(body), Err((400, PAYLOAD.into())), "{body}");
        }
    }

    #[test]
    fn signatures_that_are_there_must_be_right() {
        let good = format!("sha256={}", hex(&Algorithm::Sha256.hmac(KEY, &[b"{}"])));
        let wrong = Err((401, SIGNATURE.into()));
        let check = |signature, headers: &[(&str, &str)]| {
            let options = Options { signature, ..Options::default() };
            verified(&BitbucketCloud::new(&options), headers, "{}")
        };
        let (auto, require, off) =
            (SignatureMode::Auto, SignatureMode::Require, SignatureMode::Off);
        assert_eq!(check(auto, &[]), Ok(()));
        assert_eq!(check(auto, &[("x-hub-signature", &good)]), Ok(()));
        assert_eq!(check(auto, &[("x-hub-signature", "sha256=00")]), wrong);
        assert_eq!(check(auto, &[("x-hub-signature", "")]), wrong);
        assert_eq!(check(require, &[]), wrong);
        assert_eq!(check(off, &[("x-hub-signature", "sha256=00")]), Ok(()));
    }
}
