//! The manifests of `deploy/manifests` on a real cluster: the program runs there as a pod, with
//! exactly the rights that they give, and does its work for users that a proxy names.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{path::Path, process::Stdio};

use quartermaster_e2e::{Answer, LONG, Program, Site, binary, http_client, skip, within};
use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

const NAME: &str = "deployed";

/// A user as the proxy names her.
struct User {
    name: &'static str,
    http: reqwest::Client,
}

impl User {
    fn new(name: &'static str) -> Self {
        Self { name, http: http_client().build().unwrap() }
    }

    async fn send(&self, method: Method, url: &str, body: Option<(&str, String)>) -> Answer {
        let mut request = self.http.request(method, url).header("kubeflow-userid", self.name);
        if let Some((media_type, body)) = body {
            request = request.header(header::CONTENT_TYPE, media_type).body(body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    async fn api(&self, method: Method, path: &str, data: Option<Value>) -> Answer {
        let body = data.map(|data| ("application/json", json!({"data": data}).to_string()));
        self.send(method, &format!("http://127.0.0.1:4000/api/v1{path}"), body).await
    }
}

async fn kubectl(kubeconfig: &str, args: &[&str], input: &str) -> String {
    let (good, out, error) = try_kubectl(kubeconfig, args, input).await;
    assert!(good, "kubectl {args:?}: {error}\n{out}");
    out
}

/// Whether it went well, and what it said.
async fn try_kubectl(kubeconfig: &str, args: &[&str], input: &str) -> (bool, String, String) {
    let mut command = Command::new("kubectl");
    command.args(args).env("KUBECONFIG", kubeconfig).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// What `kubectl apply` is told about objects that break rules, by the real webhook: they are not
/// stored; and that good ones are.
async fn kubectl_is_held_to_the_rules(kubeconfig: &str, kind: &str) {
    let apply = ["apply", "-f", "-"];
    // The configuration is told whom to trust a moment after the pod is ready.
    within(LONG, "the webhooks are asked", async || {
        let (good, _, error) =
            try_kubectl(kubeconfig, &["apply", "--dry-run=server", "-f", "-"], kind).await;
        if !good {
            assert!(error.contains("failed calling webhook"), "{error}");
        }
        good.then_some(())
    })
    .await;
    let no_default = kind.replace("spawner: {default: only}", "spawner: {default: none}");
    let (good, _, error) = try_kubectl(kubeconfig, &apply, &no_default).await;
    assert!(!good, "{error}");
    let wanted = "spec.podTemplate.options.imageConfig.spawner.default: Invalid value: \"none\"";
    assert!(error.contains(wanted) && error.contains("WorkspaceKind"), "{error}");
    kubectl(kubeconfig, &apply, kind).await;
    let workspace = |option: &str| {
        format!(
            "apiVersion: kubeflow.org/v1beta1\nkind: Workspace\n\
             metadata: {{name: applied, namespace: default}}\n\
             spec:\n  kind: {NAME}\n  paused: true\n  podTemplate:\n    volumes: {{}}\n    \
             options: {{imageConfig: {option}, podConfig: small}}\n"
        )
    };
    let (good, _, error) = try_kubectl(kubeconfig, &apply, &workspace("none")).await;
    assert!(!good, "{error}");
    let wanted = format!("imageConfig with id \"none\" not found in workspace kind \"{NAME}\"");
    assert!(error.contains(&wanted) && error.contains("Workspace \"applied\""), "{error}");
    kubectl(kubeconfig, &apply, &workspace("only")).await;
    let changed = kind.replace("image: quartermaster/files", "image: quartermaster/other");
    assert_ne!(changed, kind);
    let (good, _, error) = try_kubectl(kubeconfig, &apply, &changed).await;
    assert!(!good && error.contains("is used by 1 workspace(s) and cannot be changed"), "{error}");
    let (good, _, error) = try_kubectl(kubeconfig, &["delete", "workspacekind", NAME], "").await;
    assert!(!good && error.contains("used by 1 workspace(s)"), "{error}");
    kubectl(kubeconfig, &["delete", "workspace", "applied", "--wait"], "").await;
    within(LONG, "the kind goes", async || {
        let delete = ["delete", "workspacekind", NAME, "--ignore-not-found"];
        try_kubectl(kubeconfig, &delete, "").await.0.then_some(())
    })
    .await;
}

/// The manifests, for a cluster without a service proxy and with one node: the pod shares the
/// network of its node and finds the API there. Its rights, user and file system stay as they are.
async fn manifests(kubeconfig: &str, port: u16) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests");
    let text = kubectl(kubeconfig, &["kustomize", folder.to_str().unwrap()], "").await;
    let api = format!(
        "        env:\n        - name: KUBERNETES_SERVICE_HOST\n          value: 127.0.0.1\n        \
         - name: KUBERNETES_SERVICE_PORT\n          value: \"{port}\"\n"
    );
    let edits = [
        ("pod-security.kubernetes.io/enforce: restricted", "test: \"true\""),
        ("replicas: 2", "replicas: 1"),
        (
            "      serviceAccountName: quartermaster\n",
            "      serviceAccountName: quartermaster\n      hostNetwork: true\n      \
             dnsPolicy: Default\n",
        ),
        ("        env:\n", &api),
    ];
    edits.iter().fold(text, |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
        text.replace(from, to)
    })
}

#[tokio::test]
async fn the_manifests_run_it_with_exactly_their_rights() {
    let site = Site::of_this_run();
    let Site::Cluster { kubeconfig } = &site else {
        return skip("the_manifests_run_it_with_exactly_their_rights", "there is no real cluster");
    };
    let api = site.api(Program::new(binary())).await;
    let kube = api.kube();
    let text = manifests(kubeconfig, api.address.port()).await;
    // Definitions are known a moment after they are made.
    kubectl(kubeconfig, &["apply", "-f", "-"], &text).await;
    let rollout = ["-n", "quartermaster", "rollout", "status", "deployment/quartermaster"];
    let pods = "/api/v1/namespaces/quartermaster/pods";
    let status = Command::new("kubectl")
        .args(rollout)
        .arg("--timeout=120s")
        .env("KUBECONFIG", kubeconfig)
        .status();
    if !status.await.unwrap().success() {
        let list = kube.get(pods).await.text;
        unreachable!("not rolled out: {list}\n{}", logs(&kube).await);
    }

    kubectl_is_held_to_the_rules(kubeconfig, &site.files_kind(NAME)).await;

    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "workspace-users"},
        "rules": [
            {"apiGroups": ["kubeflow.org"], "resources": ["workspaces", "workspacekinds"],
             "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["*"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "workspace-users"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "workspace-users"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}],
    });
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    kube.create(&format!("{rbac}/clusterroles"), &role).await;
    kube.create(&format!("{rbac}/clusterrolebindings"), &binding).await;

    let (ada, eve) = (User::new("ada"), User::new("eve"));
    let kinds = "http://127.0.0.1:4000/api/v1/workspacekinds";
    let kind = ("application/yaml", site.files_kind(NAME));
    eve.send(Method::POST, kinds, Some(kind.clone())).await.expect(403);
    ada.send(Method::POST, kinds, Some(kind)).await.expect(201);
    let claim = json!({"name": "deployed-home", "accessModes": ["ReadWriteOnce"],
                       "storageClassName": "local", "requests": {"storage": "1Gi"}});
    let claims = "/persistentvolumeclaims/default";
    ada.api(Method::POST, claims, Some(claim)).await.expect(201);
    let workspace = json!({"name": NAME, "kind": NAME, "podTemplate": {
        "volumes": {"home": "deployed-home"},
        "options": {"imageConfig": "only", "podConfig": "small"}}});
    ada.api(Method::POST, "/workspaces/default", Some(workspace)).await.expect(201);
    eve.api(Method::GET, "/workspaces/default", None).await.expect(403);
    within(LONG, "it runs", async || {
        let list = ada.api(Method::GET, "/workspaces/default", None).await.expect(200).json();
        (list["data"][0]["state"] == "Running").then_some(())
    })
    .await;

    let file = format!("http://127.0.0.1:4004/workspace/connect/default/{NAME}/files/api/files/x");
    eve.send(Method::GET, &file, None).await.expect(403);
    within(LONG, "the way into it", async || {
        let put = ada.send(Method::PUT, &file, Some(("text/plain", "hello".to_owned()))).await;
        matches!(put.status.as_u16(), 200 | 201).then_some(())
    })
    .await;
    assert_eq!(ada.send(Method::GET, &file, None).await.expect(200).text, "hello");
    let path = format!("/workspaces/default/{NAME}");
    let words = ada.api(Method::GET, &format!("{path}/podtemplate/logs/batch"), None).await;
    assert!(words.expect(200).text.contains("serving"));
    ada.api(Method::DELETE, &path, None).await.expect(204);
    within(LONG, "it is gone", async || {
        let status = ada.api(Method::GET, &path, None).await.status;
        (status == 404).then_some(())
    })
    .await;
    ada.api(Method::DELETE, &format!("{claims}/deployed-home"), None).await.expect(204);
    within(LONG, "the kind goes", async || {
        let status = ada.api(Method::DELETE, &format!("/workspacekinds/{NAME}"), None).await.status;
        (status == 404).then_some(())
    })
    .await;
    let said = logs(&kube).await;
    // What users may not do is logged in other words than what the program may not do.
    assert!(!said.contains("system:serviceaccount:quartermaster"), "{said}");
    // Without the program nobody answers for the configuration.
    let configuration =
        "validatingwebhookconfiguration/workspaces-validating-webhook-configuration";
    kubectl(kubeconfig, &["delete", configuration], "").await;
    kubectl(kubeconfig, &["delete", "namespace", "quartermaster", "--wait"], "").await;
}

/// What the program in the pod said.
async fn logs(kube: &quartermaster_e2e::Kube) -> String {
    let pods = "/api/v1/namespaces/quartermaster/pods";
    let list = kube.get(pods).await.expect(200).json();
    let mut said = String::new();
    for pod in list["items"].as_array().unwrap() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        said.push_str(&kube.get(&format!("{pods}/{name}/log")).await.text);
    }
    said
}
