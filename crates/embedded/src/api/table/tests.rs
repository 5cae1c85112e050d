//! Rows of built-in kinds.

use rstest::rstest;

use super::*;
use crate::api::kinds::Registry;

const CREATED: &str = "2030-01-01T00:00:00Z";

fn cells(table: &str, mut object: Value) -> Vec<Value> {
    let registry = Registry::built_in();
    let resource = registry.find_table(table).unwrap();
    object["metadata"]["name"] = "a".into();
    object["metadata"]["creationTimestamp"] = CREATED.into();
    let cells = builtin::cells(resource, &object, "2030-01-01T00:10:00Z".parse().unwrap());
    assert_eq!(cells.len(), builtin::columns(resource).len(), "a cell for each column");
    cells
}

#[test]
fn every_kind_has_a_cell_for_each_column() {
    let registry = Registry::built_in();
    for resource in registry.iter() {
        let cells = cells(&resource.table, json!({"metadata": {}}));
        assert!(cells.contains(&json!("a")), "{}", resource.table);
    }
}

#[rstest]
#[case(json!({}), "0/1", "", "0")]
#[case(json!({"phase": "Pending"}), "0/1", "Pending", "0")]
#[case(json!({"phase": "Failed", "reason": "Evicted"}), "0/1", "Evicted", "0")]
#[case(
    json!({"phase": "Pending", "containerStatuses": [
        {"state": {"waiting": {"reason": "ErrImagePull"}}},
    ]}),
    "0/1", "ErrImagePull", "0"
)]
#[case(
    json!({"phase": "Running", "containerStatuses": [
        {"ready": true, "restartCount": 0, "state": {"running": {}}},
    ]}),
    "1/1", "Running", "0"
)]
#[case(
    json!({"phase": "Running", "containerStatuses": [{
        "ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2030-01-01T00:08:30Z"}},
    }]}),
    "1/1", "Running", "2 (90s ago)"
)]
#[case(
    json!({"phase": "Succeeded", "containerStatuses": [
        {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}},
    ]}),
    "0/1", "Completed", "0"
)]
#[case(
    json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
    "0/1", "ExitCode:3", "0"
)]
#[case(
    json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"signal": 9}}}]}),
    "0/1", "Signal:9", "0"
)]
fn a_pod_is_summed_up(
    #[case] status: Value,
    #[case] ready: &str,
    #[case] reason: &str,
    #[case] restarts: &str,
) {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "m"}]}, "status": status});
    let cells = cells("pods", pod.clone());
    assert_eq!(cells[1..5], [json!(ready), json!(reason), json!(restarts), json!("10m")]);
    let mut deleted = pod;
    deleted["metadata"]["deletionTimestamp"] = CREATED.into();
    let ended =
        matches!(super::super::kinds::text(&deleted, "/status/phase"), "Succeeded" | "Failed");
    let cells = self::cells("pods", deleted);
    assert_eq!(cells[2], if ended { json!(reason) } else { json!("Terminating") });
}

#[rstest]
#[case(json!([{"name": "i", "state": {"running": {}}}]), "Init:0/2")]
#[case(json!([{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]), "Init:0/2")]
#[case(json!([{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}]), "Init:ErrImagePull")]
#[case(json!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]), "Init:Error")]
#[case(json!([{"name": "i", "state": {"terminated": {"exitCode": 1}}}]), "Init:ExitCode:1")]
#[case(
    json!([
        {"name": "i", "state": {"terminated": {"exitCode": 0}}},
        {"name": "s", "ready": true, "started": true, "state": {"running": {}}},
    ]),
    "Pending"
)]
fn init_containers_come_first(#[case] statuses: Value, #[case] reason: &str) {
    let pod = json!({
        "metadata": {},
        "spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "m"}],
        },
        "status": {"phase": "Pending", "initContainerStatuses": statuses},
    });
    assert_eq!(cells("pods", pod)[2], reason);
}

#[test]
fn rows_tell_what_matters() {
    let claim = json!({"metadata": {}, "spec": {"volumeName": "v", "storageClassName": "local"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}});
    assert_eq!(
        json!(cells("persistentvolumeclaims", claim)),
        json!(["a", "Bound", "v", "1Gi", "RWO,RWX", "local", "<unset>", "10m", "<unset>"])
    );
    let service = json!({"metadata": {}, "spec": {"type": "ClusterIP", "clusterIPs": ["10.0.0.1"],
        "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}],
        "selector": {"b": "2", "a": "1"}}});
    assert_eq!(
        json!(cells("services", service)),
        json!(["a", "ClusterIP", "10.0.0.1", "<none>", "80/TCP,53:30053/UDP", "10m", "a=1,b=2"])
    );
    let job = json!({"metadata": {}, "spec": {"completions": 2, "selector": {
        "matchLabels": {"x": "y"},
        "matchExpressions": [{"key": "k", "operator": "In", "values": ["b", "a"]}]}},
        "status": {"succeeded": 1, "startTime": "2030-01-01T00:00:00Z"}});
    assert_eq!(
        json!(cells("jobs.batch", job)),
        json!(["a", "Running", "1/2", "10m", "10m", "", "", "x=y,k in (a,b)"])
    );
    let event = json!({"metadata": {}, "type": "Warning", "reason": "Bad", "message": " so it is\n",
        "involvedObject": {"kind": "Pod", "name": "p"}, "lastTimestamp": null,
        "eventTime": "2030-01-01T00:09:00Z", "reportingComponent": "node"});
    assert_eq!(
        json!(cells("events", event)),
        json!(["60s", "Warning", "Bad", "pod/p", "", "node", "so it is", "60s", 1, "a"])
    );
    let class = json!({"metadata": {"annotations": {
        "storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"});
    assert_eq!(
        json!(cells("storageclasses.storage.k8s.io", class)),
        json!(["a (default)", "p", "Delete", "Immediate", false, "10m"])
    );
    let slice = json!({"metadata": {}, "addressType": "IPv4", "ports": [{"port": 80}, {"name": "x"}],
        "endpoints": [{"addresses": ["1.1.1.1", "2.2.2.2"]}, {"addresses": ["3.3.3.3", "4.4.4.4"]}]});
    assert_eq!(
        json!(cells("endpointslices.discovery.k8s.io", slice)),
        json!(["a", "IPv4", "80,x", "1.1.1.1,2.2.2.2,3.3.3.3 + 1 more...", "10m"])
    );
}
