//! A workspace as lists of 2025-07 show it, and as that generation shows a single one.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    details::ListedVolumes,
    option::OldChosen,
    workspace::Metadata,
    workspace_list::{KindInfo, Service, option_status, options, services},
};
use crate::model::{Activity, ProbeReport, ProbeResult, Workspace, WorkspaceKind, WorkspaceState};

/// An item of a list of workspaces.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OldWorkspaceListItem")]
pub(crate) struct OldListItem<'a> {
    name: &'a str,
    namespace: &'a str,
    workspace_kind: KindInfo<'a>,
    /// Means nothing any more.
    defer_updates: bool,
    paused: bool,
    paused_time: i64,
    pending_restart: bool,
    state: WorkspaceState,
    state_message: &'a str,
    pod_template: PodTemplate<'a>,
    activity: ActivityInfo<'a>,
    services: Vec<Service<'a>>,
}

impl<'a> OldListItem<'a> {
    pub(crate) fn new(workspace: &'a Workspace, kind: Option<&'a WorkspaceKind>) -> Self {
        let metadata = &workspace.metadata;
        let spec = &workspace.spec;
        let status = workspace.status.as_ref();
        Self {
            name: metadata.name.as_deref().unwrap_or_default(),
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            workspace_kind: KindInfo::old(&spec.kind, kind),
            defer_updates: false,
            paused: spec.paused,
            paused_time: status.map_or(0, |status| status.pause_time),
            pending_restart: status.is_some_and(|status| status.pending_restart),
            state: status.map_or(WorkspaceState::Unknown, |status| status.state),
            state_message: status.map_or("", |status| &status.state_message),
            pod_template: PodTemplate::new(workspace, kind),
            activity: status.map(|status| &status.activity).into(),
            services: services(workspace, kind),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OldTemplate")]
struct PodTemplate<'a> {
    pod_metadata: Metadata,
    volumes: ListedVolumes<'a>,
    options: Options<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OldChosenOptions")]
struct Options<'a> {
    image_config: OldChosen<'a>,
    pod_config: OldChosen<'a>,
}

impl<'a> PodTemplate<'a> {
    fn new(workspace: &'a Workspace, kind: Option<&'a WorkspaceKind>) -> Self {
        let template = &workspace.spec.pod_template;
        let (images, pods) = options(kind);
        let (image_status, pod_status) = option_status(workspace);
        Self {
            pod_metadata: template.pod_metadata.as_ref().into(),
            volumes: ListedVolumes::new(workspace, kind),
            options: Options {
                image_config: images.chosen_old(&template.options.image_config, image_status),
                pod_config: pods.chosen_old(&template.options.pod_config, pod_status),
            },
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OldActivity")]
struct ActivityInfo<'a> {
    last_activity: i64,
    last_update: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_probe: Option<Probe<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OldProbe")]
struct Probe<'a> {
    start_time_ms: i64,
    end_time_ms: i64,
    result: ProbeResult,
    message: &'a str,
}

impl<'a> From<Option<&'a Activity>> for ActivityInfo<'a> {
    fn from(activity: Option<&'a Activity>) -> Self {
        let probe = activity.and_then(|activity| activity.last_probe.as_ref());
        Self {
            last_activity: activity.map_or(0, |activity| activity.last_activity),
            last_update: activity.map_or(0, |activity| activity.last_update),
            last_probe: probe.map(Probe::from),
        }
    }
}

impl<'a> From<&'a ProbeReport> for Probe<'a> {
    fn from(probe: &'a ProbeReport) -> Self {
        Self {
            start_time_ms: probe.start_time,
            end_time_ms: probe.end_time,
            result: probe.result,
            message: &probe.message,
        }
    }
}
