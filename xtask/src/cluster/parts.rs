//! The command lines of the control plane.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::json;

use super::certs::{Authority, User};

/// Where the parts of one cluster are.
pub(super) struct Layout {
    /// The folder of this cluster.
    pub(super) dir: PathBuf,
    /// `testenv` and `kubectl`.
    pub(super) programs: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) authority: Authority,
    ports: Ports,
}

struct Ports {
    etcd: u16,
    etcd_peers: u16,
    apiserver: u16,
    controller_manager: u16,
    scheduler: u16,
}

/// One process.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
}

impl Layout {
    pub(super) fn new(dir: &Path, programs: &Path) -> Result<Self> {
        let [etcd, etcd_peers, apiserver, controller_manager, scheduler] = free_ports()?;
        let ports = Ports { etcd, etcd_peers, apiserver, controller_manager, scheduler };
        let server = format!("https://127.0.0.1:{}", ports.apiserver);
        let authority = Authority::new(dir.join("pki"))?;
        authority.server("apiserver", &[])?;
        let masters = Some("system:masters");
        let admin = User { name: "quartermaster:admin", group: masters };
        let kubeconfig = authority.user("admin", &admin, &server)?;
        let caller = User { name: "kube-apiserver", group: masters };
        authority.user("apiserver-kubelet-client", &caller, &server)?;
        for name in ["controller-manager", "scheduler"] {
            let user = User { name: &format!("system:kube-{name}"), group: None };
            authority.user(name, &user, &server)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            programs: programs.to_owned(),
            kubeconfig,
            authority,
            ports,
        })
    }

    /// The address of the API server.
    pub(super) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.apiserver)
    }

    /// A file of the authority.
    pub(super) fn pki(&self, name: &str) -> String {
        self.authority.directory.join(name).display().to_string()
    }

    pub(super) fn log(&self, part: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{part}.log"))
    }

    fn testenv(&self, name: &'static str, args: Vec<String>) -> Part {
        let mut all = vec![name.to_owned()];
        all.extend(args);
        Part { name, program: self.programs.join("testenv"), args: all }
    }

    pub(super) fn etcd(&self) -> Result<Part> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (clients, peers) = (url(self.ports.etcd), url(self.ports.etcd_peers));
        let config = json!({
            "name": "testenv",
            "data-dir": self.dir.join("etcd"),
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": format!("testenv={peers}"),
            "unsafe-no-fsync": true,
            "log-level": "warn",
        });
        let file = self.dir.join("etcd.yaml");
        fs::write(&file, config.to_string())?;
        Ok(self.testenv("etcd", vec![file.display().to_string()]))
    }

    pub(super) fn apiserver(&self) -> Part {
        let flags = [
            ("etcd-servers", format!("http://127.0.0.1:{}", self.ports.etcd)),
            ("bind-address", Ipv4Addr::LOCALHOST.to_string()),
            ("advertise-address", Ipv4Addr::LOCALHOST.to_string()),
            ("secure-port", self.ports.apiserver.to_string()),
            ("tls-cert-file", self.pki("apiserver.crt")),
            ("tls-private-key-file", self.pki("apiserver.key")),
            ("client-ca-file", self.pki("ca.crt")),
            ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
            ("service-account-key-file", self.pki("service-account.pub")),
            ("service-account-signing-key-file", self.pki("service-account.key")),
            ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("allow-privileged", "true".to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
            // Without a kube-proxy, Services of webhooks are found by their endpoints.
            ("enable-aggregator-routing", "true".to_owned()),
            ("kubelet-client-certificate", self.pki("apiserver-kubelet-client.crt")),
            ("kubelet-client-key", self.pki("apiserver-kubelet-client.key")),
            ("kubelet-certificate-authority", self.pki("ca.crt")),
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
            ("cert-dir", self.dir.join("apiserver").display().to_string()),
        ];
        self.testenv("apiserver", flagged(flags))
    }

    pub(super) fn controller_manager(&self, controllers: &str) -> Part {
        let flags = [
            ("kubeconfig", self.pki("controller-manager.kubeconfig")),
            ("controllers", controllers.to_owned()),
            ("service-account-private-key-file", self.pki("service-account.key")),
            ("root-ca-file", self.pki("ca.crt")),
            ("cluster-signing-cert-file", self.pki("ca.crt")),
            ("cluster-signing-key-file", self.pki("ca.key")),
            ("use-service-account-credentials", "true".to_owned()),
            ("leader-elect", "false".to_owned()),
            ("bind-address", Ipv4Addr::LOCALHOST.to_string()),
            ("secure-port", self.ports.controller_manager.to_string()),
            // Real volumes without a driver.
            ("enable-hostpath-provisioner", "true".to_owned()),
        ];
        self.testenv("controller-manager", flagged(flags))
    }

    pub(super) fn scheduler(&self) -> Part {
        let flags = [
            ("kubeconfig", self.pki("scheduler.kubeconfig")),
            ("leader-elect", "false".to_owned()),
            ("bind-address", Ipv4Addr::LOCALHOST.to_string()),
            ("secure-port", self.ports.scheduler.to_string()),
        ];
        self.testenv("scheduler", flagged(flags))
    }

    pub(super) fn kubelet(&self, args: Vec<String>) -> Part {
        self.testenv("kubelet", args)
    }
}

pub(super) fn flagged<const N: usize>(flags: [(&str, String); N]) -> Vec<String> {
    flags.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Different ports of loopback that nobody has just now.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
