//! Which events an endpoint or a target wants (contract §3.4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel::Expression;
use crate::model::Event;

/// Patterns for each part of an event; parts without patterns pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// The sender's name of the event, in any case.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub events: Patterns,
    /// `owner/name`, or a URL without scheme, user and `.git`.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub repos: Patterns,
    /// Short branches.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub branches: Patterns,
    /// Short tags.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub tags: Patterns,
    /// Full refs.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub refs: Patterns,
    /// `domain/name` of images.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub images: Patterns,
    /// Tags of images.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub image_tags: Patterns,
    /// Buckets.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub buckets: Patterns,
    /// Keys of objects.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub keys: Patterns,
    /// Files that changed; a push whose list of them was cut passes.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub paths: Patterns,
    /// An expression that must be true, in CEL: variables `req`, `headers`, `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cel: Option<Expression>,
    /// Whether deletions are dropped.
    pub ignore_deletes: bool,
}

/// Any of these, none of those with a leading `!`. `*` stops at a slash, `**` does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Patterns(pub Vec<String>);

impl Patterns {
    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is wanted that has these names: one that is chosen, none that is excluded.
    /// What has no name is not.
    pub fn pass<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let names: Vec<&str> = names.into_iter().collect();
        let any = |pattern: &str| names.iter().any(|name| matches(pattern, name));
        let (not, wanted): (Vec<&str>, Vec<&str>) =
            self.0.iter().map(String::as_str).partition(|pattern| pattern.starts_with('!'));
        let chosen =
            if wanted.is_empty() { !names.is_empty() } else { wanted.into_iter().any(any) };
        chosen && !not.into_iter().any(|pattern| any(&pattern[1..]))
    }

    /// Whether one of several things is wanted, whatever the others are; of none, none is.
    pub fn pass_any<'a>(&self, things: impl IntoIterator<Item = &'a str>) -> bool {
        self.0.is_empty() || things.into_iter().any(|thing| self.pass([thing]))
    }
}

impl Filter {
    /// Whether an event is wanted, as far as patterns say; the expression is for the caller to ask,
    /// because it may take long.
    pub fn passes(&self, event: &Event) -> bool {
        // Most endpoints have none, and they are asked for every request.
        if *self == Self::default() {
            return true;
        }
        let repos = event.repo.iter().flat_map(|repo| {
            std::iter::once(repo.full_name.clone())
                .chain(repo.urls.iter().map(|url| plain_url(url)))
        });
        let repos: Vec<String> = repos.collect();
        let image = event.image.as_ref();
        let image_name = image.map(|image| {
            if image.domain.is_empty() {
                image.name.clone()
            } else {
                format!("{}/{}", image.domain, image.name)
            }
        });
        let image_tags = image.into_iter().flat_map(|image| image.tags.iter().map(String::as_str));
        let object = event.object.as_ref();
        let name = event.event.to_lowercase();
        let events = Patterns(self.events.0.iter().map(|pattern| pattern.to_lowercase()).collect());
        !(self.ignore_deletes && event.deleted)
            && events.pass([&*name])
            && self.repos.pass(repos.iter().map(String::as_str))
            && self.branches.pass(event.branch.as_deref())
            && self.tags.pass(event.tag.as_deref())
            && self.refs.pass(event.reference.as_deref())
            && self.images.pass(image_name.as_deref())
            && self.image_tags.pass_any(image_tags)
            && self.buckets.pass(object.map(|object| &*object.bucket))
            && self.keys.pass(object.map(|object| &*object.key))
            && (event.files_truncated
                || self.paths.pass_any(event.changed_files.iter().map(String::as_str)))
    }
}

/// A repository's URL in the form in which equal repositories have equal ones: lower-case host,
/// no scheme, user, default port, outer slash or `.git`; `git@host:path` is `host/path`.
pub fn plain_url(url: &str) -> String {
    let (scheme, rest) =
        url.split_once("://").map_or((None, url), |(scheme, rest)| (Some(scheme), rest));
    let (authority, path) = match scheme {
        Some(_) => rest.split_once('/').unwrap_or((rest, "")),
        None => rest.split_once(':').unwrap_or_else(|| rest.split_once('/').unwrap_or((rest, ""))),
    };
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let port = match scheme {
        Some("https") => ":443",
        Some("http") => ":80",
        Some("ssh") => ":22",
        _ => "",
    };
    let host = if port.is_empty() { &*host } else { host.strip_suffix(port).unwrap_or(&host) };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let path = match scheme {
        Some("http" | "https") => path.strip_prefix("scm/").unwrap_or(path),
        _ => path,
    };
    format!("{host}/{path}")
}

