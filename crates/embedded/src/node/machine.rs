//! The Node object: what this machine is and has. Written when the node starts, and not again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::HOST_ADDRESS;
use super::events::seconds;
use super::process::boot_id;

/// The labels a pod can choose this machine by.
pub(crate) fn labels(name: &str) -> BTreeMap<String, String> {
    let architecture = architecture();
    [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The names that Kubernetes uses for the processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Creates or refreshes the Node object.
pub(crate) async fn register(client: Client, name: &str) -> Result<Node, kube::Error> {
    let api = Api::<Node>::all(client);
    let node = match api.get_opt(name).await? {
        Some(node) => node,
        None => {
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels(name)),
                ..ObjectMeta::default()
            };
            let node = Node { metadata, ..Node::default() };
            api.create(&PostParams::default(), &node).await?
        }
    };
    let mut wanted = node.clone();
    wanted.status = Some(status(name, node.status.as_ref()));
    if wanted.status == node.status {
        return Ok(node);
    }
    api.replace_status(&node.name_any(), &PostParams::default(), &wanted).await
}

fn status(name: &str, before: Option<&NodeStatus>) -> NodeStatus {
    let capacity = capacity();
    let address = |kind: &str, address: &str| NodeAddress {
        type_: kind.to_owned(),
        address: address.to_owned(),
    };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", &HOST_ADDRESS.to_string()),
            address("Hostname", name),
        ]),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(vec![ready_condition(before)]),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: boot_id().unwrap_or_default(),
            container_runtime_version: format!("quartermaster://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: read("/proc/sys/kernel/osrelease"),
            kubelet_version: format!("v{}", env!("CARGO_PKG_VERSION")),
            operating_system: "linux".to_owned(),
            os_image: "local processes".to_owned(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn ready_condition(before: Option<&NodeStatus>) -> NodeCondition {
    let now = Time(seconds(Timestamp::now()));
    let before = before.and_then(|status| status.conditions.as_ref());
    let known =
        before.into_iter().flatten().find(|known| known.type_ == "Ready" && known.status == "True");
    known.cloned().unwrap_or_else(|| NodeCondition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: Some("KubeletReady".to_owned()),
        message: Some("pods run as processes of this machine".to_owned()),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: Some(now),
    })
}

fn capacity() -> BTreeMap<String, Quantity> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    [
        ("cpu", cores.to_string()),
        ("memory", format!("{}Ki", memory_bytes() / 1024)),
        ("pods", "10000".to_owned()),
    ]
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .into()
}

/// The memory of the machine; 0 if it cannot be read.
pub(crate) fn memory_bytes() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
