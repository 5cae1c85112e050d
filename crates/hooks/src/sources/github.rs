//! GitHub, and whoever signs like it.

use super::{Answers, Options, Outcome, Source, files::Commits, strip};
use crate::{
    decide::{
        json::{self, Loose, fields},
        signature::{self, Algorithm},
    },
    model::{Answer, Event, Inbound, Keys, Refusal, Repo},
};

const SIGNATURE: &str = "The GitHub signature header is invalid.";
const PAYLOAD: &str = "Cannot parse payload";

/// The events that the sender is known to have. Others are a misconfiguration worth an error.
const KNOWN: &str = " check_run check_suite commit_comment create delete deploy_key deployment \
    deployment_status fork gollum installation installation_repositories issue_comment issues \
    label marketplace_purchase member membership meta milestone organization org_block page_build \
    ping project project_card project_column public pull_request_review \
    pull_request_review_comment pull_request push repository repository_vulnerability_alert \
    release star status team team_add watch branch_protection_rule branch_protection_configuration \
    code_scanning_alert content_reference custom_property custom_property_values dependabot_alert \
    deployment_protection_rule deployment_review discussion discussion_comment \
    github_app_authorization installation_target merge_group package personal_access_token_request \
    pull_request_review_thread pull_request_target registry_package repository_dispatch \
    repository_import repository_ruleset secret_scanning_alert secret_scanning_alert_location \
    security_advisory security_and_analysis sponsorship user workflow_dispatch workflow_job \
    workflow_run ";

/// As many commits the sender lists, and no more.
const MOST_COMMITS: u64 = 2048;

/// See the module.
#[derive(Debug)]
pub(super) struct GitHub {
    minimum: Algorithm,
    ignore_deletes: bool,
}

impl GitHub {
    pub(super) fn new(options: &Options) -> Self {
        Self { minimum: options.minimum, ignore_deletes: options.ignore_deletes }
    }
}

fields! { struct Object {} }
fields! {
    struct Push {
        reference: Option<String> = "ref",
        repository: Repository = "repository",
        before: Loose = "before",
        after: Loose = "after",
        deleted: Flag = "deleted",
        commits: Commits = "commits",
    }
}
fields! {
    struct Repository {
        ssh_url: Option<String> = "ssh_url",
        clone_url: Loose = "clone_url",
        full_name: Loose = "full_name",
    }
}

/// A boolean that is nice to have.
#[derive(Debug, Clone, Default)]
struct Flag(bool);

impl<'de> serde::Deserialize<'de> for Flag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(serde_json::Value::deserialize(deserializer)?.as_bool().unwrap_or_default()))
    }
}

fn unreadable(reason: &'static str) -> Refusal {
    Refusal::payload(400, PAYLOAD, reason)
}

