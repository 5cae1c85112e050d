//! Two replicas of `as workspaces-controller` in the place of the original, on a real API server: one
//! of them works, the API server asks the other one's webhooks, and each can do without the other.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use quartermaster_e2e::{
    Answer, Kube, LONG, Program, SHORT, Site, Watch, binary, http_client, skip, within,
};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Child;

const NAME: &str = "controlled";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const KINDS: &str = "/apis/kubeflow.org/v1beta1/workspacekinds";
const WORKSPACES: &str = "/apis/kubeflow.org/v1beta1/namespaces/default/workspaces";
const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/default/leases/kubeflow-workspace-controller";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/\
    validatingwebhookconfigurations/workspaces-validating-webhook-configuration";

struct Replica {
    child: Child,
    log: PathBuf,
    _program: Program,
}

impl Replica {
    async fn start(kubeconfig: &Path, webhooks: bool, flags: &[&str]) -> Self {
        let webhooks = if webhooks { "true" } else { "false" };
        let program = Program::new(binary()).env("ENABLE_WEBHOOKS", webhooks);
        let args = ["as", "workspaces-controller", "--leader-elect"];
        let args: Vec<&str> = args.iter().chain(flags).copied().collect();
        let log = program.scratch().join("controller.log");
        let output = File::create(&log).unwrap();
        let mut command = program.command(&args);
        command.env("KUBECONFIG", kubeconfig);
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap();
        let mut replica = Self { child, log, _program: program };
        within(LONG, "the controller starts", || {
            let ended = replica.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", replica.printed());
            let started = replica.printed().contains("Controlling the workspaces");
            std::future::ready(started.then_some(()))
        })
        .await;
        replica
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where it says that it serves this.
    fn url(&self, what: &str) -> String {
        let printed = self.printed();
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(what));
        line.unwrap().trim().to_owned()
    }

    async fn stop(mut self) -> ExitStatus {
        Watch::new(self.child.id().unwrap()).unwrap().signal(Signal::TERM);
        tokio::time::timeout(SHORT, self.child.wait()).await.unwrap().unwrap()
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

async fn install_definitions(kube: &Kube) {
    for name in ["workspaces.kubeflow.org", "workspacekinds.kubeflow.org"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        kube.create(DEFINITIONS, &yaml(&text)).await;
        within(LONG, "the definition is served", async || {
            let live = kube.get(&format!("{DEFINITIONS}/{name}")).await.expect(200).json();
            let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let established = |c: &Value| c["type"] == "Established" && c["status"] == "True";
            conditions.iter().any(established).then_some(())
        })
        .await;
    }
}

async fn holder(kube: &Kube) -> Option<String> {
    let lease = kube.get(LEASE).await;
    let holder = lease.json()["spec"]["holderIdentity"].as_str().map(str::to_owned);
    holder.filter(|holder| !holder.is_empty())
}

fn workspace(image: &str) -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {"kind": NAME, "paused": true, "podTemplate": {
            "volumes": {}, "options": {"imageConfig": image, "podConfig": "small"}}},
    })
}

