//! A push to a registry pins the workspaces whose owners agree, and ends nothing that is used.

use std::collections::BTreeMap;

use quartermaster_e2e::{Kube, LONG, Site, Up, within};
use reqwest::Method;
use serde_json::{Value, json};

use crate::program;

const WORKSPACE: &str = "/apis/kubeflow.org/v1beta1/namespaces/default/workspaces/box";
const KEY: &str = "correct-horse-battery-staple-02";

/// The files of the workspace say whether it is used.
const PROBE: &str = r#"
    activityProbe:
      probeIntervalSeconds: 1
      minProbeIntervalSeconds: 1
      podExec:
        script: |
          #!/bin/sh
          cp "$QUARTERMASTER_FILES_ROOT/activity" "$OUTPUT_JSON_PATH"
"#;

async fn says(up: &Up, activity: &Value) {
    let visit = up.open("box").await;
    let body = activity.to_string().into_bytes();
    let answer = visit.send(Method::PUT, "api/files/activity", body).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

/// What runs in the workspace, but for its probe.
fn programs(up: &Up) -> BTreeMap<u32, String> {
    let mut all = up.pods();
    all.retain(|_, command| command.ends_with(" files"));
    assert_eq!(all.len(), 1, "{all:?}");
    all
}

#[tokio::test]
async fn a_pushed_digest_waits_for_those_who_work() {
    let up = program().start().await;
    let kube = Kube::new(&up.program().dir().join("kubeconfig"));
    let kind = Site::Own.files_kind("watched").replacen(
        "\n    volumeMounts:",
        &format!("{PROBE}    volumeMounts:"),
        1,
    );
    up.create_kind(&kind).await.expect(201);
    up.create_workspace("box", "watched").await;
    up.wait_for_state("box", "Running", LONG).await;
    says(&up, &json!({"has_activity": true})).await;
    let agreed = json!({"metadata": {"annotations": {"quartermaster.io/auto-update": "true"}}});
    kube.merge(WORKSPACE, &agreed).await.expect(200);

    let spec = json!({"source": "ACR", "insecure": true,
        "targets": [{"type": "workspace", "action": "update", "auto": true}]});
    let path = up.hook("registry", KEY, spec).await;
    let digest = format!("sha256:{}", "0a".repeat(32));
    let pushed = json!({"action": "push", "request": {"host": "index.docker.io"}, "target": {
        "repository": "quartermaster/files", "tag": "latest", "digest": digest}});
    let url = format!("{}{path}", up.endpoints.hooks.as_deref().unwrap().trim_end_matches('/'));
    let answer = up.http.post(url).json(&pushed).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");

    let before = programs(&up);
    let pin = format!("quartermaster/files@{digest}");
    within(LONG, "the pin, waiting", async || {
        let workspace = kube.get(WORKSPACE).await.expect(200).json();
        let pinned = workspace["metadata"]["annotations"]["quartermaster.io/image-digest"] == *pin;
        (pinned && workspace["status"]["pendingRestart"] == true).then_some(())
    })
    .await;
    assert_eq!(programs(&up), before, "it is used");
    let pod = async || {
        let pods = kube.get("/api/v1/namespaces/default/pods").await.expect(200).json();
        pods["items"][0].clone()
    };
    assert_eq!(pod().await["spec"]["containers"][0]["image"], "quartermaster/files");

    says(&up, &json!({"last_activity": "2026-01-01T00:00:00Z"})).await;
    within(LONG, "what was pushed runs", async || {
        let image = pod().await["spec"]["containers"][0]["image"].clone();
        (image == *pin).then_some(())
    })
    .await;
    within(LONG, "nothing is left to do", async || {
        let workspace = kube.get(WORKSPACE).await.expect(200).json();
        let status = &workspace["status"];
        (status["state"] == "Running" && status["pendingRestart"] == false).then_some(())
    })
    .await;
    assert_ne!(programs(&up), before, "another process");
    let kept = up.open("box").await.send(Method::GET, "api/files/activity", Vec::new()).await;
    assert_eq!(kept.text, r#"{"last_activity":"2026-01-01T00:00:00Z"}"#, "its files");
}
