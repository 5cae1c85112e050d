//! GitLab: a shared token in a header.

use super::{
    Answers, Options, Outcome, Source,
    files::{Commits, Total},
    strip,
};
use crate::{
    decide::{
        json::{self, Loose, fields},
        signature, standard_webhooks,
    },
    model::{Answer, Event, Inbound, Keys, Refusal, Repo},
};

const EVENT: &str = "Unexpected or missing X-Gitlab-Event";
const PAYLOAD: &str = "Unable to parse hook payload";

/// See the module.
#[derive(Debug)]
pub(super) struct GitLab {
    /// Hooks that the owner wants beside `Push Hook`.
    events: Vec<String>,
    ignore_deletes: bool,
    /// The signing tokens of newer releases.
    signing: Option<Keys>,
}

impl GitLab {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            events: options.events.clone(),
            ignore_deletes: options.ignore_deletes,
            signing: options.signing.clone(),
        }
    }

    fn takes(&self, event: &str) -> bool {
        let wanted = self.events.iter().any(|wanted| wanted.eq_ignore_ascii_case(event));
        event == "Push Hook" || wanted && ["Tag Push Hook", "System Hook"].contains(&event)
    }
}

fields! {
    struct Push {
        reference: String = "ref",
        project: Project = "project",
        event_name: Loose = "event_name",
        before: Loose = "before",
        after: Loose = "after",
        commits: Commits = "commits",
        total: Total = "total_commits_count",
    }
}
fields! {
    struct Project {
        git_ssh_url: String = "git_ssh_url",
        git_http_url: Loose = "git_http_url",
        path_with_namespace: Loose = "path_with_namespace",
    }
}

fn unreadable(reason: &'static str) -> Refusal {
    Refusal::payload(400, PAYLOAD, reason)
}

impl Source for GitLab {
    fn name(&self) -> &'static str {
        "GitLab"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        let wrong = |reason| Refusal::credentials(401, "The Gitlab token does not match", reason);
        let token = request.header("x-gitlab-token");
        if let Some(signing) = &self.signing {
            standard_webhooks::verify(request, signing).map_err(wrong)?;
            // The signature is proof enough, but a wrong token beside it is still wrong.
            if !token.present() {
                return Ok(());
            }
        }
        signature::token(token, request, keys).then_some(()).ok_or_else(|| wrong("token mismatch"))
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let event = request
            .text("x-gitlab-event")
            .filter(|event| self.takes(event))
            .ok_or(Refusal::event(400, EVENT))?;
        let push: Push = json::first(request.body).map_err(|error| unreadable(error.0))?;
        let unwanted = !matches!(push.event_name.0.as_deref(), Some("push" | "tag_push"));
        let deleted = push.after.0.as_deref().is_some_and(all_zeros);
        if event == "System Hook" && unwanted || deleted && self.ignore_deletes {
            return Ok(Outcome::Nothing(Answer::OK));
        }
        let (url, reference) = (push.project.git_ssh_url, push.reference);
        if url.is_empty() || reference.is_empty() {
            return Err(unreadable("no project.git_ssh_url or ref"));
        }
        json::name(&url).and(json::name(&reference)).map_err(|error| unreadable(error.0))?;
        let repo = Repo {
            full_name: push.project.path_with_namespace.0.unwrap_or_default(),
            urls: std::iter::once(url.clone()).chain(push.project.git_http_url.0).collect(),
        };
        let mut event = Event::git(event, repo, &reference).told(url, strip(&reference));
        event.deleted = deleted;
        event.before = push.before.0;
        event.after = push.after.0;
        (event.changed_files, event.files_truncated) = push.commits.files(push.total.0, u64::MAX);
        Ok(Outcome::Events(vec![event]))
    }

    fn answers(&self) -> Answers {
        Answers::git("Error forwarding hook")
    }

    fn id_headers(&self) -> &'static [&'static str] {
        &["idempotency-key", "webhook-id", "x-gitlab-webhook-uuid"]
    }
}

