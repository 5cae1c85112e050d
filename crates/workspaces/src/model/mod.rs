//! The custom resources of `kubeflow.org/v1beta1` and the names that go with them.
//!
//! The Rust types read leniently (objects made under older definitions still parse); the schemas
//! that [`crds`] carries are as strict as the contract.

mod core;
mod kind;
mod options;
mod rules;
mod schema;
mod workspace;

use serde_json::Value;

pub use self::{core::Core, kind::*, options::*, rules::*, workspace::*};

/// API group of the custom resources.
pub const GROUP: &str = "kubeflow.org";
/// Their only version.
pub const VERSION: &str = "v1beta1";
/// Group and version as objects carry it.
pub const API_VERSION: &str = "kubeflow.org/v1beta1";

/// Labels on objects.
pub mod label {
    /// On everything that belongs to a workspace: the name of the workspace.
    pub const WORKSPACE_NAME: &str = "notebooks.kubeflow.org/workspace-name";
    /// On pods and in selectors: the name of the workspace.
    pub const STATEFUL_SET: &str = "statefulset";
    /// `true` on ConfigMaps that may serve as icon or logo.
    pub const IMAGE_SOURCE: &str = "notebooks.kubeflow.org/image-source";
    /// `true` on claims and Secrets that workspaces may mount.
    pub const CAN_MOUNT: &str = "notebooks.kubeflow.org/can-mount";
    /// `true` on claims and Secrets that users may change.
    pub const CAN_UPDATE: &str = "notebooks.kubeflow.org/can-update";
    /// `true` on storage classes that users may choose.
    pub const CAN_USE: &str = "notebooks.kubeflow.org/can-use";
}

/// Annotations on objects.
pub mod annotation {
    /// On a kind: when changes of it reach what runs, `Immediate` (or nothing) or `OnRestart`.
    pub const UPDATE_POLICY: &str = "quartermaster.io/update-policy";
    /// Who made the object.
    pub const CREATED_BY: &str = "notebooks.kubeflow.org/created-by";
    /// Who changed it last.
    pub const UPDATED_BY: &str = "notebooks.kubeflow.org/updated-by";
    /// When it was changed last (RFC 3339).
    pub const UPDATED_AT: &str = "notebooks.kubeflow.org/updated-at";
    /// On a workspace: when somebody asked last to keep it running (RFC 3339).
    pub const KEEP_ALIVE: &str = "quartermaster.io/keep-alive";
    /// On a workspace: what its image is pinned to, `IMAGE@sha256:…`.
    pub const IMAGE_DIGEST: &str = "quartermaster.io/image-digest";
    /// Human name of a storage class.
    pub const DISPLAY_NAME: &str = "notebooks.kubeflow.org/display-name";
    /// Human text of a storage class.
    pub const DESCRIPTION: &str = "notebooks.kubeflow.org/description";
}

/// Finalizer on a WorkspaceKind that workspaces use.
pub const KIND_PROTECTION: &str = "notebooks.kubeflow.org/workspacekind-protection";

/// Path under which the port of a workspace is reached, on any host: ends with a slash.
pub fn connect_path(namespace: &str, workspace: &str, port_id: &str) -> String {
    format!("/workspace/connect/{namespace}/{workspace}/{port_id}/")
}

/// The definitions of both resources, ready to install: the committed ones, which a test holds to
/// the types and writes anew when these have changed.
pub fn crds() -> impl Iterator<Item = Value> {
    // The same test reads them, so none is missing.
    [
        include_str!("../../definitions/workspaces.kubeflow.org.json"),
        include_str!("../../definitions/workspacekinds.kubeflow.org.json"),
    ]
    .into_iter()
    .map(|text| serde_json::from_str(text).unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
