//! What a path means.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::kinds::{Registry, Resource};

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// `/api`, `/apis` and what is below without a resource; `/version`, `/healthz`, ….
    Discovery(Vec<String>),
    /// All objects of a resource, in one namespace or (empty) everywhere.
    Collection { resource: Arc<Resource>, namespace: String },
    /// One object, or a subresource of it (empty for the object itself).
    Object { resource: Arc<Resource>, namespace: String, name: String, sub: String },
    /// A path below a group version that is served, with a resource that is not.
    NoResource,
    /// Any other path.
    Nothing,
}

pub(crate) fn route(registry: &Registry, path: &str) -> Route {
    let decoded: Option<Vec<String>> = path
        .trim_start_matches('/')
        .trim_end_matches('/')
        .split('/')
        .map(|part| Some(percent_decode_str(part).decode_utf8().ok()?.into_owned()))
        .collect();
    let Some(decoded) = decoded else { return Route::Nothing };
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !group.is_empty() => (*group, *version, rest),
        _ => return Route::Discovery(decoded),
    };
    if rest.is_empty() {
        return Route::Discovery(decoded);
    }
    let find = |plural: &str| registry.find(group, version, plural).cloned();
    let (resource, namespace, rest) = match rest {
        // `namespaces/NAME` and its subresources are about the namespace itself.
        ["namespaces", namespace, plural, rest @ ..]
            if !group.is_empty()
                || !rest.is_empty()
                || !matches!(*plural, "status" | "finalize") =>
        {
            (find(plural).filter(|resource| resource.namespaced), *namespace, rest)
        }
        [plural, rest @ ..] => (find(plural), "", rest),
        [] => return Route::Nothing,
    };
    // Groups of custom resources are served by a part of its own, which knows no other paths.
    let missing = if registry.is_built_in(group) { Route::NoResource } else { Route::Nothing };
    let Some(resource) = resource else { return missing };
    match rest {
        [] => Route::Collection { resource, namespace: namespace.into() },
        // An object in a namespace has no path without it.
        _ if resource.namespaced && namespace.is_empty() => missing,
        [name] => object(resource, namespace, name, ""),
        [name, sub] => object(resource, namespace, name, sub),
        _ => Route::NoResource,
    }
}

fn object(resource: Arc<Resource>, namespace: &str, name: &str, sub: &str) -> Route {
    Route::Object { resource, namespace: namespace.into(), name: name.into(), sub: sub.into() }
}
