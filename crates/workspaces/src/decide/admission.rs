//! The rules of acceptance as an admission webhook asks for them, for writes that do not come through
//! a dialect: the same functions, put together for one write of one object.

use cluster::Key;
use kube::ResourceExt;
use web::Cause;

use super::{
    filter::{self, Labels},
    kind::{self, Usage},
    names, workspace,
};
use crate::model::{Workspace, WorkspaceKind};

/// The workspaces of a kind, as far as its rules want to know them.
#[derive(Debug, Clone, Default)]
pub struct Users {
    /// How many use each option.
    pub usage: Usage,
    /// Which they are.
    pub keys: Vec<Key>,
}

/// What else there is, asked for only where it matters.
pub trait There {
    /// The kind of that name.
    fn kind(&self, name: &str) -> Option<WorkspaceKind>;
    /// The labels of a namespace.
    fn labels(&self, namespace: &str) -> Labels;
    /// The workspaces of a kind.
    fn users(&self, kind: &str) -> Users;
}

/// Why a workspace may not be made.
pub fn create_workspace(new: &Workspace, there: &impl There) -> Vec<Cause> {
    let mut causes = names::check_workspace_name("metadata.name", &new.name_any());
    let kind = there.kind(&new.spec.kind);
    causes.extend(workspace::create(&new.spec, kind.as_ref()));
    if let Some(kind) = kind.filter(|_| causes.is_empty()) {
        let namespace = there.labels(&new.namespace().unwrap_or_default());
        causes = filter::denied(&new.spec, &kind, &namespace);
    }
    causes
}

/// Why a workspace may not change like that. One that is being deleted may: somebody cleans up.
pub fn update_workspace(old: &Workspace, new: &Workspace, there: &impl There) -> Vec<Cause> {
    if new.spec == old.spec || new.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let kind = there.kind(&new.spec.kind);
    let causes = workspace::update(&old.spec, &new.spec, kind.as_ref());
    let Some(kind) = kind.filter(|_| causes.is_empty()) else { return causes };
    let namespace = there.labels(&new.namespace().unwrap_or_default());
    filter::denied_change(&old.spec, &new.spec, &kind, &namespace)
}

/// Why a kind may not change like that. One that is being deleted may: somebody cleans up.
pub fn update_kind(old: &WorkspaceKind, new: &WorkspaceKind, there: &impl There) -> Vec<Cause> {
    if new.spec == old.spec || new.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let name = new.name_any();
    kind::update(old, new, || there.users(&name).usage)
}

/// Why a kind may not be deleted.
pub fn delete_kind(kind: &WorkspaceKind, there: &impl There) -> Vec<Cause> {
    kind::delete(kind, &there.users(&kind.name_any()).keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures;

    /// One kind, and some workspaces.
    struct One(Option<WorkspaceKind>, Vec<Workspace>);

    impl There for One {
        fn kind(&self, name: &str) -> Option<WorkspaceKind> {
            self.0.clone().filter(|kind| kind.name_any() == name)
        }

        fn labels(&self, _: &str) -> Labels {
            Labels::new()
        }

        fn users(&self, kind: &str) -> Users {
            let users = self.1.iter().filter(|workspace| workspace.spec.kind == kind);
            let keys = users.map(|workspace| Key::of(&workspace.metadata)).collect();
            Users { usage: Usage::of(kind, &self.1), keys }
        }
    }

    fn messages(causes: &[Cause]) -> Vec<&str> {
        causes.iter().map(|cause| cause.message.as_str()).collect()
    }

    #[test]
    fn a_new_workspace_needs_a_name_and_a_kind() {
        let there = One(Some(fixtures::kind()), Vec::new());
        assert_eq!(create_workspace(&fixtures::workspace("lab"), &there), []);
        let causes = create_workspace(&fixtures::workspace("a.b"), &there);
        assert_eq!(causes[0].field, "metadata.name");
        let causes = create_workspace(&fixtures::workspace("lab"), &One(None, Vec::new()));
        assert_eq!(causes[0].field, "spec.kind");
    }

    #[test]
    fn what_is_denied_to_the_api_is_denied_to_everybody() {
        let mut kind = fixtures::kind();
        kind.spec.filter_rules = serde_json::from_value(serde_json::json!([{
            "scope": "WORKSPACE_KIND",
            "effect": {"api": {"deny": true, "denyMessage": {"text": "closed"}}},
            "match": [{"matchNamespace": {"selector": {}}}],
        }]))
        .unwrap();
        let causes = create_workspace(&fixtures::workspace("lab"), &One(Some(kind), Vec::new()));
        assert_eq!(
            messages(&causes),
            ["Forbidden: this workspace kind may not be used here: closed"]
        );
    }

    #[test]
    fn what_is_in_use_stays_and_what_goes_may_be_cleaned_up() {
        let there = One(Some(fixtures::kind()), vec![fixtures::workspace("lab")]);
        let mut new = fixtures::kind();
        new.spec.pod_template.options.image_config.values.retain(|value| value.id != "img-2");
        let causes = update_kind(&fixtures::kind(), &new, &there);
        assert!(causes.iter().any(|cause| cause.message.contains("used by 1 workspace(s)")));
        assert_eq!(delete_kind(&fixtures::kind(), &there).len(), 2);
        new.metadata.deletion_timestamp =
            Some(serde_json::from_value("2026-01-01T00:00:00Z".into()).unwrap());
        assert_eq!(update_kind(&fixtures::kind(), &new, &there), []);
        assert_eq!(delete_kind(&fixtures::kind(), &One(None, Vec::new())), []);
    }

    #[test]
    fn a_workspace_whose_kind_is_gone_can_be_paused() {
        let (old, nothing) = (fixtures::workspace("lab"), One(None, Vec::new()));
        let mut new = old.clone();
        new.spec.paused = !old.spec.paused;
        assert_eq!(update_workspace(&old, &new, &nothing), []);
        new.spec.pod_template.options.pod_config = "other".into();
        assert_eq!(update_workspace(&old, &new, &nothing).len(), 1);
    }
}
