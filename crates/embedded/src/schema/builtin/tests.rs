//! Tables per kind, and what must hold for any input.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::{default, validate};
use crate::schema::testing::{any_json, seen};

const KINDS: [&str; 16] = [
    "ConfigMap",
    "EndpointSlice",
    "Event",
    "Job",
    "Lease",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    "StorageClass",
    "Other",
];

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[name] = value;
    object
}

fn claim() -> Value {
    json!({"metadata": {"name": "home"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem",
    }})
}

fn pod() -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "main", "image": "files:1", "volumeMounts": [{"name": "home", "mountPath": "/home"}]}],
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
    }});
    default("Pod", &mut pod);
    pod
}

fn stateful_set() -> Value {
    let mut set = json!({"metadata": {"name": "s"}, "spec": {
        "serviceName": "s",
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "files"}]}},
    }});
    default("StatefulSet", &mut set);
    set
}

fn service() -> Value {
    let mut service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80}]}});
    default("Service", &mut service);
    service
}

fn job() -> Value {
    let selector = json!({"matchLabels": {"a": "b"}});
    let mut job = json!({"metadata": {"name": "j"}, "spec": {"manualSelector": true, "selector": selector, "template": {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "files:1"}]},
    }}});
    default("Job", &mut job);
    job
}

fn check(kind: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    seen(&validate(kind, new, old))
}

#[rstest]
#[case("PersistentVolumeClaim", claim())]
#[case("Pod", pod())]
#[case("StatefulSet", stateful_set())]
#[case("Service", service())]
#[case("Job", job())]
#[case("Secret", json!({"type": "Opaque", "data": {"a.b": "aGk="}}))]
#[case("ConfigMap", json!({"data": {"key": "value"}}))]
#[case("StorageClass", json!({"provisioner": "quartermaster.io/local", "reclaimPolicy": "Delete"}))]
#[case("EndpointSlice", json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.1.2.3"]}], "ports": [{"name": "", "port": 80}]}))]
#[case("Lease", json!({"spec": {"leaseDurationSeconds": 15}}))]
#[case("Event", json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}}))]
#[case("PersistentVolume", json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}))]
fn good_objects(#[case] kind: &str, #[case] object: Value) {
    assert_eq!(check(kind, &object, None), Vec::<String>::new());
    assert_eq!(check(kind, &object, Some(&object)), Vec::<String>::new());
}