/// What the API server says about a write; again while it does not know of the webhooks.
async fn said(kube: &Kube, method: Method, path: &str, object: &Value) -> Answer {
    within(LONG, "the webhooks are asked", async || {
        let answer = kube.send(method.clone(), path, Some(object)).await;
        (!answer.text.contains("failed calling webhook")).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn two_replicas_share_the_work() {
    let site = Site::of_this_run();
    let Site::Cluster { kubeconfig } = &site else {
        return skip("two_replicas_share_the_work", "there is no real cluster");
    };
    let kubeconfig = Path::new(kubeconfig);
    let kube = Kube::new(kubeconfig);
    install_definitions(&kube).await;
    let own = ["--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0"];
    let flags = [&own[..], &["--webhook-url=https://127.0.0.1:9443"]].concat();
    let first = Replica::start(kubeconfig, true, &flags).await;
    let leader = within(LONG, "somebody leads", async || holder(&kube).await).await;
    let second = Replica::start(kubeconfig, false, &own).await;

    within(LONG, "the configuration is there", async || {
        (kube.get(CONFIGURATION).await.status == 200).then_some(())
    })
    .await;
    let kind = site.files_kind(NAME);
    let wrong = yaml(&kind.replace("spawner: {default: only}", "spawner: {default: none}"));
    let refused = said(&kube, Method::POST, KINDS, &wrong).await.expect(422).json();
    let causes = &refused["details"]["causes"];
    assert_eq!(causes[0]["field"], "spec.podTemplate.options.imageConfig.spawner.default");
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with("admission webhook \"vworkspacekind.kb.io\" denied"), "{message}");
    said(&kube, Method::POST, KINDS, &yaml(&kind)).await.expect(201);
    let refused = said(&kube, Method::POST, WORKSPACES, &workspace("none")).await.expect(422);
    assert!(refused.text.contains("imageConfig with id"), "{refused:?}");
    said(&kube, Method::POST, WORKSPACES, &workspace("only")).await.expect(201);
    let path = format!("{WORKSPACES}/{NAME}");
    within(LONG, "it is controlled", async || {
        let live = kube.get(&path).await.expect(200).json();
        (live["status"]["state"] == "Paused").then_some(())
    })
    .await;

    for replica in [&first, &second] {
        let http = http_client().build().unwrap();
        let get = async |url: String| Answer::of(http.get(url).send().await.unwrap()).await;
        let probes = replica.url("Probes");
        get(format!("{probes}/healthz")).await.expect(200);
        within(LONG, "it is ready", async || {
            (get(format!("{probes}/readyz")).await.status == 200).then_some(())
        })
        .await;
        let metrics = get(format!("{}/metrics", replica.url("Metrics"))).await.expect(200).text;
        assert!(metrics.contains("qm_workspace_start_seconds"), "{metrics}");
    }

    assert!(first.stop().await.success());
    within(LONG, "the other one leads", async || {
        holder(&kube).await.filter(|holder| *holder != leader)
    })
    .await;
    // Without the webhooks nothing passes that they are to be asked about.
    let mut running = kube.get(&path).await.expect(200).json();
    running["spec"]["paused"] = json!(false);
    let answer = kube.send(Method::PUT, &path, Some(&running)).await.expect(500);
    assert!(answer.text.contains("failed calling webhook"), "{answer:?}");
    kube.delete(CONFIGURATION).await;
    within(LONG, "it may run", async || {
        let answer = kube.send(Method::PUT, &path, Some(&running)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    within(LONG, "the other one works", async || {
        let sets = kube.get(sets).await.expect(200).json();
        let sets = sets["items"].as_array().cloned().unwrap_or_default();
        sets.iter().any(|set| set["spec"]["replicas"] == 1).then_some(())
    })
    .await;
    assert!(second.stop().await.success());
    assert_eq!(holder(&kube).await, None, "it was given back");

    let api = site.api(Program::new(binary())).await;
    with_the_rights_of_the_original(&kube, &api.acting_as(ORIGINAL)).await;
}

/// Somebody who may do what the original may do, and nothing else.
const ORIGINAL: &str = "original";

/// The rules of the contract, word for word.
async fn grant(kube: &Kube) {
    let all = json!(["create", "delete", "get", "list", "patch", "update", "watch"]);
    let rule = |group: &str, resources: Value, verbs: Value| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": ORIGINAL},
        "rules": [
            rule("kubeflow.org", json!(["workspaces", "workspacekinds"]), all.clone()),
            rule(
                "kubeflow.org",
                json!(["workspaces/status", "workspacekinds/status"]),
                json!(["get", "patch", "update"]),
            ),
            rule(
                "kubeflow.org",
                json!(["workspaces/finalizers", "workspacekinds/finalizers"]),
                json!(["update"]),
            ),
            rule("apps", json!(["statefulsets"]), all.clone()),
            rule("", json!(["services", "serviceaccounts"]), all.clone()),
            rule(rbac, json!(["rolebindings"]), all.clone()),
            rule("networking.istio.io", json!(["virtualservices"]), all.clone()),
            rule(
                "",
                json!(["events", "configmaps", "namespaces", "pods"]),
                json!(["get", "list", "watch"]),
            ),
            rule("", json!(["pods/exec"]), json!(["create"])),
            rule(rbac, json!(["clusterroles"]), json!(["bind"])),
            // Those of its election are a role of their namespace.
            rule("coordination.k8s.io", json!(["leases"]), all),
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": ORIGINAL},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": ORIGINAL},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": ORIGINAL}],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1";
    kube.create(&format!("{path}/clusterroles"), &role).await;
    kube.create(&format!("{path}/clusterrolebindings"), &binding).await;
}

/// It works with no more rights than the original, roles of its workspaces included.
async fn with_the_rights_of_the_original(kube: &Kube, kubeconfig: &Path) {
    grant(kube).await;
    let path = format!("{WORKSPACES}/{NAME}");
    let kind = format!("{KINDS}/{NAME}");
    let mut with_roles = kube.get(&kind).await.expect(200).json();
    with_roles["spec"]["podTemplate"]["serviceAccount"] =
        json!({"clusterRoles": [{"name": "view"}]});
    kube.send(Method::PUT, &kind, Some(&with_roles)).await.expect(200);
    let own = ["--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:0"];
    let replica = Replica::start(kubeconfig, false, &own).await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    within(LONG, "the role is bound", async || {
        let all = kube.get(bindings).await.expect(200).json();
        let all = all["items"].as_array().cloned().unwrap_or_default();
        all.iter().any(|binding| binding["roleRef"]["name"] == "view").then_some(())
    })
    .await;
    within(LONG, "it is to be paused", async || {
        let mut paused = kube.get(&path).await.expect(200).json();
        paused["spec"]["paused"] = json!(true);
        let answer = kube.send(Method::PUT, &path, Some(&paused)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    within(LONG, "it is paused", async || {
        let live = kube.get(&path).await.expect(200).json();
        (live["status"]["state"] == "Paused").then_some(())
    })
    .await;
    kube.delete(&path).await;
    within(LONG, "nobody uses the kind", async || {
        let live = kube.get(&kind).await.expect(200).json();
        (live["status"]["workspaces"] == 0).then_some(())
    })
    .await;
    assert!(!replica.printed().contains("forbidden"), "{}", replica.printed());
    assert!(replica.stop().await.success());
}
