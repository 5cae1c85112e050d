//! The pod template of a workspace.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::{Objects, port_name, put};
use crate::{
    decide::{names, naming, template::Template},
    model::{WorkspaceVolumes, connect_path, label},
};

/// Variable with the secret that the connect proxy shows.
const CONNECT_TOKEN: &str = "QUARTERMASTER_CONNECT_TOKEN";
/// Key of the connect Secret.
pub(crate) const CONNECT_TOKEN_KEY: &str = "token";

impl Objects<'_> {
    pub(super) fn pod_template(&self) -> Result<Value, String> {
        let template = &self.kind.spec.pod_template;
        let config = &self.options.pod.current.spec;
        let (volumes, mounts) = self.volumes();
        let mut spec = Map::new();
        put(&mut spec, "serviceAccountName", naming::service_account(self.name()));
        put(&mut spec, "containers", vec![self.container(mounts)?]);
        put(&mut spec, "volumes", volumes);
        put(&mut spec, "affinity", config.affinity.clone().map(|c| c.into_value()));
        put(&mut spec, "nodeSelector", json!(config.node_selector));
        put(&mut spec, "tolerations", json!(config.tolerations));
        put(
            &mut spec,
            "securityContext",
            template.security_context.clone().map(|c| c.into_value()),
        );
        Ok(json!({"metadata": self.pod_metadata()?, "spec": spec}))
    }

    /// What the kind says, then what the workspace says, then what selects the pod.
    fn pod_metadata(&self) -> Result<Value, String> {
        let (mut labels, mut annotations) = (BTreeMap::new(), BTreeMap::new());
        let kind = self.kind.spec.pod_template.pod_metadata.iter();
        for metadata in kind.chain(&self.workspace.spec.pod_template.pod_metadata) {
            labels.extend(metadata.labels.clone());
            annotations.extend(metadata.annotations.clone());
        }
        for key in [label::WORKSPACE_NAME, label::STATEFUL_SET] {
            labels.insert(key.to_owned(), self.name().to_owned());
        }
        if let Some(cause) = names::check_labels("labels", &labels).into_iter().next() {
            return Err(cause.message);
        }
        let mut metadata = Map::new();
        put(&mut metadata, "labels", json!(labels));
        put(&mut metadata, "annotations", json!(annotations));
        Ok(metadata.into())
    }

    fn container(&self, mounts: Vec<Value>) -> Result<Value, String> {
        let template = &self.kind.spec.pod_template;
        let image = &self.options.image.current.spec;
        let mut container = Map::new();
        put(&mut container, "name", "main");
        put(&mut container, "image", self.image);
        put(&mut container, "imagePullPolicy", image.image_pull_policy.as_str());
        put(&mut container, "env", self.env()?);
        put(&mut container, "ports", self.container_ports()?);
        put(&mut container, "volumeMounts", mounts);
        let resources = self.options.pod.current.spec.resources.clone();
        put(&mut container, "resources", resources.map(|r| r.into_value()));
        let security = template.container_security_context.clone();
        put(&mut container, "securityContext", security.map(|s| s.into_value()));
        let probes = template.probes.clone().unwrap_or_default();
        for (key, probe) in [
            ("startupProbe", probes.startup_probe),
            ("livenessProbe", probes.liveness_probe),
            ("readinessProbe", probes.readiness_probe),
        ] {
            put(&mut container, key, probe.map(|probe| probe.into_value()));
        }
        Ok(container.into())
    }

    fn container_ports(&self) -> Result<Vec<Value>, String> {
        let mut seen = HashSet::new();
        let ports = self.options.image.current.spec.ports.iter();
        ports
            .map(|port| {
                if !seen.insert(port.port) {
                    return Err(format!("duplicate port number {}", port.port));
                }
                Ok(json!({
                    "name": port_name(port.port), "containerPort": port.port, "protocol": "TCP",
                }))
            })
            .collect()
    }

    fn env(&self) -> Result<Vec<Value>, String> {
        let extra = &self.kind.spec.pod_template.extra_env;
        let mut env = Vec::new();
        // First, so that the others can refer to it as $(QUARTERMASTER_CONNECT_TOKEN).
        if self.connect_secret && !extra.iter().any(|e| e.text("name") == Some(CONNECT_TOKEN)) {
            env.push(json!({"name": CONNECT_TOKEN, "valueFrom": {"secretKeyRef": {
                "name": naming::connect_secret(self.name()), "key": CONNECT_TOKEN_KEY,
            }}}));
        }
        for variable in extra {
            let mut value = Value::clone(variable);
            if let Some(source) = variable.text("value").filter(|value| !value.is_empty()) {
                let name = variable.text("name").unwrap_or_default();
                let template = Template::parse(source)
                    .map_err(|error| format!("environment variable {name:?}: {error}"))?;
                value["value"] = json!(template.render(|port| self.path_prefix(port)));
            }
            env.push(value);
        }
        Ok(env)
    }

    /// Empty for ports that the image does not serve.
    pub(super) fn path_prefix(&self, port: &str) -> String {
        match self.options.port(port) {
            Some(port) => connect_path(self.namespace(), self.name(), &port.id),
            None => String::new(),
        }
    }

    /// Volumes and mounts; the first user of a name or path wins.
    fn volumes(&self) -> (Vec<Value>, Vec<Value>) {
        let template = &self.kind.spec.pod_template;
        let mut volumes = Volumes::default();
        volumes.add_own(&self.workspace.spec.pod_template.volumes, &template.volume_mounts.home);
        for volume in &template.extra_volumes {
            volumes.add(volume.text("name").unwrap_or_default(), volume);
        }
        for mount in &template.extra_volume_mounts {
            if volumes.names.contains(mount.text("name").unwrap_or_default()) {
                volumes.mount(mount.text("mountPath").unwrap_or_default(), mount);
            }
        }
        (volumes.volumes, volumes.mounts)
    }
}