#[rstest]
#[case("Secret", json!({"data": {"a b": "aGk="}}), "FieldValueInvalid data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')")]
#[case("Secret", json!({"data": {"a": "?"}}), "FieldValueInvalid data[a]: Invalid value: \"<secret contents redacted>\": must be valid base64")]
#[case("Secret", json!({"type": "kubernetes.io/ssh-auth"}), "FieldValueRequired data[ssh-privatekey]: Required value")]
#[case("ConfigMap", json!({"data": {"a": ""}, "binaryData": {"a": "aGk="}}), "FieldValueInvalid data[a]: Invalid value: \"a\": duplicate of key present in binaryData")]
#[case("PersistentVolumeClaim", with(claim(), "/spec/accessModes", json!([])), "FieldValueRequired spec.accessModes: Required value: at least 1 access mode is required")]
#[case("PersistentVolumeClaim", with(claim(), "/spec/accessModes", json!(["Some"])), "FieldValueNotSupported spec.accessModes: Unsupported value: \"Some\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"")]
#[case("PersistentVolumeClaim", with(claim(), "/spec/resources", json!({})), "FieldValueRequired spec.resources[storage]: Required value")]
#[case("PersistentVolumeClaim", with(claim(), "/spec/resources/requests/storage", json!("0")), "FieldValueInvalid spec.resources[storage]: Invalid value: \"0\": must be greater than zero")]
#[case("PersistentVolumeClaim", with(claim(), "/spec/resources/requests/storage", json!("1 GB")), "FieldValueInvalid spec.resources[storage]: Invalid value: \"1 GB\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
#[case("PersistentVolumeClaim", with(claim(), "/spec/volumeMode", json!("File")), "FieldValueNotSupported spec.volumeMode: Unsupported value: \"File\": supported values: \"Block\", \"Filesystem\"")]
#[case("Service", with(service(), "/spec/ports", json!([])), "FieldValueRequired spec.ports: Required value")]
#[case("Service", with(service(), "/spec/type", json!("Some")), "FieldValueNotSupported spec.type: Unsupported value: \"Some\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"")]
#[case("Service", with(service(), "/spec/ports/0/port", json!(0)), "FieldValueInvalid spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive")]
#[case("Service", with(service(), "/spec/ports/0/protocol", json!("ICMP")), "FieldValueNotSupported spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"")]
#[case("Service", with(service(), "/spec/ports/0/targetPort", json!("80")), "FieldValueInvalid spec.ports[0].targetPort: Invalid value: \"80\": must contain at least one letter (a-z)")]
#[case("Pod", with(pod(), "/spec/containers/0/image", json!("")), "FieldValueRequired spec.containers[0].image: Required value")]
#[case("Pod", with(pod(), "/spec/containers/0/name", json!("A")), "FieldValueInvalid spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')")]
#[case("Pod", with(pod(), "/spec/volumes", json!([])), "FieldValueNotFound spec.containers[0].volumeMounts[0].name: Not found: \"home\"")]
#[case("Pod", with(pod(), "/spec/restartPolicy", json!("Often")), "FieldValueNotSupported spec.restartPolicy: Unsupported value: \"Often\": supported values: \"Always\", \"Never\", \"OnFailure\"")]
#[case("Pod", with(pod(), "/spec/containers/0/ports", json!([{"containerPort": 70000, "protocol": "TCP"}])), "FieldValueInvalid spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive")]
#[case("Pod", with(pod(), "/spec/containers/0/readinessProbe", json!({})), "FieldValueRequired spec.containers[0].readinessProbe: Required value: must specify a handler type")]
#[case("Pod", with(pod(), "/spec/containers/0/resources", json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})), "FieldValueInvalid spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1")]
#[case("StatefulSet", with(stateful_set(), "/spec/selector", json!({"matchLabels": {"app": "b"}})), "FieldValueInvalid spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`")]
#[case("StatefulSet", with(stateful_set(), "/spec/selector", json!(null)), "FieldValueRequired spec.selector: Required value")]
#[case("StatefulSet", with(stateful_set(), "/spec/replicas", json!(-1)), "FieldValueInvalid spec.replicas: Invalid value: -1: must be greater than or equal to 0")]
#[case("StatefulSet", with(stateful_set(), "/spec/podManagementPolicy", json!("Any")), "FieldValueInvalid spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'")]
#[case("StatefulSet", with(stateful_set(), "/spec/template/spec/restartPolicy", json!("Never")), "FieldValueNotSupported spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"")]
#[case("Job", with(job(), "/spec/template/spec/restartPolicy", json!("Always")), "FieldValueRequired spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"")]
#[case("StorageClass", json!({}), "FieldValueRequired provisioner: Required value")]
#[case("EndpointSlice", json!({"addressType": "IPv4", "endpoints": [{"addresses": ["x"]}]}), "FieldValueInvalid endpoints[0].addresses[0]: Invalid value: \"x\": must be an IPv4 address")]
#[case("Lease", json!({"spec": {"leaseDurationSeconds": 0}}), "FieldValueInvalid spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0")]
#[case("Event", json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}), "FieldValueInvalid involvedObject.namespace: Invalid value: \"b\": does not match event.namespace")]
fn bad_objects(#[case] kind: &str, #[case] object: Value, #[case] cause: &str) {
    assert_eq!(check(kind, &object, None), [cause]);
}

