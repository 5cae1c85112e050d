//! Two replicas on one cluster: both serve, one controls, and the other goes on when it is gone.

use std::time::{Duration, Instant};

use quartermaster_e2e::{Api, LONG, Program, Site, Up, binary, within};
use serde_json::Value;

const CONFIG: &str = "auth: {mode: local}\ncontroller: {lease: {durationSeconds: 6}}\n";
const LEASE: Duration = Duration::from_secs(6);

async fn replica(api: &Api) -> Up {
    let kubeconfig = api.kubeconfig.to_str().unwrap_or_default();
    let program = Program::new(binary()).env("KUBECONFIG", kubeconfig);
    program.serve_with("kubeconfig", CONFIG).arg("--log").arg("info").start().await
}

fn leads(replica: &Up) -> bool {
    replica.printed().contains(" leading ")
}

/// Who holds the leases of the namespace in which the replicas have theirs.
async fn holders(api: &Api) -> Vec<Value> {
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let leases = api.kube().get(path).await.expect(200).json();
    let leases = leases["items"].as_array().into_iter().flatten();
    let holders: Vec<_> = leases.map(|one| one["spec"]["holderIdentity"].clone()).collect();
    assert!(!holders.is_empty(), "no lease in the namespace");
    holders
}

#[tokio::test]
async fn one_controls_and_the_other_follows() {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    let (first, second) = (replica(&api).await, replica(&api).await);
    within(LONG, "a leader", async || (leads(&first) || leads(&second)).then_some(())).await;
    within(LONG, "one that stands by", async || {
        let waits = |replica: &Up| replica.printed().contains("standing by");
        (waits(&first) != waits(&second)).then_some(())
    })
    .await;
    let (leader, other) = if leads(&first) { (first, second) } else { (second, first) };
    assert!(!leads(&other), "two lead");

    // Whoever is asked, the leader makes it run.
    other.create_kind(&site.files_kind("replicas")).await.expect(201);
    other.create_workspace("by-first", "replicas").await;
    other.wait_for_state("by-first", "Running", LONG).await;
    leader.wait_for_state("by-first", "Running", LONG).await;

    // Without a word: the other takes over when the lease has run out.
    let killed = Instant::now();
    leader.kill().await;
    other.create_workspace("by-second", "replicas").await;
    within(LONG, "the other leads", async || leads(&other).then_some(())).await;
    assert!(killed.elapsed() >= LEASE / 2, "it must not lead before the lease has run out");
    other.wait_for_state("by-second", "Running", LONG).await;

    // With a word: at once.
    let third = replica(&api).await;
    within(LONG, "the third stands by", async || {
        third.printed().contains("standing by").then_some(())
    })
    .await;
    let held = holders(&api).await;
    let (status, leader) = other.stop().await;
    assert!(status.success(), "{status}");
    drop(leader);
    assert_ne!(holders(&api).await, held, "it must not end before it has given the lease back");
    within(LONG, "the third leads", async || leads(&third).then_some(())).await;
    for name in ["by-first", "by-second"] {
        third.delete(&format!("/workspaces/default/{name}")).await.expect(204);
        within(LONG, "it is gone", async || third.workspace(name).await.is_none().then_some(()))
            .await;
        third.delete_home(&format!("{name}-home")).await;
    }
    within(LONG, "the kind goes when nobody uses it", async || {
        let status = third.delete("/workspacekinds/replicas").await.status;
        (status == 404).then_some(())
    })
    .await;
}
