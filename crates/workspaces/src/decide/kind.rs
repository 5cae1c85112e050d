//! Rules for WorkspaceKinds as objects, whoever writes them. Field paths are those of the object.

use cluster::Key;
use web::{Cause, Origin};

use crate::model::{KIND_PROTECTION, WorkspaceKind};

/// How many of the workspaces that stand in the way are named.
const NAMED: usize = 20;

/// Why a kind cannot be deleted: workspaces use it, or did until a moment ago.
pub fn delete(kind: &WorkspaceKind, users: &[Key]) -> Vec<Cause> {
    let cause = |message: String| Cause {
        origin: Origin::Kubernetes,
        reason: String::new(),
        field: String::new(),
        message,
    };
    if !users.is_empty() {
        let count = format!("WorkspaceKind is used by {} workspace(s)", users.len());
        let named = users.iter().take(NAMED).map(|user| format!("used by workspace {user}"));
        return std::iter::once(count).chain(named).map(cause).collect();
    }
    let finalizers = kind.metadata.finalizers.as_deref().unwrap_or_default();
    if finalizers.iter().any(|finalizer| finalizer == KIND_PROTECTION) {
        return vec![cause("WorkspaceKind has protection finalizer set".to_owned())];
    }
    Vec::new()
}
