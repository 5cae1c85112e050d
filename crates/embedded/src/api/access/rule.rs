//! One rule of a role: what it allows.

use serde::{Deserialize, Deserializer, Serialize};

use super::Attributes;
use crate::schema::quote;

/// A `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(deserialize_with = "texts")]
    pub(crate) verbs: Vec<String>,
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) api_groups: Vec<String>,
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_names: Vec<String>,
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) non_resource_urls: Vec<String>,
}

/// A list that may be null.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether a list has a text, or the star for all.
fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    /// Whether the rule allows what is asked.
    pub(crate) fn allows(&self, asked: &Attributes) -> bool {
        if !has(&self.verbs, &asked.verb) {
            return false;
        }
        match &asked.path {
            Some(path) => self.names_path(path),
            None => {
                has(&self.api_groups, &asked.group)
                    && self.names_resource(asked)
                    && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
            }
        }
    }

    fn names_resource(&self, asked: &Attributes) -> bool {
        let full = asked.full_resource();
        self.resources.iter().any(|one| {
            one == "*"
                || *one == full
                || (!asked.subresource.is_empty()
                    && one.strip_prefix("*/") == Some(&asked.subresource))
        })
    }

    fn names_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|one| {
            one == "*"
                || one == path
                || (one.ends_with('*') && path.starts_with(one.trim_end_matches('*')))
        })
    }

    /// The rule as error messages show it.
    pub(crate) fn shown(&self) -> String {
        let list =
            |list: &[String]| list.iter().map(|one| quote(one)).collect::<Vec<_>>().join(" ");
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts = parts.iter().filter(|(_, values)| !values.is_empty());
        let shown: Vec<String> =
            parts.map(|(name, values)| format!("{name}:[{}]", list(values))).collect();
        format!("{{{}}}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    #[rstest]
    #[case::exact("get", "", "pods", "", true)]
    #[case::verb("list", "", "pods", "", false)]
    #[case::group("get", "apps", "pods", "", false)]
    #[case::subresource("get", "", "pods", "log", false)]
    #[case::any_of_subresource("get", "", "services", "scale", true)]
    #[case::not_the_resource("get", "", "services", "", false)]
    fn resources(
        #[case] verb: &str,
        #[case] group: &str,
        #[case] resource: &str,
        #[case] subresource: &str,
        #[case] allowed: bool,
    ) {
        let rule = rule(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"], "resourceNames": null}),
        );
        let asked = Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            ..Attributes::default()
        };
        assert_eq!(rule.allows(&asked), allowed);
    }

    #[test]
    fn a_rule_for_names_allows_no_lists() {
        let rule = rule(
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["a"]}),
        );
        let asked = |name: &str| Attributes {
            verb: "get".into(),
            resource: "pods".into(),
            name: name.into(),
            ..Attributes::default()
        };
        assert!(rule.allows(&asked("a")));
        assert!(!rule.allows(&asked("b")));
        assert!(!rule.allows(&asked("")));
    }

    #[rstest]
    #[case("/healthz", true)]
    #[case("/healthz/etcd", false)]
    #[case("/apis/x", true)]
    #[case("/apis", false)]
    fn paths(#[case] path: &str, #[case] allowed: bool) {
        let rule = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}));
        let asked =
            Attributes { verb: "get".into(), path: Some(path.into()), ..Attributes::default() };
        assert_eq!(rule.allows(&asked), allowed);
    }

    #[test]
    fn rules_are_shown_without_what_is_empty() {
        let rule = rule(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["a"]}));
        assert_eq!(rule.shown(), r#"{APIGroups:[""], Resources:["a"], Verbs:["get" "list"]}"#);
    }
}
