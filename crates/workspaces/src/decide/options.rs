//! Which option a workspace runs with, and where its redirects lead.

use std::collections::HashMap;

use web::Cause;

use super::names;
use crate::model::{
    ImageConfigValue, ImagePort, OptionRedirect, OptionStatus, PodConfigValue, RedirectStep,
    WorkspaceKind, WorkspaceOptions,
};

/// A value of an option list.
pub trait OptionValue {
    /// What messages call the list.
    const LIST: &'static str;

    /// Its id.
    fn id(&self) -> &str;

    /// Which value replaces it.
    fn redirect(&self) -> Option<&OptionRedirect>;
}

impl OptionValue for ImageConfigValue {
    const LIST: &'static str = "imageConfig";

    fn id(&self) -> &str {
        &self.id
    }

    fn redirect(&self) -> Option<&OptionRedirect> {
        self.redirect.as_ref()
    }
}

impl OptionValue for PodConfigValue {
    const LIST: &'static str = "podConfig";

    fn id(&self) -> &str {
        &self.id
    }

    fn redirect(&self) -> Option<&OptionRedirect> {
        self.redirect.as_ref()
    }
}

/// An option of a list, resolved.
#[derive(Debug, PartialEq)]
pub struct Resolved<'a, V> {
    /// The chosen value: what the pod runs with.
    pub current: &'a V,
    /// Where its redirects lead: what the user is asked to choose.
    pub status: OptionStatus,
}

/// Why an option cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The chosen id is not in the list.
    #[error("{list} with id {id:?} not found in workspace kind {kind:?}")]
    Unknown {
        /// Name of the list.
        list: &'static str,
        /// The id.
        id: String,
        /// Name of the kind.
        kind: String,
    },
    /// A redirect leads to an id that is not in the list.
    #[error("{list} with id {source_id:?} redirects to unknown id {target:?}")]
    UnknownTarget {
        /// Name of the list.
        list: &'static str,
        /// The id that redirects.
        source_id: String,
        /// Where it redirects to.
        target: String,
    },
    /// The redirects go round in a circle.
    #[error("{list} redirects go round in a circle: {}", ids.join(" -> "))]
    Cycle {
        /// Name of the list.
        list: &'static str,
        /// The ids on the way, the first one again at the end.
        ids: Vec<String>,
    },
}

/// Follows the redirects of the chosen id.
pub fn resolve<'a, V: OptionValue>(
    kind: &str,
    values: &'a [V],
    chosen: &str,
) -> Result<Resolved<'a, V>, ResolveError> {
    let find = |id: &str| values.iter().find(|value| value.id() == id);
    let current = find(chosen).ok_or_else(|| ResolveError::Unknown {
        list: V::LIST,
        id: chosen.to_owned(),
        kind: kind.to_owned(),
    })?;
    let mut chain: Vec<RedirectStep> = Vec::new();
    let mut here = current;
    while let Some(redirect) = here.redirect() {
        let (source, target) = (here.id().to_owned(), redirect.to.clone());
        here = find(&target).ok_or_else(|| ResolveError::UnknownTarget {
            list: V::LIST,
            source_id: source.clone(),
            target: target.clone(),
        })?;
        chain.push(RedirectStep { source, target });
        if let Some(first) = chain.iter().position(|step| step.source == here.id()) {
            let mut ids: Vec<_> = chain[first..].iter().map(|step| step.source.clone()).collect();
            ids.push(here.id().to_owned());
            return Err(ResolveError::Cycle { list: V::LIST, ids });
        }
    }
    let status = OptionStatus { desired: Some(here.id().to_owned()), redirect_chain: chain };
    Ok(Resolved { current, status })
}

/// Why somebody cannot have chosen this id from a list; no id is no choice.
pub fn unknown<V: OptionValue>(
    field: &str,
    kind: &str,
    values: &[V],
    id: Option<&str>,
) -> Option<Cause> {
    let id = id.filter(|id| !values.iter().any(|value| value.id() == *id))?;
    let unknown = ResolveError::Unknown { list: V::LIST, id: id.to_owned(), kind: kind.to_owned() };
    Some(names::invalid(field, id, &unknown.to_string()))
}

/// Both options of a workspace, resolved.
#[derive(Debug, PartialEq)]
pub struct ResolvedOptions<'a> {
    /// The image.
    pub image: Resolved<'a, ImageConfigValue>,
    /// The pod option.
    pub pod: Resolved<'a, PodConfigValue>,
}

/// Resolves both options; an error carries what the state message begins with.
pub fn resolve_both<'a>(
    kind_name: &str,
    kind: &'a WorkspaceKind,
    chosen: &WorkspaceOptions,
) -> Result<ResolvedOptions<'a>, String> {
    let options = &kind.spec.pod_template.options;
    let image = resolve(kind_name, &options.image_config.values, &chosen.image_config)
        .map_err(|error| format!("Workspace has invalid imageConfig: {error}"))?;
    let pod = resolve(kind_name, &options.pod_config.values, &chosen.pod_config)
        .map_err(|error| format!("Workspace has invalid podConfig: {error}"))?;
    Ok(ResolvedOptions { image, pod })
}

