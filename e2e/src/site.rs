//! The cluster that a run is about: our own by `up`, or a real one by `serve`. Tests written against
//! a [`Site`] are the same for both.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Kube, Program, Up,
    process::pods,
    wait::{LONG, within},
};

const STORAGE_CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

/// Names a kubeconfig; set by `cargo xtask e2e --real`.
const KUBECONFIG: &str = "QUARTERMASTER_E2E_KUBECONFIG";

/// A Kubernetes API to run `serve` on, whose workspaces nobody else controls.
#[derive(Debug)]
pub struct Api {
    /// The kubeconfig, an administrator's.
    pub kubeconfig: PathBuf,
    /// Its address.
    pub address: SocketAddr,
    /// The program that serves it, unless it is a real one.
    pub own: Option<Up>,
    killed: Option<Program>,
    pinned: bool,
    scratch: TempDir,
}

impl Api {
    /// A program for one person on it.
    pub fn serve(&self, program: Program) -> Program {
        let kubeconfig = self.kubeconfig.to_str().expect("a path in UTF-8");
        program.env("KUBECONFIG", kubeconfig).serve("kubeconfig")
    }

    /// Ends the API server without a word.
    pub async fn kill(&mut self) {
        match self.own.take() {
            Some(up) => self.killed = Some(up.kill().await),
            None => control("kill apiserver").await,
        }
    }

    /// Starts it again, at the same address and with the same objects.
    pub async fn start(&mut self) {
        match self.killed.take() {
            Some(program) => {
                // The first time it took any free port.
                let program = match self.pinned {
                    true => program,
                    false => program.arg("--kube-listen").arg(self.address.to_string()),
                };
                self.pinned = true;
                self.own = Some(program.start().await);
            }
            None => control("start apiserver").await,
        }
    }

    /// A client of it, with an administrator's rights.
    pub fn kube(&self) -> Kube {
        Kube::new(&self.kubeconfig)
    }

    /// A kubeconfig for the same way as somebody else.
    pub fn acting_as(&self, user: &str) -> PathBuf {
        let text = fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
        config["users"][0]["user"]["as"] = json!(user);
        let path = self.scratch.path().join("kubeconfig-as");
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        path
    }

    /// The same kubeconfig for another way to it.
    pub fn by_way_of(&self, relay: SocketAddr) -> PathBuf {
        let text = fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let (from, to) = (self.address.to_string(), relay.to_string());
        assert!(text.contains(&from), "{from} is not in the kubeconfig");
        let path = self.scratch.path().join(format!("kubeconfig-{}", relay.port()));
        fs::write(&path, text.replace(&from, &to)).expect("a kubeconfig");
        path
    }
}

/// Tells `cargo xtask cluster run` around us to do something with a part of the cluster.
async fn control(what: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = std::env::var("QUARTERMASTER_TESTENV").expect("`cargo xtask cluster run` sets it");
    let socket = Path::new(&folder).join("control");
    let mut stream = tokio::net::UnixStream::connect(socket).await.expect("its socket");
    stream.write_all(format!("{what}\n").as_bytes()).await.expect("a reader");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(answer.trim(), "ok", "{what}");
}

/// The address in a kubeconfig.
fn api_address(kubeconfig: &Path) -> SocketAddr {
    let text = fs::read_to_string(kubeconfig).expect("a kubeconfig");
    let (_, rest) = text.split_once("https://").expect("the address of an API");
    let end = rest.find(|c: char| c.is_whitespace() || "\"'/,}".contains(c));
    rest[..end.unwrap_or(rest.len())].parse().expect("an IP address with a port")
}

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
                let kube = Kube::new(Path::new(kubeconfig));
                kube.create(STORAGE_CLASSES, &storage_class()).await;
                program.env("KUBECONFIG", kubeconfig).serve("kubeconfig").start().await
            }
        }
    }

    /// A client of the Kubernetes API of a program on it, with an administrator's rights.
    pub fn kube(&self, up: &Up) -> Kube {
        match self {
            Self::Own => Kube::new(&up.program().dir().join("kubeconfig")),
            Self::Cluster { kubeconfig } => Kube::new(Path::new(kubeconfig)),
        }
    }

    /// An API to run `serve` on: that of the real cluster, or that of an `up` without a controller.
    pub async fn api(&self, program: Program) -> Api {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let (kubeconfig, own) = match self {
            Self::Own => {
                let config = scratch.path().join("no-controller.yaml");
                fs::write(&config, "controller: {enabled: false}\n").expect("a file");
                let config = config.to_str().expect("a path in UTF-8");
                let up = program.arg("-c").arg(config).start().await;
                (up.program().dir().join("kubeconfig"), Some(up))
            }
            Self::Cluster { kubeconfig } => {
                let kube = Kube::new(Path::new(kubeconfig));
                kube.create(STORAGE_CLASSES, &storage_class()).await;
                (kubeconfig.into(), None)
            }
        };
        let address = api_address(&kubeconfig);
        Api { kubeconfig, address, own, killed: None, pinned: false, scratch }
    }

    /// What runs for workspaces: process ids on our own cluster, container ids on a real one. The
    /// same set means that nothing was restarted.
    pub async fn running(&self, dir: &Path) -> BTreeSet<String> {
        let Self::Cluster { kubeconfig } = self else {
            return pods(dir).into_keys().map(|pid| pid.to_string()).collect();
        };
        let kube = Kube::new(Path::new(kubeconfig));
        let list = kube.get("/api/v1/namespaces/default/pods").await.expect(200).json();
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

fn storage_class() -> Value {
    json!({
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
    })
}
