//! CloudEvents over HTTP, binary or structured, and the CDEvents vocabulary in them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{
    Answers, Options, Outcome, Source,
    extra::{self, IGNORED, unreadable},
};
use crate::{
    decide::{
        image,
        json::{self, Loose, Unreadable, fields},
    },
    model::{Event, Inbound, Refusal, Repo},
};

/// The CDEvents that mean that something is there to be fetched.
const CD_TYPES: [&str; 4] = [
    "dev.cdevents.artifact.published",
    "dev.cdevents.artifact.packaged",
    "dev.cdevents.change.merged",
    "dev.cdevents.repository.modified",
];

/// See the module.
#[derive(Debug)]
pub(super) struct CloudEvents {
    cd: bool,
    origins: Vec<String>,
}

impl CloudEvents {
    pub(super) fn generic(options: &Options) -> Self {
        Self { cd: false, origins: options.allowed_origins.clone() }
    }

    pub(super) fn cd_events(options: &Options) -> Self {
        Self { cd: true, ..Self::generic(options) }
    }
}

fields! { struct Structured { id: String = "id", source: String = "source", kind: String = "type", data: Cd = "data" } }
fields! { struct Cd { subject: Subject = "subject" } }
fields! { struct Subject { id: String = "id", content: Content = "content" } }
fields! {
    struct Content {
        repository: Repository = "repository",
        url: Loose = "url",
        owner: Loose = "owner",
        name: Loose = "name",
    }
}
fields! { struct Repository { id: Loose = "id", url: Loose = "url" } }

/// What identifies an event.
struct Attributes {
    id: String,
    source: String,
    kind: String,
}

fn attributes(request: &Inbound<'_>) -> Result<Attributes, Unreadable> {
    let header = |name: &str| request.text(name).unwrap_or_default().to_owned();
    let read = if request.header("ce-type").present() {
        if !request.text("ce-specversion").is_some_and(|version| version.starts_with("1.")) {
            return Err(Unreadable("ce-specversion is not 1.0"));
        }
        Attributes { id: header("ce-id"), source: header("ce-source"), kind: header("ce-type") }
    } else {
        let Structured { id, source, kind, .. } = json::first(request.body)?;
        Attributes { id, source, kind }
    };
    if read.id.is_empty() || read.source.is_empty() || read.kind.is_empty() {
        return Err(Unreadable("id, source or type is missing"));
    }
    json::name(&read.kind)?;
    Ok(read)
}

fn cd_subject(request: &Inbound<'_>) -> Result<Subject, Unreadable> {
    if request.header("ce-type").present() {
        return Ok(json::first::<Cd>(request.body)?.subject);
    }
    Ok(json::first::<Structured>(request.body)?.data.subject)
}

/// The repository of a change is in the content; that of an event about itself is the content.
fn repo(subject: Subject) -> Repo {
    let Content { repository, url, owner, name } = subject.content;
    let named = owner.0.zip(name.0).map(|(owner, name)| format!("{owner}/{name}"));
    Repo {
        full_name: repository.id.0.or(named).unwrap_or(subject.id),
        urls: repository.url.0.or(url.0).into_iter().collect(),
    }
}

/// The image that a package URL names: `pkg:oci/name@sha256:…?repository_url=host/path&tag=v`.
fn purl_image(purl: &str) -> Option<crate::model::Image> {
    let rest = purl.strip_prefix("pkg:oci/").or_else(|| purl.strip_prefix("pkg:docker/"))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, digest) = match path.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (path, None),
    };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
    let value = |key: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key)
    };
    let repository = value("repository_url").and_then(|(_, url)| decoded(url));
    let name = decoded(name)?;
    let reference = match repository {
        Some(url) if url.rsplit('/').next() == Some(&*name) => url,
        Some(url) => format!("{}/{name}", url.trim_end_matches('/')),
        None => name,
    };
    let mut image = image::split(&reference).ok()?;
    image.digest = digest.and_then(decoded);
    image.tags.extend(value("tag").and_then(|(_, tag)| decoded(tag)));
    Some(image)
}

