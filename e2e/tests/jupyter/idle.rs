//! Workspaces that nobody uses: warned about and paused; those in use, asked for or not understood
//! are kept. The times are the shortest that the definition allows.

use std::{cell::Cell, time::Instant};

use quartermaster_e2e::{Kube, LONG, Program, Site, Up, binary, skip, within};
use reqwest::Method;
use serde_json::{Value, json};

use crate::lab::{Jupyter, Running, new_kernel, opened};

/// After so long without use a workspace is paused; 16 is the least.
const IDLE_SECONDS: i64 = 24;

/// Tells that it is used, until a file in the home breaks it.
const SCRIPT: &str = r#"#!/bin/sh
[ -e "$HOME/broken" ] && exit 7
echo '{"has_activity": true}' > "$OUTPUT_JSON_PATH"
"#;

#[tokio::test]
async fn what_nobody_uses_is_paused_and_all_else_is_kept() {
    let Some(jupyter) = Jupyter::installed() else {
        return skip("what_nobody_uses_is_paused_and_all_else_is_kept", "JupyterLab is missing");
    };
    let site = Site::of_this_run();
    let up = site.start(Program::new(binary()).env("PATH", jupyter.path())).await;
    for (workspace, kind) in [("quiet", "lab"), ("busy", "lab"), ("broken", "scripted")] {
        let answer = up.create_kind(&site.jupyter_kind(kind, &jupyter.programs)).await;
        assert!(matches!(answer.status.as_u16(), 201 | 409), "{answer:?}");
        up.create_workspace(workspace, kind).await;
        // One after the other: they are slow starters, and slower beside each other.
        up.wait_for_state(workspace, "Running", LONG).await;
    }
    let lab = opened(&up, "busy").await;
    let kernel = new_kernel(&lab).await;
    let mut cell = Running::start(&lab, &kernel, "import time; time.sleep(3600)").await;
    let is_busy = |said: &Value| (said["content"]["execution_state"] == "busy").then_some(());
    cell.until(is_busy).await;
    // As if its page were closed: the cell goes on.
    drop(cell);
    let broken = opened(&up, "broken").await;

    keep(&up, "quiet").await;
    let probe = json!({"jupyter": {"lastActivity": true, "portId": "lab"}});
    pause_idle(&up, "lab", probe).await;
    pause_idle(&up, "scripted", json!({"podExec": {"script": SCRIPT}})).await;
    within(LONG, "the script tells", async || succeeded(&up, "broken").await.then_some(())).await;
    let file = json!({"type": "file", "format": "text", "content": ""}).to_string();
    broken.send(Method::PUT, "api/contents/broken", file.into_bytes()).await.expect(201);

    all_are_kept(&up).await;

    // Nobody asks any more.
    up.wait_for_state("quiet", "Paused", LONG).await;
    let kube = site.kube(&up);
    let told = events(&kube, "quiet").await;
    for (reason, part) in [("PauseSoon", "will be paused at"), ("IdlePaused", "was not used since")]
    {
        let tells = |event: &(String, String)| event.0 == reason && event.1.contains(part);
        assert!(told.iter().any(tells), "no {reason}: {told:?}");
    }
    for name in ["busy", "broken"] {
        assert_eq!(up.workspace(name).await.unwrap()["paused"], false, "{name}");
    }
    let told = events(&kube, "broken").await;
    assert!(told.iter().any(|(reason, _)| reason == "ActivityProbeFailed"), "{told:?}");
    metrics(&up).await;

    let dir = up.program().dir().to_owned();
    for name in ["quiet", "busy", "broken"] {
        up.delete(&format!("/workspaces/default/{name}")).await.expect(204);
    }
    site.nothing_runs(&dir).await;
}

