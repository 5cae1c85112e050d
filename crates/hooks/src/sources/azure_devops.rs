//! Azure DevOps: cannot sign, so its endpoint asks for a password or a header.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    Answers, Options, Outcome, Source,
    extra::{self, IGNORED, unreadable},
    strip,
};
use crate::{
    decide::json::{self, Loose, Unreadable, fields},
    model::{Event, Inbound, Refusal, Repo},
};

/// See the module.
#[derive(Debug)]
pub(super) struct AzureDevOps {
    host: Option<String>,
}

impl AzureDevOps {
    pub(super) fn new(options: &Options) -> Self {
        Self { host: options.azure_host.clone() }
    }
}

fields! {
    struct Payload {
        event: String = "eventType",
        resource: Resource = "resource",
        id: Loose = "id",
        subscription: Loose = "subscriptionId",
        notification: Value = "notificationId",
    }
}
fields! { struct Resource { updates: Vec<Update> = "refUpdates", repository: Repository = "repository" } }
fields! { struct Update { name: String = "name", old: Loose = "oldObjectId", new: Loose = "newObjectId" } }
fields! { struct Repository { url: String = "remoteUrl", name: Loose = "name" } }

/// `https://[user@]dev.azure.com/org/project/_git/repo` as its ssh form, at another host if there is
/// one.
fn ssh_url(https: &str, other: Option<&str>) -> Option<(String, String)> {
    let rest = https.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit('@').next()?;
    let (place, repo) = path.split_once("/_git/")?;
    let (org, project) = place.split_once('/')?;
    let host = other.map_or_else(|| format!("ssh.{host}"), str::to_owned);
    let url = format!("git@{host}:v3/{org}/{project}/{repo}");
    Some((url, format!("{org}/{project}/{repo}")))
}

impl Source for AzureDevOps {
    fn name(&self) -> &'static str {
        "AzureDevOps"
    }

    fn needs_auth(&self) -> bool {
        true
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload = json::first(request.body).map_err(unreadable)?;
        if payload.event != "git.push" {
            return Ok(Outcome::Nothing(IGNORED));
        }
        let Resource { updates, repository } = payload.resource;
        if repository.url.is_empty() {
            return Err(unreadable(Unreadable("no resource.repository.remoteUrl")));
        }
        json::name(&repository.url).map_err(unreadable)?;
        let (ssh, full_name) = ssh_url(&repository.url, self.host.as_deref())
            .unwrap_or_else(|| (repository.url.clone(), repository.name.0.unwrap_or_default()));
        let repeated = 2 * ssh.len() + repository.url.len() + full_name.len();
        json::events(updates.len(), repeated).map_err(unreadable)?;
        let mut events = Vec::new();
        for update in updates {
            json::name(&update.name).map_err(unreadable)?;
            let repo = Repo {
                full_name: full_name.clone(),
                urls: vec![ssh.clone(), repository.url.clone()],
            };
            let mut event =
                Event::git("git.push", repo, &update.name).told(&*ssh, strip(&update.name));
            let zeros = |hash: &str| !hash.is_empty() && hash.bytes().all(|byte| byte == b'0');
            event.deleted = update.new.0.as_deref().is_some_and(zeros);
            event.before = update.old.0;
            event.after = update.new.0;
            events.push(event);
        }
        Ok(Outcome::Events(events))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        let Payload { id, subscription, notification, .. } = json::first(request.body).ok()?;
        let number = match notification {
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) => Some(text),
            _ => None,
        };
        let pair = subscription.0.zip(number);
        pair.map(|(subscription, number)| format!("{subscription} {number}"))
            .or(id.0)
            .map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn plain() -> AzureDevOps {
        AzureDevOps::new(&Options::default())
    }

    #[test]
    fn the_host_of_ssh_urls_may_be_another() {
        let options =
            Options { azure_host: Some("vs-ssh.example.com".into()), ..Options::default() };
        let body = r#"{"eventType":"git.push","resource":{"refUpdates":[{"name":"refs/heads/main"}],
            "repository":{"remoteUrl":"https://dev.azure.com/org/proj/_git/repo"}}}"#;
        let url = "git@vs-ssh.example.com:v3/org/proj/repo";
        assert_eq!(told(&AzureDevOps::new(&options), &[], body), Ok(vec![git(url, "main")]));
    }

    #[rstest::rstest]
    #[case(r#"{"subscriptionId":"s","notificationId":7,"id":"i"}"#, Some("s 7"))]
    #[case(r#"{"subscriptionId":"s","notificationId":"7"}"#, Some("s 7"))]
    #[case(r#"{"subscriptionId":"s","id":"i"}"#, Some("i"))]
    #[case(r#"{"notificationId":7,"id":"i"}"#, Some("i"))]
    #[case("{}", None)]
    #[case("", None)]
    fn a_notification_has_an_id(#[case] body: &str, #[case] id: Option<&str>) {
        let headers = headers(&[]);
        let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
        assert_eq!(plain().delivery_id(&request).as_deref(), id);
    }

    #[test]
    fn every_ref_is_told_with_the_ssh_url() {
        let by = |body: &str| told(&plain(), &[], body);
        let body = r#"{"eventType":"git.push","resource":{"refUpdates":[{"name":"refs/heads/main"},
            {"name":"refs/tags/v1","newObjectId":"0000000000000000000000000000000000000000"}],
            "repository":{"remoteUrl":"https://me@dev.azure.com/org/proj/_git/repo"}}}"#;
        let url = "git@ssh.dev.azure.com:v3/org/proj/repo";
        assert_eq!(by(body), Ok(vec![git(url, "main"), git(url, "refs/tags/v1")]));
        assert_eq!(by(r#"{"eventType":"build.complete"}"#), Err((200, "ignored".into())));
        let broken = Err((400, "cannot decode payload".into()));
        assert_eq!(by(r#"{"eventType":"git.push"}"#), broken);
        assert_eq!(by(""), broken);
    }
}
