//! What the API says about itself.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Api,
    kinds::{Registry, Resource, api_version},
    openapi,
};

/// The version of Kubernetes whose behaviour is followed.
const VERSION: (&str, &str, &str) = ("1", "34", "v1.34.4");

/// The answer to a path that is not about a resource; `None` if there is no such path.
pub(crate) fn answer(api: &Api, registry: &Registry, path: &[String]) -> Option<Bytes> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let value = match path.as_slice() {
        ["version"] => version(),
        ["healthz" | "livez" | "readyz"] => return Some(Bytes::from_static(b"ok")),
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(registry).into_iter().filter_map(|name| group(registry, &name)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", "v1"] => resources(registry, "", "v1")?,
        ["apis", name] => {
            let mut group = group(registry, name)?;
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", name, version] => resources(registry, name, version)?,
        ["openapi", "v3", rest @ ..] => openapi::answer(api, registry, rest)?,
        [""] => {
            json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]})
        }
        _ => return None,
    };
    Some(value.to_string().into())
}

fn version() -> Value {
    let (major, minor, git) = VERSION;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": format!("{git}+quartermaster"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn groups(registry: &Registry) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for resource in registry.iter() {
        if !resource.group.is_empty() && !names.contains(&resource.group) {
            names.push(resource.group.clone());
        }
    }
    names
}

fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut versions: Vec<&str> = Vec::new();
    for resource in registry.iter().filter(|resource| resource.group == name) {
        if !versions.contains(&resource.version.as_str()) {
            versions.push(&resource.version);
        }
    }
    versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
    let shown =
        |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let preferred = versions.first().map(shown)?;
    let versions: Vec<Value> = versions.iter().map(shown).collect();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

/// `v2` before `v1` before `v1beta2` before `v1alpha1` before anything else.
pub(crate) fn priority(version: &str) -> (u8, u32, u32) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u32 = rest.get(..digits)?.parse().ok()?;
        let rest = rest.get(digits..)?;
        if rest.is_empty() {
            return Some((3, major, 0));
        }
        let beta = rest.strip_prefix("beta").map(|minor| (2, minor));
        let (stage, minor) = beta.or_else(|| rest.strip_prefix("alpha").map(|minor| (1, minor)))?;
        Some((stage, major, minor.parse().ok()?))
    };
    parse().unwrap_or((0, 0, 0))
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    let served = |resource: &&std::sync::Arc<Resource>| {
        resource.group == group && resource.version == version
    };
    for resource in registry.iter().filter(served) {
        let mut verbs = if resource.review {
            vec!["create"]
        } else {
            vec!["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
        };
        verbs.sort_unstable();
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": verbs,
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        list.push(entry);
        let mut sub = |name: &str, kind: &str, verbs: &[&str]| {
            list.push(json!({
                "name": format!("{}/{name}", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": verbs,
            }));
        };
        for (name, kind, verbs) in resource.subresources() {
            sub(name, kind, verbs);
        }
        if resource.has_status {
            sub("status", &resource.kind, &["get", "patch", "update"]);
        }
        if resource.is("serviceaccounts") {
            list.push(json!({
                "name": "serviceaccounts/token",
                "singularName": "",
                "namespaced": true,
                "group": "authentication.k8s.io",
                "version": "v1",
                "kind": "TokenRequest",
                "verbs": ["create"],
            }));
        }
    }
    // A subresource may be of a kind of another group.
    for entry in &mut list {
        let foreign = match entry["kind"].as_str() {
            Some("Scale") => "autoscaling",
            Some("Eviction") => "policy",
            _ => continue,
        };
        entry["group"] = foreign.into();
        entry["version"] = "v1".into();
    }
    if list.is_empty() {
        return None;
    }
    let group_version = api_version(group, version);
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": list,
    }))
}