impl Source for GitHub {
    fn name(&self) -> &'static str {
        "GitHub"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        signature::hub(request, keys, self.minimum)
            .map_err(|reason| Refusal::credentials(401, SIGNATURE, reason))
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let event = request
            .text("x-github-event")
            .filter(|event| !event.contains(' ') && KNOWN.contains(&format!(" {event} ")))
            .ok_or_else(|| unreadable("unknown event"))?;
        let payload = signature::hub_payload(request);
        if event != "push" {
            json::whole::<Object>(&payload).map_err(|error| unreadable(error.0))?;
            let text = if event == "ping" { "Pong" } else { "unexpected hook kind, but OK" };
            return Ok(Outcome::Nothing(Answer::text(200, text)));
        }
        let push: Push = json::whole(&payload).map_err(|error| unreadable(error.0))?;
        let reference = push.reference.ok_or_else(|| unreadable("no ref"))?;
        let url = push
            .repository
            .ssh_url
            .filter(|url| !url.is_empty())
            .ok_or_else(|| unreadable("no repository.ssh_url"))?;
        json::name(&reference).and(json::name(&url)).map_err(|error| unreadable(error.0))?;
        if push.deleted.0 && self.ignore_deletes {
            return Ok(Outcome::Nothing(Answer::OK));
        }
        let repo = Repo {
            full_name: push.repository.full_name.0.unwrap_or_default(),
            urls: std::iter::once(url.clone()).chain(push.repository.clone_url.0).collect(),
        };
        let mut event = Event::git("push", repo, &reference).told(url, strip(&reference));
        event.deleted = push.deleted.0;
        event.before = push.before.0;
        event.after = push.after.0;
        (event.changed_files, event.files_truncated) = push.commits.files(None, MOST_COMMITS);
        Ok(Outcome::Events(vec![event]))
    }

    fn answers(&self) -> Answers {
        Answers {
            timed_out: Some(Answer::error(
                408,
                "Timed out waiting for response from downstream API",
            )),
            ..Answers::git("Error while calling downstream API")
        }
    }

    fn id_headers(&self) -> &'static [&'static str] {
        &["x-github-delivery"]
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn github(options: &Options) -> GitHub {
        GitHub::new(options)
    }

    fn answer(event: &str, body: &str) -> Result<Vec<String>, (u16, String)> {
        let headers = [("x-github-event", event), ("content-type", "application/json")];
        told(&github(&Options::default()), &headers, body)
    }

    const PUSH: &str = r#"{"ref":"refs/heads/main","repository":{"ssh_url":"git@h:t/a.git"}}"#;

    #[test]
    fn a_push_names_its_branch_or_keeps_its_tag() {
        assert_eq!(answer("push", PUSH), Ok(vec![git("git@h:t/a.git", "main")]));
        let with = |name| answer("push", &PUSH.replace("refs/heads/main", name));
        assert_eq!(with("refs/tags/v1"), Ok(vec![git("git@h:t/a.git", "refs/tags/v1")]));
        assert_eq!(with("refs/heads/a/b"), Ok(vec![git("git@h:t/a.git", "a/b")]));
        let deleted = PUSH.replace("{\"ref", "{\"deleted\":true,\"ref");
        assert_eq!(answer("push", &deleted), Ok(vec![git("git@h:t/a.git", "main")]));
        let ignore = Options { ignore_deletes: true, ..Options::default() };
        let headers = [("x-github-event", "push"), ("content-type", "application/json")];
        assert_eq!(told(&github(&ignore), &headers, &deleted), Err((200, "OK".into())));
    }

    #[rstest::rstest]
    #[case("ping", r#"{"zen":"x","repository":5}"#, 200, "Pong")]
    #[case("issues", "{}", 200, "unexpected hook kind, but OK")]
    #[case("workflow_run", "{}", 200, "unexpected hook kind, but OK")]
    #[case("Push", PUSH, 400, PAYLOAD)]
    #[case("check_run check_suite", "{}", 400, PAYLOAD)]
    #[case("nonsense", "{}", 400, PAYLOAD)]
    #[case("", "{}", 400, PAYLOAD)]
    #[case("ping", "null", 400, PAYLOAD)]
    #[case("ping", "", 400, PAYLOAD)]
    #[case("push", "null", 400, PAYLOAD)]
    #[case("push", "[]", 400, PAYLOAD)]
    #[case("push", "{}", 400, PAYLOAD)]
    #[case("push", r#"{"ref":"refs/heads/main"}"#, 400, PAYLOAD)]
    #[case("push", r#"{"ref":"refs/heads/main","repository":null}"#, 400, PAYLOAD)]
    #[case("push", r#"{"ref":"refs/heads/main","repository":{"ssh_url":null}}"#, 400, PAYLOAD)]
    #[case("push", r#"{"ref":null,"repository":{"ssh_url":"u"}}"#, 400, PAYLOAD)]
    #[case("push", r#"{"ref":7,"repository":{"ssh_url":"u"}}"#, 400, PAYLOAD)]
    #[case("push", r#"{"ref":"a","repository":{"ssh_url":"u"}}}"#, 400, PAYLOAD)]
    fn everything_else_has_its_text(
        #[case] event: &str,
        #[case] body: &str,
        #[case] status: u16,
        #[case] text: &str,
    ) {
        assert_eq!(answer(event, body), Err((status, text.into())));
    }

    #[test]
    fn unsigned_requests_are_refused() {
        let headers = [("x-github-event", "push"), ("content-type", "application/json")];
        let refused = verified(&github(&Options::default()), &headers, PUSH);
        assert_eq!(refused, Err((401, SIGNATURE.into())));
    }

    #[test]
    fn absurd_names_are_refused() {
        let long = PUSH.replace("refs/heads/main", &"a".repeat(1 << 20));
        assert_eq!(answer("push", &long), Err((400, PAYLOAD.into())));
    }
}
