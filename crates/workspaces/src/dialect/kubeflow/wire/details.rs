//! What the pod of a workspace is made of.

use schemars::JsonSchema;
use serde::Serialize;

use super::{culling::Culling, workspace::Metadata};
use crate::model::{ContainerName, PodTemplatePod, Workspace, WorkspaceKind, WorkspaceVolumes};

const UNKNOWN_HOME: &str = "__UNKNOWN_HOME_MOUNT_PATH__";

/// The details of a workspace.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Details<'a> {
    pod_metadata: Metadata,
    volumes: Volumes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Pod<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    culling: Option<Culling>,
}

impl<'a> Details<'a> {
    pub(crate) fn new(
        workspace: &'a Workspace,
        kind: Option<&'a WorkspaceKind>,
        culling: Option<Culling>,
    ) -> Self {
        let template = &workspace.spec.pod_template;
        let pod = workspace.status.as_ref().map(|status| &status.pod_template_pod);
        Self {
            pod_metadata: template.pod_metadata.as_ref().into(),
            volumes: Volumes::new(&template.volumes, kind),
            pod: pod.filter(|pod| !pod.name.is_empty()).map(Pod::from),
            culling,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MountDetails")]
struct Volumes<'a> {
    home: Option<Claim<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data: Vec<Claim<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Secret<'a>>,
}

/// The same as lists show it: nothing in the place of no home, and a list of no volumes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListedMounts")]
pub(crate) struct ListedVolumes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<Claim<'a>>,
    data: Vec<Claim<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Secret<'a>>,
}

impl<'a> ListedVolumes<'a> {
    pub(crate) fn new(workspace: &'a Workspace, kind: Option<&'a WorkspaceKind>) -> Self {
        let volumes = &workspace.spec.pod_template.volumes;
        let Volumes { home, data, secrets } = Volumes::new(volumes, kind);
        Self { home, data, secrets }
    }
}

impl<'a> Volumes<'a> {
    fn new(volumes: &'a WorkspaceVolumes, kind: Option<&'a WorkspaceKind>) -> Self {
        let home_path = kind.map(|kind| kind.spec.pod_template.volume_mounts.home.as_str());
        let home = volumes.home.as_deref().map(|pvc_name| Claim {
            pvc_name,
            mount_path: home_path.unwrap_or(UNKNOWN_HOME),
            read_only: false,
        });
        let data = volumes.data.iter().map(|volume| Claim {
            pvc_name: &volume.pvc_name,
            mount_path: &volume.mount_path,
            read_only: volume.read_only,
        });
        let secrets = volumes.secrets.iter().map(|volume| Secret {
            secret_name: &volume.secret_name,
            mount_path: &volume.mount_path,
            default_mode: volume.default_mode,
        });
        Self { home, data: data.collect(), secrets: secrets.collect() }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ClaimMountDetails")]
struct Claim<'a> {
    pvc_name: &'a str,
    mount_path: &'a str,
    read_only: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SecretMountDetails")]
struct Secret<'a> {
    secret_name: &'a str,
    mount_path: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    default_mode: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PodDetails")]
struct Pod<'a> {
    name: &'a str,
    node_name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    containers: &'a [ContainerName],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    init_containers: &'a [ContainerName],
}

impl<'a> From<&'a PodTemplatePod> for Pod<'a> {
    fn from(pod: &'a PodTemplatePod) -> Self {
        Self {
            name: &pod.name,
            node_name: &pod.node_name,
            containers: &pod.containers,
            init_containers: &pod.init_containers,
        }
    }
}
