//! A workspace as lists show it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Audit, ImageRef,
    details::ListedVolumes,
    option::{Chosen, Options},
    workspace::Metadata,
};
use crate::model::{
    Activity, ActivityRulesStatus, OptionStatus, ProbeReport, Workspace, WorkspaceKind,
    WorkspaceState, annotation, connect_path,
};

const UNKNOWN_ICON: &str = "__UNKNOWN_ICON_URL__";
const UNKNOWN_LOGO: &str = "__UNKNOWN_LOGO_URL__";
const UNKNOWN_IMAGE_CONFIG: &str = "__UNKNOWN_IMAGE_CONFIG__";
const UNKNOWN_POD_CONFIG: &str = "__UNKNOWN_POD_CONFIG__";

/// An item of a list of workspaces.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkspaceListItem<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    display_name: &'a str,
    workspace_kind: KindInfo<'a>,
    paused: bool,
    paused_time: i64,
    last_running_time: i64,
    state: WorkspaceState,
    state_message: &'a str,
    pending_restart: bool,
    pod_template: PodTemplate<'a>,
    activity: ActivityInfo<'a>,
    services: Vec<Service<'a>>,
    created_by: Option<&'a str>,
    audit: Audit<'a>,
}

impl<'a> WorkspaceListItem<'a> {
    /// Shows a workspace; `prefix` goes before paths of pictures. A full view has metadata and
    /// volumes of the pod too.
    pub(crate) fn new(
        workspace: &'a Workspace,
        kind: Option<&'a WorkspaceKind>,
        prefix: &str,
        full: bool,
    ) -> Self {
        let metadata = &workspace.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let spec = &workspace.spec;
        let status = workspace.status.as_ref();
        let annotations = metadata.annotations.as_ref();
        let created_by = annotations.and_then(|all| all.get(annotation::CREATED_BY));
        Self {
            name,
            namespace,
            uid: metadata.uid.as_deref().unwrap_or_default(),
            display_name: spec.display_name.as_deref().unwrap_or_default(),
            workspace_kind: KindInfo::new(&spec.kind, kind, prefix),
            paused: spec.paused,
            paused_time: status.map_or(0, |status| status.pause_time),
            last_running_time: status.map_or(0, |status| status.last_running_time),
            state: status.map_or(WorkspaceState::Unknown, |status| status.state),
            state_message: status.map_or("", |status| &status.state_message),
            pending_restart: status.is_some_and(|status| status.pending_restart),
            pod_template: PodTemplate::new(workspace, kind, full),
            activity: status.map(|status| &status.activity).into(),
            services: services(workspace, kind),
            created_by: created_by.map(String::as_str),
            audit: metadata.into(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct KindInfo<'a> {
    name: &'a str,
    missing: bool,
    icon: ImageRef<'a>,
    logo: ImageRef<'a>,
}

impl<'a> KindInfo<'a> {
    fn new(name: &'a str, kind: Option<&'a WorkspaceKind>, prefix: &str) -> Self {
        let Some(kind) = kind else { return Self::missing(name) };
        let spawner = &kind.spec.spawner;
        let status = kind.status.as_ref();
        let icon_status = status.map(|status| &status.spawner_icon);
        let logo_status = status.map(|status| &status.spawner_logo);
        Self {
            name,
            missing: false,
            icon: ImageRef::of(prefix, name, "icon", &spawner.icon, icon_status),
            logo: ImageRef::of(prefix, name, "logo", &spawner.logo, logo_status),
        }
    }

    /// As 2025-07 shows it.
    pub(super) fn old(name: &'a str, kind: Option<&'a WorkspaceKind>) -> Self {
        if kind.is_none() {
            return Self::missing(name);
        }
        let icon = ImageRef::of_old(name, "icon");
        Self { name, missing: false, icon, logo: ImageRef::of_old(name, "logo") }
    }

    fn missing(name: &'a str) -> Self {
        let icon = ImageRef::at(UNKNOWN_ICON);
        Self { name, missing: true, icon, logo: ImageRef::at(UNKNOWN_LOGO) }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ListedTemplate")]
struct PodTemplate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<ListedVolumes<'a>>,
    options: ChosenOptions<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ListedOptions")]
struct ChosenOptions<'a> {
    image_config: Chosen<'a>,
    pod_config: Chosen<'a>,
}

impl<'a> PodTemplate<'a> {
    fn new(workspace: &'a Workspace, kind: Option<&'a WorkspaceKind>, full: bool) -> Self {
        let template = &workspace.spec.pod_template;
        let (images, pods) = options(kind);
        let (image_status, pod_status) = option_status(workspace);
        Self {
            pod_metadata: full.then(|| template.pod_metadata.as_ref().into()),
            volumes: full.then(|| ListedVolumes::new(workspace, kind)),
            options: ChosenOptions {
                image_config: images.chosen(&template.options.image_config, image_status),
                pod_config: pods.chosen(&template.options.pod_config, pod_status),
            },
        }
    }
}

/// The images and the pod options of a kind.
pub(super) fn options(kind: Option<&WorkspaceKind>) -> (Options<'_>, Options<'_>) {
    let options = kind.map(|kind| &kind.spec.pod_template.options);
    let images = options.map(|options| &options.image_config.values[..]);
    let pods = options.map(|options| &options.pod_config.values[..]);
    (Options::new(images, UNKNOWN_IMAGE_CONFIG), Options::new(pods, UNKNOWN_POD_CONFIG))
}

/// Where the chosen image and the chosen pod option lead.
pub(super) fn option_status(
    workspace: &Workspace,
) -> (Option<&OptionStatus>, Option<&OptionStatus>) {
    let status = workspace.status.as_ref().map(|status| &status.pod_template_options);
    (status.map(|status| &status.image_config), status.map(|status| &status.pod_config))
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ActivityInfo<'a> {
    last_activity: i64,
    last_update: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_probe: Option<&'a ProbeReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<&'a ActivityRulesStatus>,
}

impl<'a> From<Option<&'a Activity>> for ActivityInfo<'a> {
    fn from(activity: Option<&'a Activity>) -> Self {
        let rules = activity.and_then(|activity| activity.rules.as_ref());
        Self {
            last_activity: activity.map_or(0, |activity| activity.last_activity),
            last_update: activity.map_or(0, |activity| activity.last_update),
            last_probe: activity.and_then(|activity| activity.last_probe.as_ref()),
            rules: rules.filter(|rules| rules.pause_workspace.is_some()),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service<'a> {
    http_service: HttpService<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct HttpService<'a> {
    display_name: &'a str,
    http_path: String,
}

/// One per port of the chosen image; a port that the kind does not declare leads nowhere and is
/// left out.
pub(super) fn services<'a>(
    workspace: &'a Workspace,
    kind: Option<&'a WorkspaceKind>,
) -> Vec<Service<'a>> {
    let Some(kind) = kind else { return Vec::new() };
    let namespace = workspace.metadata.namespace.as_deref().unwrap_or_default();
    let name = workspace.metadata.name.as_deref().unwrap_or_default();
    let chosen = &workspace.spec.pod_template.options.image_config;
    let template = &kind.spec.pod_template;
    let image = template.options.image_config.values.iter().find(|value| value.id == *chosen);
    let ports = image.map_or(&[][..], |image| &image.spec.ports);
    let service = |port: &'a crate::model::ImagePort| {
        let declared = template.ports.iter().find(|declared| declared.id == port.id)?;
        let own = port.display_name.as_deref().filter(|name| !name.is_empty());
        let http_service = HttpService {
            display_name: own.unwrap_or(&declared.default_display_name),
            http_path: connect_path(namespace, name, &port.id),
        };
        Some(Service { http_service })
    };
    ports.iter().filter_map(service).collect()
}
