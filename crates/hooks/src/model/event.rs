//! What every sender's words become (contract §3.7).

use serde::{Deserialize, Serialize};

use crate::decide::json;

/// What happened, in one vocabulary for all senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// A branch moved.
    #[serde(rename = "git.push")]
    GitPush,
    /// A tag was made, moved or deleted.
    #[serde(rename = "git.tag")]
    GitTag,
    /// An image was pushed.
    #[serde(rename = "image.push")]
    ImagePush,
    /// An image was deleted.
    #[serde(rename = "image.delete")]
    ImageDelete,
    /// A chart was pushed.
    #[serde(rename = "chart.push")]
    ChartPush,
    /// An object was written.
    #[serde(rename = "object.created")]
    ObjectCreated,
    /// An object was removed.
    #[serde(rename = "object.removed")]
    ObjectRemoved,
    /// An alert fired or was resolved.
    #[serde(rename = "alert")]
    Alert,
    /// The sender tries the connection.
    #[serde(rename = "ping")]
    Ping,
    /// Anything else.
    #[serde(rename = "generic")]
    Generic,
}

/// A git repository, by all its names that the sender told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repo {
    /// `owner/name`.
    pub full_name: String,
    /// Clone URLs, ssh first.
    pub urls: Vec<String>,
}

/// The name of an image repository, split as Flux splits it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageName {
    /// The registry host; empty when the reference names none.
    #[serde(rename = "Domain")]
    pub domain: String,
    /// The path within the registry.
    #[serde(rename = "Image")]
    pub image: String,
}

/// An image in a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The registry host; may be empty.
    pub domain: String,
    /// The path within the registry.
    pub name: String,
    /// The tags that moved.
    pub tags: Vec<String>,
    /// The digest, if told.
    pub digest: Option<String>,
    /// The media type, if told.
    pub media_type: Option<String>,
}

/// An object in a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// The size in bytes, if told.
    pub size: Option<u64>,
    /// The ETag, if told.
    pub e_tag: Option<String>,
    /// The version, if told.
    pub version_id: Option<String>,
    /// The sender's name of the event.
    pub event_name: String,
    /// Orders events of one key, if told.
    pub sequencer: Option<String>,
}

/// What a Flux v1 daemon is told: part of the flux-recv contract, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "Kind", content = "Source")]
pub enum Notice {
    /// A git branch changed.
    #[serde(rename = "git")]
    Git {
        /// The URL that the daemon compares with its own.
        #[serde(rename = "URL")]
        url: String,
        /// The branch; tags keep whatever form their sender gives them.
        #[serde(rename = "Branch")]
        branch: String,
    },
    /// An image repository changed.
    #[serde(rename = "image")]
    Image {
        /// Which.
        #[serde(rename = "Name")]
        name: ImageName,
    },
}

/// One thing that happened. What is missing is left out of the journal; documents for services
/// have it as null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The sender's own name of the event.
    pub event: String,
    /// When it happened, as the sender says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Whether the thing is gone now.
    #[serde(default)]
    pub deleted: bool,
    /// The git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<Repo>,
    /// The full git ref.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The short branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The short tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The commit before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The commit after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The files that changed, as far as the sender says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_files: Vec<String>,
    /// Whether there may be more of them.
    #[serde(default)]
    pub files_truncated: bool,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
    /// The alert, as the sender describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<serde_json::Value>,
    /// The sender's own words, for kinds that have no others; left out when they are long or deep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<serde_json::Value>,
    /// What a Flux v1 daemon is told about it; nothing when it has no words for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// The trace that the request belongs to, for services that are told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Event {
    /// An event without any detail.
    pub fn new(kind: EventKind, event: impl Into<String>) -> Self {
        Self {
            kind,
            event: event.into(),
            occurred_at: None,
            deleted: false,
            repo: None,
            reference: None,
            branch: None,
            tag: None,
            before: None,
            after: None,
            changed_files: Vec::new(),
            files_truncated: false,
            image: None,
            object: None,
            alert: None,
            raw: None,
            notice: None,
            traceparent: None,
        }
    }

    /// A push to the git ref `reference`, a full ref or, with senders that strip it, a branch.
    pub fn git(event: impl Into<String>, repo: Repo, reference: &str) -> Self {
        let tag = reference.strip_prefix("refs/tags/");
        let kind = if tag.is_some() { EventKind::GitTag } else { EventKind::GitPush };
        let branch = reference
            .strip_prefix("refs/heads/")
            .or((!reference.starts_with("refs/")).then_some(reference));
        Self {
            repo: Some(repo),
            branch: branch.map(str::to_owned),
            tag: tag.map(str::to_owned),
            reference: Some(reference.to_owned()),
            ..Self::new(kind, event)
        }
    }

    /// A push of an image.
    pub fn image(event: impl Into<String>, image: Image) -> Self {
        let name = ImageName { domain: image.domain.clone(), image: image.name.clone() };
        Self {
            image: Some(image),
            notice: Some(Notice::Image { name }),
            ..Self::new(EventKind::ImagePush, event)
        }
    }

    /// Something that only its sender has words for.
    pub fn raw(event: impl Into<String>, body: &[u8]) -> Self {
        const LONG: usize = 64 * 1024;
        let raw = (body.len() <= LONG).then(|| serde_json::from_slice(body).ok()).flatten();
        Self { raw: raw.filter(json::keeps), ..Self::new(EventKind::Generic, event) }
    }

    /// Says what a Flux v1 daemon is told: this URL, this branch.
    #[must_use]
    pub fn told(mut self, url: impl Into<String>, branch: impl Into<String>) -> Self {
        self.notice = Some(Notice::Git { url: url.into(), branch: branch.into() });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_have_the_bytes_of_the_contract() {
        let git = Event::git("push", Repo::default(), "refs/heads/main")
            .told("git@code.example.com:team/app.git", "main");
        assert_eq!(
            serde_json::to_string(&git.notice).unwrap(),
            r#"{"Kind":"git","Source":{"URL":"git@code.example.com:team/app.git","Branch":"main"}}"#
        );
        let image =
            Image { domain: "reg.example.com".into(), name: "team/app".into(), ..Image::default() };
        assert_eq!(
            serde_json::to_string(&Event::image("push", image).notice).unwrap(),
            r#"{"Kind":"image","Source":{"Name":{"Domain":"reg.example.com","Image":"team/app"}}}"#
        );
    }

    #[test]
    fn refs_name_a_branch_a_tag_or_neither() {
        let of = |reference| {
            let event = Event::git("push", Repo::default(), reference);
            (event.kind, event.branch, event.tag)
        };
        assert_eq!(of("refs/heads/a/b"), (EventKind::GitPush, Some("a/b".into()), None));
        assert_eq!(of("refs/tags/v1"), (EventKind::GitTag, None, Some("v1".into())));
        assert_eq!(of("main"), (EventKind::GitPush, Some("main".into()), None));
        assert_eq!(of("refs/notes/x"), (EventKind::GitPush, None, None));
    }
}
