//! What a request wants to do, in the terms of authorisation.

use http::{Method, request::Parts};
use percent_encoding::percent_decode_str;

use crate::{
    api::{query::Query, selector::FieldSelector, write::Target},
    schema::quote,
};

/// What is asked about: a verb on a resource, or on a path that is no resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Set, and nothing of a resource, for other paths.
    pub(crate) path: Option<String>,
}

impl Attributes {
    /// A verb on an object.
    pub(crate) fn on(verb: &str, target: &Target) -> Self {
        Self {
            verb: verb.into(),
            group: target.resource.group.clone(),
            resource: target.resource.plural.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            ..Self::default()
        }
    }

    /// What a request wants. The path is taken apart exactly as the routes take it apart.
    pub(crate) fn of(parts: &Parts) -> Self {
        let path = parts.uri.path();
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let pieces: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (group, rest) = match pieces.as_slice() {
            ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
            ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
            _ => {
                let verb = parts.method.as_str().to_lowercase();
                return Self { verb, path: Some(decode(path)), ..Self::default() };
            }
        };
        let mut attributes = Self { group: group.into(), ..Self::default() };
        attributes.read_resource(rest);
        attributes.read_verb(parts, rest);
        attributes
    }

    fn read_resource(&mut self, rest: &[&str]) {
        let rest = match rest {
            ["proxy" | "watch", rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let own = |sub: &str| self.group.is_empty() && matches!(sub, "status" | "finalize");
        let (namespace, rest) = match rest {
            ["namespaces", namespace, sub, ..] if !own(sub) => (*namespace, &rest[2..]),
            ["namespaces", namespace, ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let part = |at: usize| rest.get(at).map(|&part| part.to_owned()).unwrap_or_default();
        self.namespace = namespace.into();
        (self.resource, self.name, self.subresource) = (part(0), part(1), part(2));
    }

    fn read_verb(&mut self, parts: &Parts, rest: &[&str]) {
        let of_collection = self.name.is_empty();
        let verb = match parts.method {
            _ if rest.len() > 1 && matches!(rest[0], "proxy" | "watch") => rest[0],
            Method::POST => "create",
            Method::GET | Method::HEAD if of_collection => {
                let query = Query::parse(parts.uri.query());
                // A list of the one object of a name may be allowed by that name.
                if let Ok(selector) = FieldSelector::parse(query.text("fieldSelector"))
                    && let Some(name) = selector.exact("metadata.name")
                    && !matches!(name, "." | "..")
                    && !name.contains(['/', '%'])
                {
                    self.name = name.to_owned();
                }
                if query.flag("watch").unwrap_or(false) { "watch" } else { "list" }
            }
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if of_collection => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        };
        self.verb = verb.into();
    }

    /// What is not allowed, in the words of a refusal.
    pub(crate) fn shown(&self) -> String {
        let verb = &self.verb;
        if let Some(path) = &self.path {
            return format!("{verb} path {}", quote(path));
        }
        let (resource, group) = (quote(&self.full_resource()), quote(&self.group));
        let place = match self.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {}", quote(namespace)),
        };
        format!("{verb} resource {resource} in API group {group} {place}")
    }

    /// `resource` or `resource/subresource`.
    pub(crate) fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("GET", "/api/v1/namespaces/n/pods", "list  pods  n ")]
    #[case("GET", "/api/v1/namespaces/n/pods?watch=1", "watch  pods  n ")]
    #[case("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da", "list  pods   a")]
    #[case("GET", "/api/v1/pods?fieldSelector=metadata.name!=a", "list  pods   ")]
    #[case("GET", "/api/v1/namespaces/n/pods/a/log", "get  pods log n a")]
    #[case("GET", "/api/v1/namespaces/n", "get  namespaces  n n")]
    #[case("PUT", "/api/v1/namespaces/n/status", "update  namespaces status n n")]
    #[case(
        "DELETE",
        "/apis/apps/v1/namespaces/n/statefulsets",
        "deletecollection apps statefulsets  n "
    )]
    #[case(
        "PATCH",
        "/apis/apps/v1/namespaces/n/statefulsets/a/status",
        "patch apps statefulsets status n a"
    )]
    #[case("GET", "/api/v1/watch/namespaces/n/pods", "watch  pods  n ")]
    #[case(
        "POST",
        "/api/v1/namespaces/n/serviceaccounts/a/token",
        "create  serviceaccounts token n a"
    )]
    #[case("TRACE", "/api/v1/nodes", "  nodes   ")]
    fn resources(#[case] method: &str, #[case] uri: &str, #[case] expected: &str) {
        let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
        let found = Attributes::of(&request.into_parts().0);
        let Attributes { verb, group, resource, subresource, namespace, name, path } = found;
        assert_eq!(format!("{verb} {group} {resource} {subresource} {namespace} {name}"), expected);
        assert_eq!(path, None);
    }

    #[rstest]
    #[case("/")]
    #[case("/api/v1")]
    #[case("/apis/apps/v1/")]
    #[case("/a/b/c/d")]
    fn other_paths(#[case] uri: &str) {
        let request = http::Request::builder().uri(uri).body(()).unwrap();
        let found = Attributes::of(&request.into_parts().0);
        assert_eq!((found.verb.as_str(), found.path.as_deref()), ("get", Some(uri)));
    }
}