impl Source for CloudEvents {
    fn name(&self) -> &'static str {
        if self.cd { "CDEvents" } else { "CloudEvents" }
    }

    fn needs_auth(&self) -> bool {
        true
    }

    fn allows(&self, origin: &str) -> Option<bool> {
        Some(self.origins.iter().any(|allowed| allowed == origin || allowed == "*"))
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let Attributes { kind, .. } = attributes(request).map_err(unreadable)?;
        if !self.cd {
            return Ok(Outcome::Events(vec![Event::raw(kind, request.body)]));
        }
        let lower = kind.to_ascii_lowercase();
        let Some(known) = CD_TYPES.iter().find(|known| {
            // A version may follow.
            lower.strip_prefix(**known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }) else {
            return Ok(Outcome::Nothing(IGNORED));
        };
        let subject = cd_subject(request).map_err(unreadable)?;
        json::name(&subject.id).map_err(unreadable)?;
        if known.contains(".artifact.") {
            let image = purl_image(&subject.id)
                .ok_or_else(|| unreadable(Unreadable("subject.id names no image")))?;
            return Ok(Outcome::Events(vec![Event::image(kind, image)]));
        }
        let repo = repo(subject);
        let mut event = Event::raw(kind, request.body);
        event.kind = crate::model::EventKind::GitPush;
        event.repo = Some(repo);
        Ok(Outcome::Events(vec![event]))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        let Attributes { id, source, .. } = attributes(request).ok()?;
        Some(Cow::Owned(format!("{source} {id}")))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    const BINARY: [(&str, &str); 4] = [
        ("ce-id", "1"),
        ("ce-source", "/ci"),
        ("ce-specversion", "1.0"),
        ("ce-type", "dev.cdevents.artifact.published.0.2.0"),
    ];
    const BODY: &str = r#"{"subject":{"id":"pkg:oci/app@sha256%3Aab?repository_url=reg.example.com/team/app&tag=1"}}"#;

    fn cd_events() -> CloudEvents {
        CloudEvents::cd_events(&Options::default())
    }

    #[test]
    fn origins_are_allowed_by_name() {
        let origins = |allowed: &[&str]| {
            let allowed_origins = allowed.iter().map(|&origin| origin.to_owned()).collect();
            CloudEvents::generic(&Options { allowed_origins, ..Options::default() })
        };
        assert_eq!(origins(&[]).allows("a.example"), Some(false));
        assert_eq!(origins(&["a.example"]).allows("a.example"), Some(true));
        assert_eq!(origins(&["a.example"]).allows("b.example"), Some(false));
        assert_eq!(origins(&["*"]).allows("b.example"), Some(true));
    }

    #[test]
    fn artifacts_are_told_in_both_forms() {
        let by = |headers: &[(&str, &str)], body: &str| told(&cd_events(), headers, body);
        let expected = Ok(vec![image("reg.example.com", "team/app")]);
        assert_eq!(by(&BINARY, BODY), expected);
        let structured = format!(
            r#"{{"id":"1","source":"/ci","specversion":"1.0","type":"dev.cdevents.artifact.PACKAGED","data":{BODY}}}"#
        );
        assert_eq!(by(&[], &structured), expected);
        let other = structured.replace("artifact.PACKAGED", "build.started");
        assert_eq!(by(&[], &other), Err((200, "ignored".into())));
        let broken = Err((400, "cannot decode payload".into()));
        assert_eq!(by(&BINARY, r#"{"subject":{"id":"no purl"}}"#), broken);
        assert_eq!(by(&BINARY[..3], "{}"), broken);
        assert_eq!(by(&[BINARY[0], BINARY[1], BINARY[3]], BODY), broken);
    }

    #[test]
    fn repositories_are_known_by_their_url() {
        let by = |kind: &str, content: &str| {
            let headers = headers(&[BINARY[0], BINARY[1], BINARY[2], ("ce-type", kind)]);
            let body = format!(r#"{{"subject":{{"id":"s","content":{content}}}}}"#);
            let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
            let Ok(Outcome::Events(events)) = cd_events().parse(&request) else { panic!("{body}") };
            events[0].repo.clone().unwrap()
        };
        let repo = |name: &str| Repo { full_name: name.into(), urls: vec!["https://h/t/a".into()] };
        let modified = "dev.cdevents.repository.modified.0.2.0";
        assert_eq!(by(modified, r#"{"url":"https://h/t/a"}"#), repo("s"));
        let named = r#"{"name":"a","owner":"t","url":"https://h/t/a"}"#;
        assert_eq!(by(modified, named), repo("t/a"));
        let merged = r#"{"repository":{"id":"t/a","url":"https://h/t/a"}}"#;
        assert_eq!(by("dev.cdevents.change.merged.0.2.0", merged), repo("t/a"));
    }

    #[test]
    fn any_event_is_kept_in_its_own_words() {
        let headers = headers(&BINARY);
        let request = Inbound { headers: &headers, body: BODY.as_bytes(), now: 0 };
        let source = CloudEvents::generic(&Options::default());
        let Ok(Outcome::Events(events)) = source.parse(&request) else { panic!() };
        assert_eq!(events[0].event, BINARY[3].1);
        assert!(events[0].raw.is_some());
        assert_eq!(source.delivery_id(&request).as_deref(), Some("/ci 1"));
    }
}