/// The commit id that stands for "none".
fn all_zeros(commit: &str) -> bool {
    !commit.is_empty() && commit.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    const PUSH: &str = r#"{"ref":"refs/heads/main","project":{"git_ssh_url":"git@h:t/a.git"}}"#;
    const TOKEN: &str = "correct-horse-battery-staple-01";

    fn told_by(event: &str, body: &str) -> Result<Vec<String>, (u16, String)> {
        told(&GitLab::new(&Options::default()), &[("x-gitlab-event", event)], body)
    }

    #[test]
    fn the_token_is_the_key() {
        let source = GitLab::new(&Options::default());
        let wrong = Err((401, "The Gitlab token does not match".into()));
        assert_eq!(verified(&source, &[("x-gitlab-token", TOKEN)], PUSH), Ok(()));
        assert_eq!(verified(&source, &[], PUSH), wrong);
        for token in ["", "correct-horse-battery-staple-0", "correct-horse-battery-staple-02"] {
            assert_eq!(verified(&source, &[("x-gitlab-token", token)], PUSH), wrong);
        }
        let twice = [("x-gitlab-token", TOKEN), ("x-gitlab-token", "x")];
        assert_eq!(verified(&source, &twice, PUSH), wrong);
    }

    #[test]
    fn a_signing_token_must_match_as_well() {
        use crate::model::Key;
        let secret = b"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_vec();
        let good = standard_webhooks::sign(&secret, "1", 0, PUSH.as_bytes()).unwrap();
        let signing = Some(Keys(vec![Key::new(secret, None)]));
        let source = GitLab::new(&Options { signing, ..Options::default() });
        let check = |signature: &str, token: Option<&str>| {
            let mut headers = vec![
                ("webhook-id", "1"),
                ("webhook-timestamp", "0"),
                ("webhook-signature", signature),
            ];
            headers.extend(token.map(|token| ("x-gitlab-token", token)));
            verified(&source, &headers, PUSH).is_ok()
        };
        assert!(check(&good, None) && check(&good, Some(TOKEN)));
        assert!(!check(&good, Some("wrong")) && !check("v1,AAAA", Some(TOKEN)));
        assert!(verified(&source, &[("x-gitlab-token", TOKEN)], PUSH).is_err());
    }

    #[test]
    fn a_push_is_told() {
        let trailing = format!("{PUSH}}}");
        assert_eq!(told_by("Push Hook", PUSH), Ok(vec![git("git@h:t/a.git", "main")]));
        assert_eq!(told_by("Push Hook", &trailing), Ok(vec![git("git@h:t/a.git", "main")]));
    }

    #[rstest::rstest]
    #[case("Tag Push Hook", PUSH, EVENT)]
    #[case("push hook", PUSH, EVENT)]
    #[case("System Hook", PUSH, EVENT)]
    #[case("Push Hook", "", PAYLOAD)]
    #[case("Push Hook", "null", PAYLOAD)]
    #[case("Push Hook", "{}", PAYLOAD)]
    #[case("Push Hook", r#"{"ref":1}"#, PAYLOAD)]
    #[case("Push Hook", r#"{"ref":"a","project":[]}"#, PAYLOAD)]
    fn the_rest_is_refused(#[case] event: &str, #[case] body: &str, #[case] text: &str) {
        assert_eq!(told_by(event, body), Err((400, text.into())));
    }

    #[test]
    fn tags_and_system_hooks_are_there_for_who_wants_them() {
        let events = vec!["tag push hook".into(), "System Hook".into()];
        let source = GitLab::new(&Options { events, ..Options::default() });
        let tag = PUSH.replace("refs/heads/main", "refs/tags/v1");
        let by = |event, body: &str| told(&source, &[("x-gitlab-event", event)], body);
        assert_eq!(by("Tag Push Hook", &tag), Ok(vec![git("git@h:t/a.git", "refs/tags/v1")]));
        assert_eq!(by("System Hook", PUSH), Err((200, "OK".into())));
        let named = PUSH.replace("{\"ref", "{\"event_name\":\"push\",\"ref");
        assert_eq!(by("System Hook", &named), Ok(vec![git("git@h:t/a.git", "main")]));
    }
}
