use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn decode(kind: &str, text: &str) -> Result<Decoded, String> {
    let shape = named(kind).unwrap();
    let mut input = serde_json::Deserializer::from_str(text);
    read(shape, &mut input).map_err(|error| match error {
        Unreadable::Type(problem) => problem,
        Unreadable::Syntax(error) => format!("syntax: {error}"),
    })
}

#[test]
fn every_type_of_the_table_is_known() {
    for line in TYPES.lines().filter_map(|line| line.strip_prefix(' ')) {
        let ty = line.split(' ').nth(2).unwrap().rsplit(['=', ']', '}']).next().unwrap();
        let plain = ["string", "bool", "int", "int64", "int32", "float64", "bytes"];
        let known = plain.contains(&ty) || ty.starts_with('!') || named(ty).is_some();
        assert!(known, "{line}");
    }
}

#[rstest]
#[case(
    "v1.ConfigMap",
    r#"{"data":{"k":1}}"#,
    "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
)]
#[case(
    "v1.ConfigMap",
    r#"{"metadata":{"labels":"x"}}"#,
    "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string"
)]
#[case(
    "v1.ConfigMap",
    r#"{"metadata":[]}"#,
    "json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta"
)]
#[case(
    "v1.Pod",
    r#"{"spec":{"containers":{}}}"#,
    "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
)]
#[case(
    "v1.Pod",
    r#"{"spec":{"restartPolicy":true}}"#,
    "json: cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy"
)]
#[case(
    "v1.Pod",
    r#"{"spec":{"containers":[{"ports":[{"containerPort":1.5}]}]}}"#,
    "json: cannot unmarshal number 1.5 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32"
)]
#[case(
    "v1.Pod",
    r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#,
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
#[case("v1.Secret", r#"{"data":{"k":"***"}}"#, "illegal base64 data at input byte 0")]
#[case(
    "v1.Service",
    r#"{"spec":{"ports":[{"targetPort":[]}]}}"#,
    "json: cannot unmarshal array into Go struct field ServicePort.spec.ports.targetPort of type int32"
)]
fn what_does_not_fit_is_told_in_the_words_of_go(
    #[case] kind: &str,
    #[case] text: &str,
    #[case] problem: &str,
) {
    assert_eq!(decode(kind, text).unwrap_err(), problem);
}

#[test]
fn unknown_and_repeated_fields_are_named_in_their_order() {
    let text = r#"{"foo":1,"spec":{"containers":[{"name":"a","bar":{"x":1}}],"hostNetwork":true,"hostNetwork":false},"metadata":{"labels":{"a":"b","a":"c"}}}"#;
    let decoded = decode("v1.Pod", text).unwrap();
    assert_eq!(
        decoded.doubts,
        [
            "unknown field \"foo\"",
            "unknown field \"spec.containers[0].bar\"",
            "duplicate field \"spec.hostNetwork\"",
            "duplicate field \"metadata.labels.a\"",
        ]
    );
    assert_eq!(
        decoded.value,
        json!({"spec": {"containers": [{"name": "a"}], "hostNetwork": false}, "metadata": {"labels": {"a": "c"}}})
    );
}

#[test]
fn what_is_written_follows_from_the_type() {
    let mut claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"labels": {}}, "spec": {
        "accessModes": [], "resources": {"requests": {"storage": "1024Mi"}}, "volumeName": "",
    }});
    write(named("v1.PersistentVolumeClaim").unwrap(), &mut claim);
    assert_eq!(
        claim,
        json!({"kind": "PersistentVolumeClaim", "metadata": {}, "spec": {
            "resources": {"requests": {"storage": "1024Mi"}},
        }, "status": {}})
    );
    let mut role = json!({});
    write(named("rbac/v1.Role").unwrap(), &mut role);
    assert_eq!(role, json!({"metadata": {}, "rules": null}));
    let mut event = json!({"count": 0, "message": ""});
    write(named("v1.Event").unwrap(), &mut event);
    assert_eq!(event["firstTimestamp"], Value::Null);
    assert_eq!(event["involvedObject"], json!({}));
    assert!(event.get("count").is_none());
}

#[test]
fn quantities_and_times_are_brought_into_one_form() {
    let text = r#"{"metadata":{"deletionTimestamp":"2024-01-01T01:00:00.5+01:00"},"spec":{"resources":{"requests":{"storage":"1024Mi","cpu":0.5}}}}"#;
    let value = decode("v1.PersistentVolumeClaim", text).unwrap().value;
    assert_eq!(value["metadata"]["deletionTimestamp"], "2024-01-01T00:00:00Z");
    assert_eq!(value["spec"]["resources"]["requests"], json!({"storage": "1Gi", "cpu": "500m"}));
}

proptest! {
    #[test]
    fn anything_is_read_or_refused_and_writing_settles(
        text in "[\\[\\]{}:,\"a-z0-9. -]{0,40}",
        object in crate::schema::testing::any_json(),
    ) {
        for kind in ["v1.Pod", "apiextensions/v1.CustomResourceDefinition", "v1.Event"] {
            let _ = decode(kind, &text);
            let shape = named(kind).unwrap();
            if let Ok(mut decoded) = read(shape, &object) {
                write(shape, &mut decoded.value);
                let once = decoded.value.clone();
                write(shape, &mut decoded.value);
                prop_assert_eq!(&once, &decoded.value);
                let again = read(shape, &once);
                prop_assert!(again.is_ok_and(|again| again.doubts.is_empty()));
            }
        }
    }
}
