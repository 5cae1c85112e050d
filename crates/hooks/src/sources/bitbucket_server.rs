//! Bitbucket Server and Data Center.

use std::collections::HashSet;

use super::{Answers, Options, Order, Outcome, Source, strip};
use crate::{
    decide::{
        json::{self, Loose, fields},
        signature::{self, Algorithm},
    },
    model::{Answer, Event, Inbound, Keys, Refusal, Repo},
};

const SIGNATURE: &str = "The signature header is invalid.";
const EVENT: &str = "Unexpected or missing header X-Event-Key";
const PAYLOAD: &str = "Unable to JSON decode payload";
const NO_LINK: &str = "Missing repository SSH clone link";
/// What its "test connection" button sends, possibly without a signature.
const TEST: &str = "diagnostics:ping";

/// See the module.
#[derive(Debug)]
pub(super) struct BitbucketServer {
    minimum: Algorithm,
}

impl BitbucketServer {
    pub(super) fn new(options: &Options) -> Self {
        Self { minimum: options.minimum }
    }
}

fields! { struct Payload { changes: Vec<Change> = "changes", repository: Repository = "repository" } }
fields! {
    struct Change {
        reference: Ref = "ref",
        from: Loose = "fromHash",
        to: Loose = "toHash",
        kind: Loose = "type",
    }
}
fields! { struct Ref { id: String = "id", kind: String = "type" } }
fields! { struct Repository { links: Links = "links", slug: Loose = "slug", project: Project = "project" } }
fields! { struct Project { key: Loose = "key" } }
fields! { struct Links { clone: Vec<Link> = "clone" } }
fields! { struct Link { name: String = "name", href: String = "href" } }

fn unreadable(reason: &'static str) -> Refusal {
    Refusal::payload(400, PAYLOAD, reason)
}

impl Source for BitbucketServer {
    fn name(&self) -> &'static str {
        "BitbucketServer"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        if request.is("x-event-key", TEST) {
            return Ok(());
        }
        signature::hub(request, keys, self.minimum)
            .map_err(|reason| Refusal::credentials(401, SIGNATURE, reason))
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        if request.is("x-event-key", TEST) {
            return Ok(Outcome::Nothing(Answer::OK));
        }
        if !request.is("x-event-key", "repo:refs_changed") {
            return Err(Refusal::event(400, EVENT));
        }
        let body = signature::hub_payload(request);
        let payload: Payload = json::whole(&body).map_err(|error| unreadable(error.0))?;
        let Repository { links, slug, project } = payload.repository;
        let mut urls: Vec<String> = links
            .clone
            .iter()
            .filter(|link| link.name == "ssh")
            .chain(links.clone.iter().filter(|link| link.name != "ssh"))
            .map(|link| link.href.clone())
            .collect();
        if !links.clone.iter().any(|link| link.name == "ssh") {
            return Err(Refusal::payload(400, NO_LINK, "no clone link named ssh"));
        }
        urls.truncate(8);
        let full_name =
            format!("{}/{}", project.key.0.unwrap_or_default(), slug.0.unwrap_or_default());
        let repeated =
            full_name.len() + urls[0].len() + urls.iter().map(String::len).sum::<usize>();
        json::events(payload.changes.len(), repeated).map_err(|error| unreadable(error.0))?;
        let (mut events, mut seen) = (Vec::new(), HashSet::new());
        let branches =
            payload.changes.into_iter().filter(|change| change.reference.kind == "BRANCH");
        for Change { reference, from, to, kind } in branches {
            let id = reference.id;
            if !seen.insert(id.clone()) {
                continue;
            }
            json::name(&id).and(json::name(&urls[0])).map_err(|error| unreadable(error.0))?;
            let repo = Repo { full_name: full_name.clone(), urls: urls.clone() };
            let mut event = Event::git("repo:refs_changed", repo, &id).told(&*urls[0], strip(&id));
            event.deleted = kind.0.as_deref() == Some("DELETE");
            event.before = from.0;
            event.after = to.0;
            events.push(event);
        }
        Ok(Outcome::Events(events))
    }

    fn answers(&self) -> Answers {
        Answers { order: Order::Together, ..Answers::git("Unable to process all push events") }
    }

    fn id_headers(&self) -> &'static [&'static str] {
        &["x-request-id"]
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    const BODY: &str = r#"{"changes":[
        {"ref":{"id":"refs/heads/main","type":"BRANCH"}},{"ref":{"id":"refs/heads/main","type":"BRANCH"}},
        {"ref":{"id":"refs/tags/v1","type":"TAG"}},{"ref":{"id":"refs/heads/a/b","type":"BRANCH"}}],
        "repository":{"links":{"clone":[{"name":"http","href":"https://h/scm/t/a.git"},
        {"name":"ssh","href":"ssh://git@h:7999/t/a.git"},{"name":"ssh","href":"ssh://second"}]}}}"#;

    fn told_by(event: &str, body: &str) -> Result<Vec<String>, (u16, String)> {
        let headers = [("x-event-key", event), ("content-type", "application/json; charset=utf-8")];
        told(&BitbucketServer::new(&Options::default()), &headers, body)
    }

    #[test]
    fn distinct_branches_are_told_with_the_first_ssh_link() {
        let url = "ssh://git@h:7999/t/a.git";
        let expected = vec![git(url, "main"), git(url, "a/b")];
        assert_eq!(told_by("repo:refs_changed", BODY), Ok(expected));
        let none = BODY.replace("BRANCH", "TAG");
        assert_eq!(told_by("repo:refs_changed", &none), Ok(vec![]));
    }

    #[rstest::rstest]
    #[case("pr:opened", BODY, EVENT)]
    #[case("repo:refs_changed", "", PAYLOAD)]
    #[case("repo:refs_changed", "null", PAYLOAD)]
    #[case("repo:refs_changed", "{} x", PAYLOAD)]
    #[case("repo:refs_changed", r#"{"changes":{}}"#, PAYLOAD)]
    #[case("repo:refs_changed", "{}", NO_LINK)]
    #[case("repo:refs_changed", r#"{"repository":{"links":{"clone":[{"name":"http"}]}}}"#, NO_LINK)]
    fn the_rest_is_refused(#[case] event: &str, #[case] body: &str, #[case] text: &str) {
        assert_eq!(told_by(event, body), Err((400, text.into())));
    }

    #[test]
    fn the_test_button_works_without_a_signature_and_nothing_else_does() {
        let source = BitbucketServer::new(&Options::default());
        let ping = [("x-event-key", TEST)];
        assert_eq!(verified(&source, &ping, r#"{"test":true}"#), Ok(()));
        assert_eq!(told(&source, &ping, r#"{"test":true}"#), Err((200, "OK".into())));
        let push = [("x-event-key", "repo:refs_changed"), ("content-type", "application/json")];
        assert_eq!(verified(&source, &push, BODY), Err((401, SIGNATURE.into())));
    }
}
