//! Workspaces that are told because their image was pushed.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{KEY, World, kind};

const VERSION: &str = "kubeflow.org/v1beta1";

/// Makes the kinds, one kind of workspaces with two images, and workspaces with these options.
async fn workspaces(world: &World, options: &[(&str, &str)]) -> Api<DynamicObject> {
    let crd = json!({
        "metadata": {"name": "workspacekinds.kubeflow.org"},
        "spec": {"group": "kubeflow.org", "scope": "Cluster",
            "names": {"kind": "WorkspaceKind", "plural": "workspacekinds",
                "singular": "workspacekind"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema":
                {"openAPIV3Schema": {"type": "object", "properties": {"spec":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]},
    });
    let crd = serde_json::from_value(crd).unwrap();
    cluster::crds::install(&world.client, vec![crd]).await.unwrap();
    let gvk = GroupVersionKind::gvk("kubeflow.org", "v1beta1", "WorkspaceKind");
    let kinds: Api<DynamicObject> =
        Api::all_with(world.client.clone(), &ApiResource::from_gvk(&gvk));
    let value = |id: &str, image: &str| json!({"id": id, "spec": {"image": image}});
    let values = [
        value("nb", "reg.example.com/nb:1"),
        value("hub", "docker.io/library/nb"),
        value("vs", "reg.example.com/vs:1"),
    ];
    let one = json!({"apiVersion": VERSION, "kind": "WorkspaceKind", "metadata": {"name": "k"},
        "spec": {"podTemplate": {"options": {"imageConfig": {"values": values}}}}});
    kinds.create(&PostParams::default(), &serde_json::from_value(one).unwrap()).await.unwrap();
    let api = kind(&world.client, VERSION, "Workspace", "workspaces").await;
    for (name, option) in options {
        let one = json!({"apiVersion": VERSION, "kind": "Workspace", "metadata": {"name": name},
            "spec": {"kind": if *option == "lost" { "lost" } else { "k" }, "paused": false,
                "podTemplate": {"options": {"imageConfig": option}}}});
        api.create(&PostParams::default(), &serde_json::from_value(one).unwrap()).await.unwrap();
    }
    api
}

/// Has a registry say that an image was pushed; gives the status.
async fn pushed(world: &World, host: &str, tag: &str, digest: Option<&str>) -> u16 {
    let target = json!({"repository": "nb", "tag": tag, "digest": digest});
    let body = json!({"action": "push", "target": target, "request": {"host": host}});
    world.post(KEY, "", &body.to_string()).await
}

fn hook(targets: Value) -> Value {
    json!({"source": "ACR", "insecure": true, "secretRef": {"name": "code"},
        "delivery": {"ack": "downstream"}, "targets": targets})
}

#[tokio::test]
async fn workspaces_are_found_by_their_image() {
    let world = World::new().await;
    let all = [("one", "nb"), ("hub", "hub"), ("two", "vs"), ("odd", "none"), ("lost", "lost")];
    let api = workspaces(&world, &all).await;
    let paused = async || {
        let mut names = Vec::new();
        for (name, _) in all {
            if api.get(name).await.unwrap().data["spec"]["paused"] == json!(true) {
                names.push(name);
            }
        }
        names
    };
    world.secret("code", KEY).await;
    let target = |name: &str, action: &str, filter: &[&str]| {
        json!({"name": name, "type": "workspace", "action": action, "auto": true,
            "tagFilter": filter})
    };
    for (name, target) in [
        ("start", json!({"type": "workspace", "action": "start"})),
        (
            "named",
            json!({"type": "workspace", "action": "start", "tagFilter": ["*"],
            "resources": [{"kind": "Workspace", "name": "one"}]}),
        ),
    ] {
        world.hook(name, hook(json!([target]))).await;
        world.until(name, "InvalidSpec").await;
    }
    let targets = json!([target("pause", "pause", &[]), target("start", "start", &["go-*"])]);
    world.hook("code", hook(targets)).await;
    world.until("code", "Serving").await;
    let none: [&str; 0] = [];
    assert_eq!(pushed(&world, "reg.example.com", "2", None).await, 200);
    assert_eq!(pushed(&world, "other.example.com", "1", None).await, 200);
    assert_eq!(paused().await, none, "another tag, another registry");
    assert_eq!(pushed(&world, "reg.example.com", "1", None).await, 200);
    assert_eq!(paused().await, ["one"]);
    assert_eq!(pushed(&world, "index.docker.io", "latest", None).await, 200);
    assert_eq!(paused().await, ["one", "hub"]);
    assert_eq!(pushed(&world, "reg.example.com", "go-1", None).await, 200);
    assert_eq!(paused().await, ["hub"]);
    world.end().await;
}

#[tokio::test]
async fn workspaces_are_pinned_if_their_owners_agree() {
    let world = World::new().await;
    let api = workspaces(&world, &[("yes", "nb"), ("no", "nb"), ("other", "vs")]).await;
    for (name, agreed) in [("yes", "true"), ("no", "false"), ("other", "true")] {
        let agreed = json!({"metadata": {"annotations": {"quartermaster.io/auto-update": agreed}}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(agreed)).await.unwrap();
    }
    let pins = async || {
        let mut pins = Vec::new();
        for name in ["yes", "no", "other"] {
            let annotations = api.get(name).await.unwrap().metadata.annotations.unwrap();
            pins.push(annotations.get("quartermaster.io/image-digest").cloned());
        }
        pins
    };
    world.secret("code", KEY).await;
    let resources = json!([{"kind": "Workspace", "name": "yes"}, {"kind": "Workspace", "name": "no"},
        {"kind": "Workspace", "name": "other"}]);
    let spec = hook(json!([{"type": "workspace", "action": "update", "resources": resources}]));
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    let host = "reg.example.com";
    let digests = ["0a", "1b"].map(|byte| format!("sha256:{}", byte.repeat(32)));
    let pin = |digest: &str| Some(format!("{host}/nb:1@{digest}"));
    // Nobody can be pinned to these, or runs that; registries are not told of failures.
    assert_eq!(pushed(&world, host, "1", None).await, 200);
    assert_eq!(pushed(&world, host, "1", Some("sha256:00")).await, 200);
    assert_eq!(pushed(&world, host, "2", Some(&digests[0])).await, 200);
    assert_eq!(pins().await, [None, None, None]);
    for digest in &digests {
        assert_eq!(pushed(&world, host, "1", Some(digest)).await, 200);
        assert_eq!(pins().await, [pin(digest), None, None]);
    }
    assert_eq!(pushed(&world, host, "1", Some(&digests[0])).await, 409, "an old one is no news");
    assert_eq!(pins().await, [pin(&digests[1]), None, None]);
    world.end().await;
}
