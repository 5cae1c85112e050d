//! What users and their programs get wrong, and what they are told.

use std::fmt::Write;

use http::StatusCode;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::harness::{Server, kind, workspace};

const CREATE: &str = "/api/v1/workspaces/team-a";
const KINDS: &str = "/api/v1/workspacekinds";

#[tokio::test]
async fn bodies_that_are_not_a_workspace() {
    let server = Server::start().await;
    let mut said = String::new();
    for (case, body) in [
        ("empty", ""),
        ("blank", " \n\t"),
        ("null", "null"),
        ("no data", "{}"),
        ("data null", r#"{"data":null}"#),
        ("not JSON", "name: x"),
        ("cut off", r#"{"data":{"name":"x""#),
        ("two documents", r#"{"data":{}} {"data":{}}"#),
        ("unknown field", r#"{"data":{"name":"x","colour":"red"}}"#),
        ("unknown field in the envelope", r#"{"data":{},"metadata":{}}"#),
        (
            "unknown field deep down",
            r#"{"data":{"podTemplate":{"volumes":{"data":[{"pvcName":"a","mode":1}]}}}}"#,
        ),
        ("wrong type", r#"{"data":{"name":7}}"#),
        ("wrong type deep down", r#"{"data":{"podTemplate":{"options":{"imageConfig":["a"]}}}}"#),
        (
            "number too large",
            r#"{"data":{"podTemplate":{"volumes":{"secrets":[{"defaultMode":99999999999}]}}}}"#,
        ),
        ("all missing", r#"{"data":{}}"#),
        ("nulls for everything", r#"{"data":{"name":null,"kind":null,"podTemplate":null}}"#),
    ] {
        let answer = server.post_text(CREATE, "application/json", body).await;
        let _ = writeln!(said, "{case}\n{}\n", answer.error());
    }
    assert_snapshot!(said);
}

#[tokio::test]
async fn bodies_that_try_to_hurt() {
    let server = Server::start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_field = format!(r#"{{"data":{{"name":{deep}}}}}"#);
    let answer = server.post_text(CREATE, "application/json", deep_field).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.show());
    let mut broken = br#"{"data":{"name":""#.to_vec();
    broken.extend_from_slice(&[0xff, 0xfe]);
    broken.extend_from_slice(br#""}}"#);
    let answer = server.post_text(CREATE, "application/json", broken).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.show());
    let twice = r#"{"data":{"name":"A","name":"twice","kind":"lab","podTemplate":
        {"options":{"imageConfig":"no","imageConfig":"lab_1","podConfig":"small"}}}}"#;
    let answer = server.post_text(CREATE, "application/json", twice).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
    let duplicates_then_unknown = r#"{"data":{"name":"a","name":"b","colour":"red"}}"#;
    let answer = server.post_text(CREATE, "application/json", duplicates_then_unknown).await;
    assert!(answer.error().contains("colour"), "{}", answer.show());
}

#[tokio::test]
async fn media_types() {
    let server = Server::start().await;
    let mut said = String::new();
    for media_type in [
        "application/json; charset=UTF-8",
        "APPLICATION/JSON",
        "application/merge-patch+json",
        "application/",
        "json",
        ";",
    ] {
        let answer = server.post_text(CREATE, media_type, "{}").await;
        let _ = writeln!(said, "{media_type}\n{}\n", answer.error());
    }
    assert_snapshot!(said);
}

#[tokio::test]
async fn workspaces_that_cannot_be() {
    let server = Server::start().await;
    server.make_workspace("taken").await;
    let secret = json!({"metadata": {"name": "locked"}});
    server.make::<k8s_openapi::api::core::v1::Secret>(Some("team-a"), secret).await;
    let with = |change: fn(&mut Value)| {
        let mut body = workspace("new");
        change(&mut body["data"]);
        body
    };
    let mut said = String::new();
    for (case, body) in [
        ("exists", workspace("taken")),
        ("64 characters", workspace(&"a".repeat(64))),
        ("a dot", workspace("a.b")),
        ("upper case", workspace("Lab")),
        ("unknown kind", with(|data| data["kind"] = json!("none"))),
        (
            "unknown options",
            with(|data| {
                data["podTemplate"]["options"] = json!({"imageConfig": "x", "podConfig": "y"});
            }),
        ),
        (
            "bad labels",
            with(|data| {
                data["podTemplate"]["podMetadata"] = json!({"labels": {"-a": "v", "b": "v v"}});
            }),
        ),
        (
            "mounts that are not there",
            with(|data| {
                data["podTemplate"]["volumes"] = json!({
                    "home": "none",
                    "data": [{"pvcName": "gone", "mountPath": "/d"}],
                    "secrets": [{"secretName": "locked", "mountPath": "/s"}],
                });
            }),
        ),
        ("empty home", with(|data| data["podTemplate"]["volumes"] = json!({"home": ""}))),
        ("display name too long", with(|data| data["displayName"] = json!("x".repeat(129)))),
    ] {
        let answer = server.post(CREATE, &body).await;
        let _ = writeln!(said, "{case}\n{}\n", answer.error());
    }
    let answer = server.post("/api/v1/workspaces/nowhere", &workspace("new")).await;
    let _ = writeln!(said, "namespace that does not exist\n{}\n", answer.error());
    assert_snapshot!(said);
}

#[tokio::test]
async fn paths_and_queries_that_cannot_be() {
    let server = Server::start().await;
    let mut said = String::new();
    let dots = format!("/api/v1/workspaces/{}/A_b", "n".repeat(64));
    for path in [
        "/api/v1/workspaces/Team",
        dots.as_str(),
        "/api/v1/workspaces/a/%ff",
        "/api/v1/workspaces/a/..%2f..",
        "/api/v1/workspaces//x",
        "/api/v1/workspaces/a/none",
        "/api/v1/workspacekinds/none",
        "/api/v1/workspacekinds?namespaceFilter=A",
        "/api/v1/storageclasses?namespace=A",
        "/api/v1/workspaces/a/b/podtemplate/logs/batch?container=A&tailLines=0&previous=yes&sinceTime=now",
    ] {
        let _ = writeln!(said, "{path}\n{}\n", server.get(path).await.error());
    }
    let answer = server.get("/api/v1/workspaces/nowhere").await;
    let _ = writeln!(said, "unknown namespace\n{}\n", answer.text());
    assert_snapshot!(said);
}

#[tokio::test]
async fn claims_that_cannot_be() {
    let server = Server::start().await;
    let locked = json!({"metadata": {"name": "locked"}, "provisioner": "x"});
    server.make::<k8s_openapi::api::storage::v1::StorageClass>(None, locked).await;
    let claim = |class: &str, storage: &str| {
        json!({"data": {
            "name": "c",
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "requests": {"storage": storage},
        }})
    };
    let path = "/api/v1/persistentvolumeclaims/team-a";
    let mut said = String::new();
    for (case, body) in [
        ("nothing", json!({"data": {}})),
        ("not a quantity", claim("standard", "much")),
        ("unknown class", claim("none", "1Gi")),
        ("class not released", claim("locked", "1Gi")),
    ] {
        let _ = writeln!(said, "{case}\n{}\n", server.post(path, &body).await.error());
    }
    let made = server.post(path, &claim("standard", "1Gi")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.show());
    let again = server.post(path, &claim("standard", "1Gi")).await;
    let _ = writeln!(said, "exists\n{}\n", again.error());
    let foreign = json!({
        "metadata": {"name": "foreign"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    server.make::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(Some("team-a"), foreign).await;
    let answer = server.delete(&format!("{path}/foreign")).await;
    let _ = writeln!(said, "delete without can-update\n{}\n", answer.error());
    let answer = server.delete(&format!("{path}/none")).await;
    let _ = writeln!(said, "delete nothing\n{}\n", answer.error());
    assert_snapshot!(said);
}

#[tokio::test]
async fn manifests_that_are_not_a_kind() {
    let server = Server::start().await;
    let changed = |change: fn(&mut Value)| {
        let mut kind = kind("new");
        change(&mut kind);
        kind.to_string()
    };
    let bomb = {
        let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let alias = format!("*a{}", level - 1);
            let _ = writeln!(yaml, "a{level}: &a{level} [{}]", [alias.as_str(); 10].join(", "));
        }
        yaml
    };
    let mut said = String::new();
    for (case, body) in [
        ("empty", String::new()),
        ("empty object", "{}".to_owned()),
        ("a list", "[1]".to_owned()),
        ("not YAML", "a: b: c".to_owned()),
        ("another type", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}".to_owned()),
        (
            "no spec",
            "apiVersion: kubeflow.org/v1beta1\nkind: WorkspaceKind\nmetadata: {name: x}".to_owned(),
        ),
        (
            "a key twice",
            "apiVersion: kubeflow.org/v1beta1\nkind: WorkspaceKind\nkind: WorkspaceKind".to_owned(),
        ),
        (
            "unknown fields",
            changed(|kind| {
                kind["extra"] = json!(1);
                kind["spec"]["spawner"]["colour"] = json!("red");
                kind["spec"]["podTemplate"]["ports"][0]["number"] = json!(1);
                kind["spec"]["podTemplate"]["extraEnv"][0]["valueForm"] = json!({});
            }),
        ),
        ("wrong type", changed(|kind| kind["spec"]["spawner"]["hidden"] = json!("maybe"))),
        (
            "field missing",
            changed(|kind| {
                kind["spec"]["spawner"].as_object_mut().unwrap().remove("displayName");
            }),
        ),
        (
            "against the schema",
            changed(|kind| {
                kind["spec"]["spawner"]["displayName"] = json!("x");
                kind["spec"]["spawner"]["icon"] = json!({});
            }),
        ),
        (
            "against the rules",
            changed(|kind| {
                let options = &mut kind["spec"]["podTemplate"]["options"];
                options["imageConfig"]["spawner"]["default"] = json!("none");
                options["imageConfig"]["values"][0]["redirect"]["to"] = json!("lab_0");
                kind["spec"]["podTemplate"]["extraEnv"][0]["value"] = json!("{{ nothing }}");
            }),
        ),
        ("name", changed(|kind| kind["metadata"]["name"] = json!("A"))),
        ("exists", kind("lab").to_string()),
    ] {
        let answer = server.post_text(KINDS, "application/yaml", body).await;
        let _ = writeln!(said, "{case}\n{}\n", answer.error());
    }
    assert_snapshot!(said);
    for (case, body) in [
        ("alias bomb", bomb),
        ("deep", format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000))),
        ("deep blocks", (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
    ] {
        let answer = server.post_text(KINDS, "application/yaml", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}: {}", answer.show());
        assert!(answer.text().len() < 2000, "{case}");
    }
    let answer = server.post_text(KINDS, "application/yaml", vec![0xff, 0xfe]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.show());
}
