//! The objects that a workspace is made of, as JSON: what the kind says is copied through.

mod pod;
mod route;

use cluster::apply::Wanted;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Service, ServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::core::ApiResource;
use serde_json::{Map, Value, json};

pub(super) use self::pod::CONNECT_TOKEN_KEY;
use crate::{
    decide::{naming, options::ResolvedOptions},
    model::{API_VERSION, Workspace, WorkspaceKind, annotation, label},
};

/// A changed template replaces the pod.
const ROLLING: &str = "RollingUpdate";
/// A changed template waits until somebody deletes the pod.
pub(super) const ON_DELETE: &str = "OnDelete";

/// What is ours in a ServiceAccount beside the labels: nothing.
pub(super) const SERVICE_ACCOUNT_FIELDS: &[&str] = &[];
/// What is ours in a Secret beside the labels: nothing that is compared.
pub(super) const SECRET_FIELDS: &[&str] = &[];
/// What is ours in a StatefulSet; its selector cannot change.
pub(super) const STATEFUL_SET_FIELDS: &[&str] =
    &["/spec/replicas", "/spec/template", "/spec/updateStrategy"];
/// What is ours in a Service.
pub(super) const SERVICE_FIELDS: &[&str] = &["/spec/type", "/spec/selector", "/spec/ports"];
/// What is ours in a RoleBinding; its role cannot change.
pub(super) const ROLE_BINDING_FIELDS: &[&str] = &["/subjects", "/roleRef"];

/// Makes the objects of one workspace.
pub(super) struct Objects<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) kind: &'a WorkspaceKind,
    pub(super) options: &'a ResolvedOptions<'a>,
    /// The image of the chosen option, pinned or not.
    pub(super) image: &'a str,
    /// Whether a change of the template must not end what runs now.
    pub(super) in_use: bool,
    /// Whether the pod gets the secret of the connect proxy.
    pub(super) connect_secret: bool,
}

impl Objects<'_> {
    fn name(&self) -> &str {
        self.workspace.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.workspace.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The two labels that lead from StatefulSet and Service to the pod.
    fn selector(&self) -> Value {
        json!({label::WORKSPACE_NAME: self.name(), label::STATEFUL_SET: self.name()})
    }

    /// Whether a change of the template waits for the next restart.
    pub(super) fn holds_updates(&self) -> bool {
        let policy = self.kind.metadata.annotations.as_ref();
        let policy = policy.and_then(|all| all.get(annotation::UPDATE_POLICY));
        self.in_use || policy.is_some_and(|policy| policy == "OnRestart")
    }

    fn metadata(&self, name: &str) -> Value {
        metadata(self.workspace, name)
    }

    pub(super) fn service_account(&self, name: &str) -> Wanted {
        let value = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.metadata(name),
        });
        Wanted::new(ApiResource::erase::<ServiceAccount>(&()), value, SERVICE_ACCOUNT_FIELDS)
    }

    pub(super) fn stateful_set(&self, name: &str) -> Result<Wanted, String> {
        let value = json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": self.metadata(name),
            "spec": {
                "replicas": i32::from(!self.workspace.spec.paused),
                "selector": {"matchLabels": self.selector()},
                "template": self.pod_template()?,
                "updateStrategy": {"type": if self.holds_updates() { ON_DELETE } else { ROLLING }},
            },
        });
        Ok(Wanted::new(ApiResource::erase::<StatefulSet>(&()), value, STATEFUL_SET_FIELDS))
    }

    pub(super) fn service(&self, name: &str) -> Wanted {
        let ports = self.options.image.current.spec.ports.iter();
        let ports: Vec<Value> = ports
            .map(|port| {
                json!({
                    "name": port_name(port.port), "port": port.port, "targetPort": port.port,
                    "protocol": "TCP",
                })
            })
            .collect();
        let value = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(name),
            "spec": {"type": "ClusterIP", "selector": self.selector(), "ports": ports},
        });
        Wanted::new(ApiResource::erase::<Service>(&()), value, SERVICE_FIELDS)
    }

    /// One binding for each ClusterRole that the kind asks for.
    pub(super) fn role_bindings(&self) -> Vec<Wanted> {
        let account = naming::service_account(self.name());
        let roles = self.kind.spec.pod_template.service_account.iter();
        roles
            .flat_map(|account| &account.cluster_roles)
            .map(|role| {
                let value = json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": self.metadata(&naming::role_binding(self.name(), &role.name)),
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": role.name,
                    },
                    "subjects": [{
                        "kind": "ServiceAccount", "name": account, "namespace": self.namespace(),
                    }],
                });
                Wanted::new(ApiResource::erase::<RoleBinding>(&()), value, ROLE_BINDING_FIELDS)
            })
            .collect()
    }
}

/// Name, label and owner of an object of a workspace.
pub(super) fn metadata(workspace: &Workspace, name: &str) -> Value {
    let meta = &workspace.metadata;
    json!({
        "name": name,
        "namespace": meta.namespace,
        "labels": {label::WORKSPACE_NAME: meta.name},
        "ownerReferences": [{
            "apiVersion": API_VERSION, "kind": "Workspace", "name": meta.name, "uid": meta.uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    })
}

fn port_name(number: i32) -> String {
    format!("http-{number}")
}

/// Adds a field if there is something to say.
fn put(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if !empty {
        object.insert(key.to_owned(), value);
    }
}
