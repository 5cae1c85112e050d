//! A Kubernetes API that goes away: what is known is served, changes are refused, and all goes on
//! when it is back.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use quartermaster_e2e::{Answer, LONG, Program, Relay, Site, Tree, Up, Way, binary, within};
use serde_json::json;

const KIND: &str = "outage";
const NAME: &str = "outage-box";

/// How long the API is away: a minute, in which every timer goes off a few times.
fn outage() -> Duration {
    let seconds = std::env::var("QUARTERMASTER_OUTAGE_SECONDS");
    Duration::from_secs(seconds.map_or(60, |seconds| seconds.parse().unwrap()))
}

async fn ready(up: &Up) -> Answer {
    let url = format!("{}/readyz", up.endpoints.ops.trim_end_matches('/'));
    Answer::of(up.http.get(url).send().await.unwrap()).await
}

fn claim(name: &str) -> serde_json::Value {
    json!({"data": {
        "name": name, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
        "requests": {"storage": "1Gi"},
    }})
}

/// Everything that is read from memory.
async fn reads(up: &Up) -> Vec<String> {
    let mut answers = Vec::new();
    for path in [
        "/workspaces",
        "/workspaces/default",
        &format!("/workspaces/default/{NAME}"),
        &format!("/workspaces/default/{NAME}/podtemplate/details"),
        "/workspacekinds",
        &format!("/workspacekinds/{KIND}"),
        "/namespaces",
        "/storageclasses",
        "/persistentvolumeclaims/default",
    ] {
        answers.push(up.get(path).await.expect(200).text);
    }
    answers
}

#[tokio::test]
async fn an_api_that_is_away_and_comes_back() {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    let relay = Relay::to(api.address).await;
    let kubeconfig = api.by_way_of(relay.address);
    let program = Program::new(binary()).env("KUBECONFIG", kubeconfig.to_str().unwrap());
    let up = program.serve("kubeconfig").start().await;
    up.create_kind(&site.files_kind(KIND)).await.expect(201);
    up.create_workspace(NAME, KIND).await;
    up.wait_for_state(NAME, "Running", LONG).await;
    for way in [Way::Closed, Way::Stuck] {
        away(&up, &relay, way).await;
        relay.set(Way::Open);
        back(&up).await;
    }
    assert!(!up.printed().contains("panicked"), "{}", up.printed());

    clean(&up).await;
}

#[tokio::test]
async fn an_api_server_that_is_killed_and_started() {
    let site = Site::of_this_run();
    let mut api = site.api(Program::new(binary())).await;
    let up = api.serve(Program::new(binary())).start().await;
    up.create_kind(&site.files_kind(KIND)).await.expect(201);
    up.create_workspace(NAME, KIND).await;
    up.wait_for_state(NAME, "Running", LONG).await;
    let before = reads(&up).await;
    for _ in 0..2 {
        api.kill().await;
        within(LONG, "readiness tells", async || (ready(&up).await.status == 503).then_some(()))
            .await;
        assert_eq!(reads(&up).await[2], before[2], "what is known is served");
        up.post("/persistentvolumeclaims/default", claim("never")).await.expect(503);
        api.start().await;
        within(LONG, "ready again", async || (ready(&up).await.status == 200).then_some(())).await;
    }
    up.wait_for_state(NAME, "Running", LONG).await;
    back(&up).await;
    assert!(!up.printed().contains("panicked"), "{}", up.printed());
    clean(&up).await;
}

/// While it is away.
async fn away(up: &Up, relay: &Relay, way: Way) {
    ready(up).await.expect(200);
    let settled = within(LONG, "a state that stays", async || {
        let (one, two) = (reads(up).await, reads(up).await);
        (one == two).then_some(one)
    })
    .await;
    relay.set(way);
    within(LONG, "readiness tells", async || {
        let answer = ready(up).await;
        let tells = answer.status == 503 && answer.text.contains("Kubernetes API");
        tells.then_some(())
    })
    .await;
    let (before, connections) = (Tree::of(up.endpoints.pid), relay.connections());
    let end = tokio::time::Instant::now() + outage();
    while tokio::time::Instant::now() < end {
        assert_eq!(reads(up).await, settled, "{way:?}: what is known is served");
        let refused = up.post("/persistentvolumeclaims/default", claim("never")).await;
        let refused = refused.expect(503);
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        assert!(refused.text.contains("Kubernetes API"), "{refused:?}");
        up.pause(NAME, true).await.expect(503);
        up.delete(&format!("/workspaces/default/{NAME}")).await.expect(503);
        // What the program does in between on its own account is measured below.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = Tree::of(up.endpoints.pid);
    let rounds = u32::try_from(outage().as_secs()).unwrap();
    let (cpu, attempts) = (after.cpu - before.cpu, relay.connections() - connections);
    assert!(cpu < Duration::from_millis(250) * rounds, "{way:?}: busy while waiting: {cpu:?}");
    assert!(attempts < 40 * rounds as usize, "{way:?}: {attempts} connections");
    let grown = after.resident.saturating_sub(before.resident);
    assert!(grown < 64 << 20, "{way:?}: memory grew by {grown}");
}

/// When it is back: everything works, the controller included.
async fn back(up: &Up) {
    within(LONG, "ready again", async || (ready(up).await.status == 200).then_some(())).await;
    within(LONG, "changes are taken again", async || {
        let answer = up.post("/persistentvolumeclaims/default", claim("after")).await;
        (answer.status == 201).then_some(())
    })
    .await;
    up.delete_home("after").await;
    up.pause(NAME, true).await.expect(200);
    up.wait_for_state(NAME, "Paused", LONG).await;
    up.pause(NAME, false).await.expect(200);
    up.wait_for_state(NAME, "Running", LONG).await;
}

async fn clean(up: &Up) {
    up.delete(&format!("/workspaces/default/{NAME}")).await.expect(204);
    within(LONG, "it is gone", async || up.workspace(NAME).await.is_none().then_some(())).await;
    up.delete_home(&format!("{NAME}-home")).await;
    within(LONG, "the kind goes", async || {
        let status = up.delete(&format!("/workspacekinds/{KIND}")).await.status;
        (status == 404).then_some(())
    })
    .await;
}
