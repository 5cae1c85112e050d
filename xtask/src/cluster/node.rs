//! The node: a bridge, containerd and a kubelet. Only root can have one.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{
    certs::User,
    parts::{Layout, Part, flagged},
};
use crate::{image, shell, tools};

/// The node's address: that of the bridge, because a kubelet refuses loopback.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
pub(super) const NAME: &str = "testnode";

/// What must be installed, each with a program that shows it.
const PACKAGES: [(&str, &str); 4] = [
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iproute2", "/sbin/ip"),
];

/// Folders that a node uses wherever it is told to live; inside they are empty ones in memory.
pub(super) const FIXED: [&str; 5] =
    ["/run", "/var/log", "/var/lib/kubelet", "/var/lib/cni", "/tmp/hostpath_pv"];

/// Installs what a node needs.
pub(super) fn install() -> Result<()> {
    for (package, program) in PACKAGES {
        if !Path::new(program).exists() {
            tools::apt(package)?;
        }
    }
    Ok(())
}

/// The bridge of the pods, which is also the node's address.
pub(super) fn network() -> Result<()> {
    let address = format!("{ADDRESS}/24");
    for step in [
        &["link", "add", "cni0", "type", "bridge"][..],
        &["addr", "add", &address, "dev", "cni0"],
        &["link", "set", "cni0", "up"],
        &["route", "add", "default", "dev", "cni0"],
    ] {
        shell::output(shell::command("ip").args(step))?;
    }
    Ok(())
}

pub(super) fn containerd(layout: &Layout) -> Result<Part> {
    let dir = layout.dir.join("containerd");
    let networks = dir.join("net.d");
    fs::create_dir_all(&networks)?;
    let network = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": dir.join("addresses"),
                "ranges": [[{"subnet": "10.244.0.0/24", "gateway": ADDRESS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    fs::write(networks.join("10-pods.conflist"), network.to_string())?;
    // Without `restrict_oom_score_adj` runc fails where a container may not lower its score.
    let config = format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{networks}"
"#,
        root = dir.join("root").display(),
        state = dir.join("state").display(),
        opt = dir.join("opt").display(),
        socket = socket(layout).display(),
        networks = networks.display(),
        pause = image::PAUSE,
    );
    let file = dir.join("config.toml");
    fs::write(&file, config)?;
    let args = vec!["--config".to_owned(), file.display().to_string()];
    Ok(Part { name: "containerd", program: "/usr/bin/containerd".into(), args })
}

fn socket(layout: &Layout) -> PathBuf {
    layout.dir.join("containerd.sock")
}

fn ctr(layout: &Layout) -> std::process::Command {
    let mut ctr = shell::command("ctr");
    ctr.arg("--address").arg(socket(layout)).args(["--namespace", "k8s.io"]);
    ctr
}

pub(super) fn containerd_works(layout: &Layout) -> Result<()> {
    shell::output(ctr(layout).arg("version")).map(drop)
}

/// Makes images known to the node.
pub(super) fn import(layout: &Layout, images: &[PathBuf]) -> Result<()> {
    for image in images {
        let imported = shell::output(ctr(layout).args(["images", "import"]).arg(image));
        imported.with_context(|| format!("cannot import the image {}", image.display()))?;
    }
    Ok(())
}

/// Makes the root of the pods' cgroups. They are no namespace: [`super::isolate`] removes them.
pub(super) fn cgroups(name: &str) -> Result<()> {
    for directory in cgroup_directories(name)? {
        let made = fs::create_dir(&directory);
        made.with_context(|| format!("a node needs cgroups: {}", directory.display()))?;
    }
    Ok(())
}

/// Where a cgroup is, once for each hierarchy.
pub(super) fn cgroup_directories(name: &str) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut all: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (place, kind) = (fields.next()?, fields.next()?);
            kind.starts_with("cgroup").then(|| Path::new(place).join(name))
        })
        .collect();
    all.sort();
    all.dedup();
    if all.is_empty() {
        bail!("a node needs cgroups, and none are mounted (use --no-node)");
    }
    Ok(all)
}

pub(super) fn kubelet(layout: &Layout, cgroup: &str) -> Result<Part> {
    layout.authority.server("kubelet", &[ADDRESS])?;
    let user = User { name: &format!("system:node:{NAME}"), group: Some("system:nodes") };
    let kubeconfig = layout.authority.user("kubelet-client", &user, &layout.server())?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.pki("kubelet.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "failCgroupV1": false,
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{}", socket(layout).display()),
        // Nothing answers there, but a kubelet warns about each pod without an address.
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
    });
    let file = layout.dir.join("kubelet.yaml");
    fs::write(&file, config.to_string())?;
    let flags = [
        ("config", file.display().to_string()),
        ("kubeconfig", kubeconfig.display().to_string()),
        ("hostname-override", NAME.to_owned()),
        ("node-ip", ADDRESS.to_string()),
        ("root-dir", layout.dir.join("kubelet").display().to_string()),
        ("cert-dir", layout.dir.join("kubelet/pki").display().to_string()),
    ];
    Ok(layout.kubelet(flagged(flags)))
}

/// A class that is filled by the controller manager's own provisioner.
pub(super) fn storage_class() -> serde_json::Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/host-path",
    })
}
