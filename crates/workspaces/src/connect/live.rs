//! The [`Backend`] of a real cluster: watch caches for where, the API for the secret.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use cluster::{Access, access::Attributes};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client};
use moka::sync::Cache;
use secrecy::SecretString;
use web::{Error, Identity};

use super::{Backend, Closed, Found, HeaderRules, Outlook, Port, Target};
use crate::{
    Caches,
    decide::{naming, template::Template},
    model::{
        GROUP, ImageConfigValue, KindPort, RequestHeaders, VERSION, Workspace, WorkspaceKind,
        WorkspaceState, connect_path, label,
    },
};

/// Secrets that are remembered, and for how long.
const SECRETS: u64 = 10_000;
const SECRET_LIFETIME: Duration = Duration::from_secs(60);
/// Key of the connect secret in its Secret.
const SECRET_KEY: &str = "token";

/// Whether programs in workspaces want to see a secret of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// The controller makes one per workspace.
    Own,
    /// The network keeps others out.
    None,
}

/// Knows workspaces from the cluster.
pub struct Live {
    client: Client,
    caches: Caches,
    access: Access,
    secrets: Option<Cache<String, SecretString>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Live {
    /// Reads the given caches, which must be ready before requests come.
    pub fn new(client: Client, caches: Caches, access: Access, secrets: Secrets) -> Self {
        let remembered =
            || Cache::builder().max_capacity(SECRETS).time_to_live(SECRET_LIFETIME).build();
        let secrets = (secrets == Secrets::Own).then(remembered);
        Self { client, caches, access, secrets }
    }

    /// The pod that the controller found to be the workspace's, following ownership.
    fn pod(&self, namespace: &str, workspace: &str, object: &Workspace) -> Option<Arc<Pod>> {
        let name = &object.status.as_ref()?.pod_template_pod.name;
        let pod = self.caches.pods.get(Some(namespace), name)?;
        let of = pod.metadata.labels.as_ref()?.get(label::WORKSPACE_NAME)?;
        (of == workspace).then_some(pod)
    }

    fn port(&self, namespace: &str, workspace: &str, object: &Workspace, port: &str) -> Port {
        let Some(kind) = self.caches.kinds.get(None, &object.spec.kind) else {
            return closed(object);
        };
        let Some(image) = image(object, &kind) else { return closed(object) };
        let number = image.spec.ports.iter().find(|known| known.id == port);
        let known = kind.spec.pod_template.ports.iter().find(|known| known.id == port);
        let (Some(number), Some(known)) = (number, known) else { return Port::Unknown };
        if object.spec.paused || object.metadata.deletion_timestamp.is_some() {
            return closed(object);
        }
        let address = self.pod(namespace, workspace, object).as_deref().and_then(ready_address);
        let (Some(address), Ok(number)) = (address, u16::try_from(number.port)) else {
            return closed(object);
        };
        let prefix = |id: &str| {
            let known = image.spec.ports.iter().any(|port| port.id == id);
            if known { connect_path(namespace, workspace, id) } else { String::new() }
        };
        Port::Open(Target {
            address: (address, number).into(),
            remove_prefix: known.http_proxy.as_ref().is_some_and(|proxy| proxy.remove_path_prefix),
            headers: header_rules(known, prefix),
        })
    }
}

impl Backend for Live {
    fn find(&self, namespace: &str, workspace: &str, port: &str) -> Option<Found> {
        let object = self.caches.workspaces.get(Some(namespace), workspace)?;
        let uid = object.metadata.uid.clone()?;
        Some(Found { uid, port: self.port(namespace, workspace, &object, port) })
    }

    async fn authorise(
        &self,
        caller: &Identity,
        namespace: &str,
        workspace: &str,
    ) -> Result<(), Error> {
        let attributes = Attributes {
            verb: "update",
            group: GROUP,
            version: VERSION,
            resource: "workspaces",
            namespace: Some(namespace),
            name: Some(workspace),
        };
        self.access.check(caller, &attributes).await
    }

    async fn secret(
        &self,
        namespace: &str,
        workspace: &str,
        uid: &str,
    ) -> Result<Option<SecretString>, Error> {
        let Some(remembered) = &self.secrets else { return Ok(None) };
        if let Some(secret) = remembered.get(uid) {
            return Ok(Some(secret));
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let object = api
            .get_opt(&naming::connect_secret(workspace))
            .await
            .map_err(cluster::error::public)?;
        let Some(secret) = object.and_then(|object| token(object, uid)) else { return Ok(None) };
        remembered.insert(uid.to_owned(), secret.clone());
        Ok(Some(secret))
    }
}

/// The token of a Secret, if the Secret belongs to that workspace and not to a namesake.
pub(crate) fn token(object: Secret, uid: &str) -> Option<SecretString> {
    let owned = object.metadata.owner_references?.iter().any(|owner| owner.uid == uid);
    let bytes = object.data?.remove(SECRET_KEY)?.0;
    let text = String::from_utf8(bytes).ok()?;
    (owned && !text.is_empty()).then(|| text.into())
}

/// The image that the workspace runs.
fn image<'a>(object: &Workspace, kind: &'a WorkspaceKind) -> Option<&'a ImageConfigValue> {
    let id = &object.spec.pod_template.options.image_config;
    kind.spec.pod_template.options.image_config.values.iter().find(|value| value.id == *id)
}

/// The address of a pod that is ready and stays.
fn ready_address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let stays = pod.metadata.deletion_timestamp.is_none();
    if ready && stays { status.pod_ip.as_ref()?.parse().ok() } else { None }
}

/// Why nobody can connect now. The status may be older than what the caches show; where it
/// contradicts them, the text does not repeat it.
fn closed(object: &Workspace) -> Port {
    let status = object.status.as_ref();
    let state = status.map(|status| status.state).unwrap_or_default();
    let told = status.map(|status| status.state_message.clone()).unwrap_or_default();
    let (state, message, outlook) = if object.metadata.deletion_timestamp.is_some() {
        (WorkspaceState::Terminating, "Workspace is being deleted".to_owned(), Outlook::Broken)
    } else if object.spec.paused {
        match state {
            WorkspaceState::Paused => (state, told, Outlook::Paused),
            _ => (WorkspaceState::Terminating, "Workspace is stopping".to_owned(), Outlook::Paused),
        }
    } else {
        match state {
            WorkspaceState::Error => (state, told, Outlook::Broken),
            WorkspaceState::Pending => (state, told, Outlook::Coming),
            WorkspaceState::Terminating => (state, told, Outlook::Coming),
            WorkspaceState::Running | WorkspaceState::Paused | WorkspaceState::Unknown => {
                let message = "Workspace is starting".to_owned();
                (WorkspaceState::Pending, message, Outlook::Coming)
            }
        }
    };
    Port::Closed(Closed { state: state.to_string(), message, outlook })
}

/// The kind's wishes with their templates filled in. Templates were checked when the kind was
/// written; one that slipped by is left out.
fn header_rules(port: &KindPort, prefix: impl Fn(&str) -> String) -> HeaderRules {
    let wishes = port.http_proxy.as_ref().and_then(|proxy| proxy.request_headers.as_ref());
    let Some(RequestHeaders { set, add, remove }) = wishes else { return HeaderRules::default() };
    let fill = |(name, text): (&String, &String)| {
        let template = Template::parse(text).ok()?;
        Some((name.clone(), template.render(&prefix)))
    };
    HeaderRules {
        set: set.iter().filter_map(fill).collect(),
        add: add.iter().filter_map(fill).collect(),
        remove: remove.clone(),
    }
}