#[derive(Default)]
struct Volumes {
    volumes: Vec<Value>,
    mounts: Vec<Value>,
    names: HashSet<String>,
    paths: HashSet<String>,
}

impl Volumes {
    fn add(&mut self, name: &str, volume: &Value) {
        if self.names.insert(name.to_owned()) {
            self.volumes.push(volume.clone());
        }
    }

    fn mount(&mut self, path: &str, mount: &Value) {
        if self.paths.insert(path.to_owned()) {
            self.mounts.push(mount.clone());
        }
    }

    /// A volume with its one mount; neither if the path is taken.
    fn add_mounted(&mut self, name: &str, path: &str, read_only: bool, source: (&str, Value)) {
        if self.paths.contains(path) {
            return;
        }
        self.add(name, &json!({"name": name, source.0: source.1}));
        let mut mount = json!({"name": name, "mountPath": path});
        if read_only {
            mount["readOnly"] = json!(true);
        }
        self.mount(path, &mount);
    }

    fn add_own(&mut self, wanted: &WorkspaceVolumes, home_path: &str) {
        if let Some(home) = &wanted.home {
            let source = ("persistentVolumeClaim", json!({"claimName": home}));
            self.add_mounted("home-volume", home_path, false, source);
        }
        for (index, data) in wanted.data.iter().enumerate() {
            let mut claim = json!({"claimName": data.pvc_name});
            if data.read_only {
                claim["readOnly"] = json!(true);
            }
            let name = format!("data-volume-{index}");
            let source = ("persistentVolumeClaim", claim);
            self.add_mounted(&name, &data.mount_path, data.read_only, source);
        }
        for (index, secret) in wanted.secrets.iter().enumerate() {
            let name = format!("secret-volume-{index}");
            let source =
                json!({"secretName": secret.secret_name, "defaultMode": secret.default_mode});
            self.add_mounted(&name, &secret.mount_path, false, ("secret", source));
        }
    }
}
