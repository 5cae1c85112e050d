//! What headers ask for: `If-None-Match` spares an answer, `If-Match` guards a write, `Accept` makes
//! a stream of events of it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, header, request::Parts};

use super::error::Problem;

/// Whether the client has this version already. Weak tags are as good as strong ones here.
pub(crate) fn has_version(headers: &HeaderMap, tag: &str) -> bool {
    tags(headers, &header::IF_NONE_MATCH).any(|known| known == "*" || opaque(known) == opaque(tag))
}

/// Whether the client reads server-sent events.
pub(crate) fn accepts_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).into_iter();
    let mut texts = values.filter_map(|value| value.to_str().ok());
    texts.any(|text| text.to_ascii_lowercase().contains("text/event-stream"))
}

/// The versions that the caller insists on; none means any.
#[derive(Debug)]
pub(crate) struct IfMatch(Option<Vec<String>>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if !parts.headers.contains_key(header::IF_MATCH) {
            return Ok(Self(None));
        }
        Ok(Self(Some(tags(&parts.headers, &header::IF_MATCH).map(str::to_owned).collect())))
    }
}

impl IfMatch {
    /// No condition.
    pub(crate) fn any() -> Self {
        Self(None)
    }

    /// Whether the caller insists on anything.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Passes if the object has a revision that the caller accepts.
    pub(crate) fn check(&self, revision: &str) -> Result<(), Problem> {
        let accepts = |tag: &String| tag == "*" || tag.trim_matches('"') == revision;
        match &self.0 {
            Some(tags) if !tags.iter().any(accepts) => Err(Problem::outdated()),
            _ => Ok(()),
        }
    }
}

fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/")
}

fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::other(r#""b""#, false)]
    #[case::same(r#""a""#, true)]
    #[case::weak(r#"W/"a""#, true)]
    #[case::one_of_many(r#""b" , "a""#, true)]
    #[case::any("*", true)]
    #[case::nothing("", false)]
    fn known_versions(#[case] value: &'static str, #[case] known: bool) {
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
        assert_eq!(has_version(&headers, r#""a""#), known);
        assert_eq!(has_version(&headers, r#"W/"a""#), known);
    }

    #[rstest]
    #[case::none(None, true)]
    #[case::same(Some(&[r#""a""#][..]), true)]
    #[case::bare(Some(&["a"][..]), true)]
    #[case::weak(Some(&[r#"W/"a""#][..]), false)]
    #[case::other(Some(&[r#""b""#][..]), false)]
    #[case::any(Some(&["*"][..]), true)]
    #[case::unreadable(Some(&[][..]), false)]
    fn guarded_writes(#[case] tags: Option<&[&str]>, #[case] passes: bool) {
        let tags = tags.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(IfMatch(tags).check("a").is_ok(), passes);
    }
}