impl ResolvedOptions<'_> {
    /// Whether one of the options has a redirect, which a user may take with a restart.
    pub fn pending_restart(&self) -> bool {
        !self.image.status.redirect_chain.is_empty() || !self.pod.status.redirect_chain.is_empty()
    }

    /// The port of the image with this id.
    pub fn port(&self, id: &str) -> Option<&ImagePort> {
        self.image.current.spec.ports.iter().find(|port| port.id == id)
    }
}

/// The first circle among the redirects of a list: its ids, the first one again at the end.
pub(super) fn find_cycle<V: OptionValue>(values: &[V]) -> Option<Vec<String>> {
    let next: HashMap<&str, &str> =
        values.iter().filter_map(|v| Some((v.id(), v.redirect()?.to.as_str()))).collect();
    let mut settled: HashMap<&str, usize> = HashMap::new();
    for (number, value) in values.iter().enumerate() {
        let mut path: Vec<&str> = Vec::new();
        let mut here = value.id();
        loop {
            match settled.insert(here, number) {
                Some(walk) if walk == number => {
                    let first = path.iter().position(|id| *id == here).unwrap_or(0);
                    let mut ids: Vec<_> = path[first..].iter().map(|id| (*id).to_owned()).collect();
                    ids.push(here.to_owned());
                    return Some(ids);
                }
                Some(walk) => {
                    settled.insert(here, walk);
                    break;
                }
                None => {}
            }
            path.push(here);
            match next.get(here) {
                Some(target) => here = target,
                None => break,
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Value(String, Option<OptionRedirect>);

    impl OptionValue for Value {
        const LIST: &'static str = "imageConfig";

        fn id(&self) -> &str {
            &self.0
        }

        fn redirect(&self) -> Option<&OptionRedirect> {
            self.1.as_ref()
        }
    }

    fn values(list: &[(&str, &str)]) -> Vec<Value> {
        list.iter()
            .map(|(id, to)| {
                let redirect = OptionRedirect { to: (*to).to_owned(), message: None };
                Value((*id).to_owned(), (!to.is_empty()).then_some(redirect))
            })
            .collect()
    }

    #[test]
    fn without_a_redirect_the_choice_is_what_is_desired() {
        let values = values(&[("a", ""), ("b", "")]);
        let resolved = resolve("k", &values, "b").unwrap();
        assert_eq!(resolved.current.0, "b");
        assert_eq!(
            resolved.status,
            OptionStatus { desired: Some("b".into()), redirect_chain: Vec::new() }
        );
    }

    #[test]
    fn each_hop_is_listed() {
        let values = values(&[("a", "b"), ("b", "c"), ("c", "")]);
        let resolved = resolve("k", &values, "a").unwrap();
        assert_eq!(resolved.current.0, "a");
        assert_eq!(resolved.status.desired.as_deref(), Some("c"));
        let hops: Vec<_> =
            resolved.status.redirect_chain.iter().map(|s| (&*s.source, &*s.target)).collect();
        assert_eq!(hops, [("a", "b"), ("b", "c")]);
    }

    #[test]
    fn broken_lists_are_errors() {
        let list = values(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "x"), ("e", "e")]);
        let text = |id| resolve("k", &list, id).unwrap_err().to_string();
        assert_eq!(text("z"), r#"imageConfig with id "z" not found in workspace kind "k""#);
        assert_eq!(text("d"), r#"imageConfig with id "d" redirects to unknown id "x""#);
        assert_eq!(text("a"), "imageConfig redirects go round in a circle: b -> c -> b");
        assert_eq!(text("e"), "imageConfig redirects go round in a circle: e -> e");
        assert_eq!(find_cycle(&list).unwrap(), ["b", "c", "b"]);
    }

    proptest! {
        #[test]
        fn resolving_ends_and_agrees_with_the_cycle_check(
            targets in proptest::collection::vec(0_usize..12, 1..10)
        ) {
            let n = targets.len();
            let ids: Vec<_> = (0..n).map(|id| id.to_string()).collect();
            let list: Vec<_> = targets
                .iter()
                .enumerate()
                .map(|(id, to)| {
                    let redirect = OptionRedirect { to: to.to_string(), message: None };
                    Value(ids[id].clone(), (*to < n).then_some(redirect))
                })
                .collect();
            let cycles = ids.iter().any(|id| {
                matches!(resolve("k", &list, id), Err(ResolveError::Cycle { .. }))
            });
            prop_assert_eq!(cycles, find_cycle(&list).is_some());
        }
    }
}