/// Waits until each has outlived the time after which it would be paused, each for its own reason;
/// one of them is asked for all the while.
async fn all_are_kept(up: &Up) {
    let asked = Cell::new(None::<Instant>);
    let used_at_first = Cell::new(None);
    within(LONG, "all outlive their time", async || {
        // Long before its warning, and not with each look.
        if asked.get().is_none_or(|asked| asked.elapsed().as_secs() >= 4) {
            keep(up, "quiet").await;
            asked.set(Some(Instant::now()));
        }
        for name in ["quiet", "busy", "broken"] {
            let item = up.workspace(name).await.unwrap();
            assert_eq!(item["paused"], false, "{item}");
        }
        let quiet = look(up, "quiet").await;
        let busy = look(up, "busy").await;
        let broken = look(up, "broken").await;
        told(&[&quiet, &busy, &broken]);
        let kept = quiet.result == "Success" && quiet.idle() > IDLE_SECONDS;
        if busy.result == "Success" {
            used_at_first.set(used_at_first.get().or(Some(busy.used)));
        }
        let used = used_at_first.get().is_some_and(|first| busy.used > first + IDLE_SECONDS * 1000);
        let script = "PodExec probe failed: the script ended with exit code 7";
        let unsure = broken.said == script && broken.idle() > IDLE_SECONDS;
        if !(kept && used && unsure) {
            return None;
        }
        assert!(broken.state.contains("not paused while its activity probe fails"), "{broken:?}");
        Some(())
    })
    .await;
}

/// Shown if the test fails.
#[expect(clippy::print_stdout, reason = "libtest keeps it for those that fail")]
fn told(looks: &[&Look]) {
    println!("{looks:?}");
}

/// What is known about the use of a workspace; times in ms since 1970.
#[derive(Debug)]
struct Look {
    used: i64,
    probed: i64,
    result: String,
    said: String,
    state: String,
}

impl Look {
    /// For how many seconds it was idle at its last probe.
    fn idle(&self) -> i64 {
        (self.probed - self.used) / 1000
    }
}

async fn look(up: &Up, name: &str) -> Look {
    let item = up.workspace(name).await.unwrap();
    let (activity, text) = (&item["activity"], |value: &Value| value.as_str().map(str::to_owned));
    Look {
        used: activity["lastActivity"].as_i64().unwrap(),
        probed: activity["lastProbe"]["startTime"].as_i64().unwrap_or(0),
        result: text(&activity["lastProbe"]["result"]).unwrap_or_default(),
        said: text(&activity["lastProbe"]["message"]).unwrap_or_default(),
        state: text(&item["stateMessage"]).unwrap(),
    }
}

async fn succeeded(up: &Up, name: &str) -> bool {
    look(up, name).await.result == "Success"
}

/// Asks to keep a workspace, as a button does.
async fn keep(up: &Up, name: &str) {
    let path = format!("/workspaces/default/{name}/actions/keepalive");
    up.post(&path, json!({"data": {}})).await.expect(200);
}

/// From now on the workspaces of a kind are probed every second and paused.
async fn pause_idle(up: &Up, kind: &str, probe: Value) {
    let path = format!("/workspacekinds/{kind}");
    within(LONG, "the kind is changed", async || {
        let mut kind = up.get(&path).await.expect(200).json();
        let mut probe = probe.clone();
        probe["probeIntervalSeconds"] = json!(1);
        probe["minProbeIntervalSeconds"] = json!(1);
        kind["data"]["podTemplate"]["activityProbe"] = probe;
        kind["data"]["activityRules"] = json!([{
            "config": {"secondsSinceActive": IDLE_SECONDS}, "effect": {"pauseWorkspace": true},
        }]);
        let answer = up.api(Method::PUT, &path, Some(kind)).await;
        // The controller writes it too: how many workspaces it has.
        assert!(matches!(answer.status.as_u16(), 200 | 409), "{answer:?}");
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Reason and message of the events about a workspace.
async fn events(kube: &Kube, workspace: &str) -> Vec<(String, String)> {
    let list = kube.get("/api/v1/namespaces/default/events").await.expect(200).json();
    let about = list["items"].as_array().unwrap().iter().filter(|event| {
        let object = &event["involvedObject"];
        object["kind"] == "Workspace" && object["name"] == workspace
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    about.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
}

async fn metrics(up: &Up) {
    let url = format!("{}/metrics", up.endpoints.ops.trim_end_matches('/'));
    let text = up.http.get(url).send().await.unwrap().text().await.unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("qm_controller_")).collect();
    assert!(lines.contains(&"qm_controller_idle_pauses_total 1"), "{lines:?}");
    for (probe, result) in [("Jupyter", "Success"), ("PodExec", "Success"), ("PodExec", "Failure")]
    {
        let counted = |line: &&&str| {
            line.starts_with("qm_controller_activity_probes_total")
                && line.contains(&format!("probe=\"{probe}\""))
                && line.contains(&format!("result=\"{result}\""))
        };
        let line = lines.iter().find(counted);
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count > 0), "{probe} {result}: {lines:?}");
    }
}