/// Whether a whole text matches a glob.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // Which beginnings of the text the pattern so far can stand for; no backtracking, so no
    // pattern is slow.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let star = pattern[at] == '*';
        let double = star && pattern.get(at + 1) == Some(&'*');
        if star {
            for end in 1..reached.len() {
                reached[end] |= reached[end - 1] && (double || text[end - 1] != '/');
            }
        } else {
            for end in (1..reached.len()).rev() {
                let same =
                    pattern[at] == text[end - 1] || pattern[at] == '?' && text[end - 1] != '/';
                reached[end] = reached[end - 1] && same;
            }
            reached[0] = false;
        }
        at += if double { 2 } else { 1 };
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Image, Repo};

    #[rstest::rstest]
    #[case("main", "main", true)]
    #[case("main", "main2", false)]
    #[case("release/*", "release/1", true)]
    #[case("release/*", "release/1/2", false)]
    #[case("release/**", "release/1/2", true)]
    #[case("**", "", true)]
    #[case("*", "", true)]
    #[case("", "a", false)]
    #[case("v?.*", "v1.2", true)]
    #[case("a?b", "a/b", false)]
    #[case("*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false)]
    fn globs_match(#[case] pattern: &str, #[case] text: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern, text), expected);
    }

    #[rstest::rstest]
    #[case("git@Code.example.com:team/app.git")]
    #[case("ssh://git@code.example.com/team/app.git")]
    #[case("ssh://git@code.example.com:22/team/app")]
    #[case("https://me@code.example.com/team/app/")]
    #[case("https://code.example.com:443/scm/team/app.git")]
    fn equal_repositories_have_one_url(#[case] url: &str) {
        assert_eq!(plain_url(url), "code.example.com/team/app");
    }

    fn filter(json: &str) -> Filter {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn all_parts_must_pass() {
        let repo = Repo { full_name: "team/app".into(), urls: vec!["git@h:team/app.git".into()] };
        let event = Event::git("Push Hook", repo, "refs/heads/release/1");
        let passes = |json| filter(json).passes(&event);
        assert!(passes("{}"));
        assert!(passes(
            r#"{"events":["push hook"],"repos":["team/*"],"branches":["main","release/*"]}"#
        ));
        assert!(passes(r#"{"repos":["h/team/app"],"refs":["refs/heads/**"]}"#));
        assert!(!passes(r#"{"branches":["main"]}"#));
        assert!(!passes(r#"{"branches":["**","!release/*"]}"#));
        // All names of one repository: who excludes one of them excludes it.
        assert!(!passes(r#"{"repos":["**","!h/team/app"]}"#));
        assert!(passes(r#"{"branches":["!main"]}"#));
        assert!(!passes(r#"{"tags":["*"]}"#));
        assert!(!passes(r#"{"images":["**"]}"#));
        let gone = Event { deleted: true, ..event.clone() };
        assert!(!filter(r#"{"ignoreDeletes":true}"#).passes(&gone));
    }

    #[test]
    fn pushes_are_chosen_by_what_they_change() {
        let mut event = Event::git("push", Repo::default(), "refs/heads/main");
        event.changed_files = vec!["docs/a.md".into(), "src/b.rs".into()];
        let docs = filter(r#"{"paths":["docs/**"]}"#);
        assert!(docs.passes(&event));
        assert!(!filter(r#"{"paths":["*"]}"#).passes(&event));
        let outside = filter(r#"{"paths":["**","!docs/**"]}"#);
        assert!(outside.passes(&event));
        assert!(filter(r#"{"paths":["!docs/**"]}"#).passes(&event));
        event.changed_files.pop();
        assert!(!outside.passes(&event));
        assert!(!filter(r#"{"paths":["!docs/**"]}"#).passes(&event));
        event.changed_files.clear();
        assert!(!docs.passes(&event) && !outside.passes(&event));
        event.files_truncated = true;
        assert!(docs.passes(&event));
        assert!(serde_json::from_str::<Filter>(r#"{"cel":"event."}"#).is_err());
    }

    #[test]
    fn images_are_chosen_by_name_and_tag() {
        let image = Image {
            domain: "reg.example.com".into(),
            name: "team/app".into(),
            tags: vec!["1.2".into(), "latest".into()],
            ..Image::default()
        };
        let event = Event::image("push", image);
        assert!(
            filter(r#"{"images":["reg.example.com/team/*"],"imageTags":["1.*"]}"#).passes(&event)
        );
        assert!(!filter(r#"{"imageTags":["2.*"]}"#).passes(&event));
        assert!(filter(r#"{"imageTags":["*","!latest"]}"#).passes(&event));
        assert!(!filter(r#"{"imageTags":["*","!latest","!1.*"]}"#).passes(&event));
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[a*?/!]{0,20}", text in "[a/]{0,20}") {
            let _ = matches(&pattern, &text);
            let _ = plain_url(&pattern);
        }
    }
}
