//! The cluster that a run is about: our own by `up`, or a real one by `serve`. Tests written against
//! a [`Site`] are the same for both.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Program, Up,
    process::pods,
    wait::{LONG, within},
};

/// Names a kubeconfig; set by `cargo xtask e2e --real`.
const KUBECONFIG: &str = "QUARTERMASTER_E2E_KUBECONFIG";

/// The cluster that a run is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// Our own, in the program's data directory.
    Own,
    /// A real one.
    Cluster {
        /// Its kubeconfig, an administrator's.
        kubeconfig: String,
    },
}

impl Site {
    /// What the environment says.
    pub fn of_this_run() -> Self {
        match std::env::var(KUBECONFIG) {
            Ok(kubeconfig) if !kubeconfig.is_empty() => Self::Cluster { kubeconfig },
            _ => Self::Own,
        }
    }

    /// Starts the program on it, with what the tests need: a storage class that users may use.
    pub async fn start(&self, program: Program) -> Up {
        match self {
            Self::Own => program.start().await,
            Self::Cluster { kubeconfig } => {
                let class = json!({
                    "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                    "metadata": {
                        "name": "local",
                        "labels": {"notebooks.kubeflow.org/can-use": "true"},
                        "annotations": {
                            "storageclass.kubernetes.io/is-default-class": "true",
                            "notebooks.kubeflow.org/display-name": "This machine",
                            "notebooks.kubeflow.org/description":
                                "Directories in Quartermaster's data",
                        },
                    },
                    "provisioner": "kubernetes.io/host-path",
                    "reclaimPolicy": "Delete",
                    "volumeBindingMode": "Immediate",
                });
                self.apply(&class).await;
                program.env("KUBECONFIG", kubeconfig).serve("kubeconfig").start().await
            }
        }
    }

    /// Makes or changes an object of a real cluster.
    pub async fn apply(&self, object: &Value) {
        use tokio::io::AsyncWriteExt as _;
        let mut command = self.kubectl(&["apply", "-f", "-"]);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("kubectl, as `cargo xtask cluster run` has it on PATH");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(object.to_string().as_bytes()).await.expect("kubectl reads");
        drop(input);
        let status = child.wait().await.expect("a child of this process");
        assert!(status.success(), "kubectl apply: {status}");
    }

    /// What kubectl prints.
    pub async fn kubectl_output(&self, args: &[&str]) -> String {
        let output = self.kubectl(args).output().await;
        let output = output.expect("kubectl, as `cargo xtask cluster run` has it on PATH");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let Self::Cluster { kubeconfig } = self else {
            panic!("only a real cluster is reached by kubectl here");
        };
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", kubeconfig).kill_on_drop(true);
        command
    }

    /// What runs for workspaces: process ids on our own cluster, container ids on a real one. The
    /// same set means that nothing was restarted.
    pub async fn running(&self, dir: &Path) -> BTreeSet<String> {
        if *self == Self::Own {
            return pods(dir).into_keys().map(|pid| pid.to_string()).collect();
        }
        let list = self.kubectl_output(&["get", "pods", "-n", "default", "-o", "json"]).await;
        let list: Value = serde_json::from_str(&list).expect("JSON of kubectl");
        let items = list["items"].as_array().expect("a list");
        let ids = items.iter().map(|pod| {
            let container = &pod["status"]["containerStatuses"][0]["containerID"];
            format!("{} {container}", pod["metadata"]["uid"])
        });
        ids.collect()
    }

    /// Waits until nothing runs for any workspace.
    pub async fn nothing_runs(&self, dir: &Path) {
        within(LONG, "nothing that runs for a workspace", async || {
            self.running(dir).await.is_empty().then_some(())
        })
        .await;
    }

    /// A kind that serves the files of its home, as an administrator posts it.
    pub fn files_kind(&self, name: &str) -> String {
        kind(&Kind {
            name,
            image: "quartermaster/files",
            home: "/home/user",
            port: ("files", 8080),
            probe: "httpGet: {path: /healthz, port: 8080}",
            env: r#"
    - {name: QUARTERMASTER_FILES_ROOT, value: /home/user}
    - {name: QUARTERMASTER_FILES_BASE_PATH, value: '{{ httpPathPrefix "files" }}'}"#,
            volumes: "",
        })
    }

    /// A kind with the JupyterLab of this machine: on our own cluster from PATH, on a real one by
    /// volumes that hold the virtual environment with these programs, and what it links.
    pub fn jupyter_kind(&self, name: &str, programs: &Path) -> String {
        let (mut env, mut volumes) = (String::new(), String::new());
        if *self != Self::Own {
            let python = programs.join("python").canonicalize().expect("a python");
            let venv = programs.parent().expect("a virtual environment").to_owned();
            let prefix = python.ancestors().nth(2).expect("a prefix").to_owned();
            let mut folders = vec![Path::new("/usr").to_owned(), venv];
            if !folders.iter().any(|folder| prefix.starts_with(folder)) {
                folders.push(prefix);
            }
            volumes.push_str("\n    extraVolumes:");
            for (number, folder) in folders.iter().enumerate() {
                let folder = folder.display();
                volumes.push_str(&format!(
                    "\n    - {{name: host-{number}, hostPath: {{path: {folder}}}}}"
                ));
            }
            volumes.push_str("\n    extraVolumeMounts:");
            for (number, folder) in folders.iter().enumerate() {
                let folder = folder.display();
                volumes.push_str(&format!(
                    "\n    - {{name: host-{number}, mountPath: {folder}, readOnly: true}}"
                ));
            }
            env = format!(
                "\n    - {{name: QUARTERMASTER_JUPYTER, value: {}}}",
                programs.join("jupyter").display()
            );
        }
        kind(&Kind {
            name,
            image: "quartermaster/jupyterlab",
            home: "/home/jovyan",
            port: ("lab", 8888),
            probe: "tcpSocket: {port: 8888}",
            env: &format!(
                "\n    - {{name: NB_PREFIX, value: '{{{{ httpPathPrefix \"lab\" }}}}'}}{env}"
            ),
            volumes: &volumes,
        })
    }
}

struct Kind<'a> {
    name: &'a str,
    image: &'a str,
    home: &'a str,
    port: (&'a str, u16),
    probe: &'a str,
    env: &'a str,
    volumes: &'a str,
}

fn kind(kind: &Kind<'_>) -> String {
    let Kind { name, image, home, port: (port, number), probe, env, volumes } = kind;
    format!(
        r#"apiVersion: kubeflow.org/v1beta1
kind: WorkspaceKind
metadata: {{name: {name}}}
spec:
  spawner:
    displayName: {name}
    description: Made by a test
    icon: {{url: "https://example.org/icon.svg"}}
    logo: {{url: "https://example.org/logo.svg"}}
  podTemplate:
    volumeMounts: {{home: {home}}}
    ports: [{{id: {port}, protocol: HTTP, defaultDisplayName: {name}}}]
    probes:
      readinessProbe: {{{probe}, periodSeconds: 1, failureThreshold: 120}}
    extraEnv:{env}{volumes}
    options:
      imageConfig:
        spawner: {{default: only}}
        values:
        - id: only
          spawner: {{displayName: Only}}
          spec:
            image: {image}
            imagePullPolicy: IfNotPresent
            ports: [{{id: {port}, port: {number}}}]
      podConfig:
        spawner: {{default: small}}
        values: [{{id: small, spawner: {{displayName: Small}}, spec: {{}}}}]
"#
    )
}