#[rstest]
#[case("Secret", json!({"type": "Opaque"}), json!({"type": "mine"}), "FieldValueInvalid type: Invalid value: \"mine\": field is immutable")]
#[case("Secret", json!({"immutable": true, "data": {}}), json!({"immutable": true, "data": {"a": "aGk="}}), "FieldValueForbidden data: Forbidden: field is immutable when `immutable` is set")]
#[case("ConfigMap", json!({"immutable": true}), json!({}), "FieldValueForbidden immutable: Forbidden: field is immutable when `immutable` is set")]
#[case("StatefulSet", stateful_set(), with(stateful_set(), "/spec/serviceName", json!("t")), "FieldValueForbidden spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")]
#[case("Job", job(), with(job(), "/spec/completions", json!(2)), "FieldValueInvalid spec.completions: Invalid value: 2: field is immutable")]
#[case("StorageClass", json!({"provisioner": "a"}), json!({"provisioner": "b"}), "FieldValueForbidden provisioner: Forbidden: updates to provisioner are forbidden.")]
fn changes_that_are_refused(
    #[case] kind: &str,
    #[case] old: Value,
    #[case] new: Value,
    #[case] cause: &str,
) {
    assert_eq!(check(kind, &new, Some(&old)), [cause]);
}

#[rstest]
#[case("PersistentVolumeClaim", claim(), with(claim(), "/spec/volumeName", json!("pv")))]
#[case("PersistentVolumeClaim", with(claim(), "/status", json!({"phase": "Bound"})), with(with(claim(), "/status", json!({"phase": "Bound"})), "/spec/resources/requests/storage", json!("2Gi")))]
#[case("StatefulSet", stateful_set(), with(stateful_set(), "/spec/replicas", json!(0)))]
#[case("Pod", pod(), with(pod(), "/spec/containers/0/image", json!("files:2")))]
#[case("Job", job(), with(job(), "/spec/parallelism", json!(0)))]
fn changes_that_are_fine(#[case] kind: &str, #[case] old: Value, #[case] new: Value) {
    assert_eq!(check(kind, &new, Some(&old)), Vec::<String>::new());
}

#[test]
fn plain_secret_values_become_data() {
    let mut secret = json!({"stringData": {"a": "hi"}, "data": {"a": "eA==", "b": "eA=="}});
    default("Secret", &mut secret);
    assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "aGk=", "b": "eA=="}}));
}

#[test]
fn services_get_their_defaults() {
    let mut service = json!({"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "web", "protocol": "UDP"}]}});
    default("Service", &mut service);
    assert_eq!(
        service,
        json!({"spec": {
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [
                {"port": 80, "targetPort": 80, "protocol": "TCP"},
                {"port": 81, "targetPort": "web", "protocol": "UDP"},
            ],
        }})
    );
}

#[test]
fn stateful_sets_get_their_defaults() {
    let mut set = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "a", "image": "reg/a", "readinessProbe": {"httpGet": {"port": 80}}}],
        "volumes": [{"name": "tmp"}, {"name": "s", "secret": {"secretName": "s"}}],
    }}}});
    default("StatefulSet", &mut set);
    assert_eq!(
        set,
        json!({"spec": {
            "podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": 10,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"spec": {
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
                "containers": [{
                    "name": "a", "image": "reg/a", "imagePullPolicy": "Always", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "readinessProbe": {
                        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                    },
                }],
                "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}}],
            }},
        }})
    );
}

#[rstest]
#[case("files:latest", "Always")]
#[case("localhost:5000/files", "Always")]
#[case("localhost:5000/files:1", "IfNotPresent")]
#[case("files@sha256:00", "IfNotPresent")]
fn the_pull_policy_follows_the_tag(#[case] image: &str, #[case] policy: &str) {
    let mut pod = json!({"spec": {"containers": [{"name": "a", "image": image}]}});
    default("Pod", &mut pod);
    assert_eq!(pod.pointer("/spec/containers/0/imagePullPolicy"), Some(&json!(policy)));
}

proptest! {
    #[test]
    fn nothing_panics_and_defaults_settle(object in any_json(), old in any_json(), kind in 0..KINDS.len()) {
        let kind = KINDS[kind];
        let mut once = object;
        default(kind, &mut once);
        let mut twice = once.clone();
        default(kind, &mut twice);
        prop_assert_eq!(&once, &twice);
        validate(kind, &once, Some(&old));
    }
}
