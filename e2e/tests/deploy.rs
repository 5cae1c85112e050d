//! The manifests of `deploy/manifests` on a real cluster: the program runs there as a pod, with
//! exactly the rights that they give, and does its work for users that a proxy names. Then those of
//! the controller by itself.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{path::Path, process::Stdio};

use quartermaster_e2e::{Answer, Kube, LONG, Program, Site, binary, http_client, skip, within};
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
    let paused = ["wait", "workspace/applied", "--for=jsonpath={.status.state}=Paused"];
    kubectl(kubeconfig, &[&paused[..], &["--timeout=60s"]].concat(), "").await;
    let sets = ["get", "statefulsets", "-l", "notebooks.kubeflow.org/workspace-name=applied"];
    let sets = kubectl(kubeconfig, &[&sets[..], &["-o", "name"]].concat(), "").await;
    assert_eq!(sets.lines().count(), 1, "{sets}");
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

/// One of the sets of manifests.
struct Manifests {
    folder: &'static str,
    namespace: &'static str,
    /// Deployment and ServiceAccount.
    name: &'static str,
    /// What the variables of its container come before.
    before: &'static str,
}

const ALL: Manifests = Manifests {
    folder: "deploy/manifests",
    namespace: "quartermaster",
    name: "quartermaster",
    before: "        - name: QUARTERMASTER_CONFIG\n",
};

const CONTROLLER: Manifests = Manifests {
    folder: "deploy/manifests/workspaces-controller",
    namespace: "kubeflow-workspaces",
    name: "workspaces-controller",
    before: "\n        ports:\n",
};

impl Manifests {
    /// The manifests, for a cluster without a service proxy and with one node: the pod shares the
    /// network of its node and finds the API there. Its rights, user and file system stay as they
    /// are.
    async fn text(&self, kubeconfig: &str, port: u16) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(self.folder);
        let text = kubectl(kubeconfig, &["kustomize", folder.to_str().unwrap()], "").await;
        let variables = format!(
            "        - name: KUBERNETES_SERVICE_HOST\n          value: 127.0.0.1\n        \
             - name: KUBERNETES_SERVICE_PORT\n          value: \"{port}\"\n"
        );
        let variables = match self.before.contains("ports") {
            true => format!("\n        env:\n{}{}", variables.trim_end(), self.before),
            false => format!("{variables}{}", self.before),
        };
        let account = format!("      serviceAccountName: {}\n", self.name);
        let shared = format!("{account}      hostNetwork: true\n      dnsPolicy: Default\n");
        let edits = [
            ("pod-security.kubernetes.io/enforce: restricted", "test: \"true\""),
            ("replicas: 2", "replicas: 1"),
            (&account, &shared),
            (self.before, &variables),
        ];
        edits.iter().fold(text, |text, (from, to)| {
            assert_eq!(text.matches(from).count(), 1, "{from:?} in {text}");
            text.replace(from, to)
        })
    }

    /// Applies them, and waits until the program runs.
    async fn apply(&self, kubeconfig: &str, kube: &Kube, port: u16) {
        let text = self.text(kubeconfig, port).await;
        // Definitions are known a moment after they are made.
        kubectl(kubeconfig, &["apply", "-f", "-"], &text).await;
        let deployment = format!("deployment/{}", self.name);
        let rollout = ["-n", self.namespace, "rollout", "status", &deployment, "--timeout=120s"];
        let (good, _, error) = try_kubectl(kubeconfig, &rollout, "").await;
        if !good {
            let list = kube.get(&self.pods()).await.text;
            unreachable!("not rolled out: {error}\n{list}\n{}", self.logs(kube).await);
        }
    }

    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    /// What the program in the pod said.
    async fn logs(&self, kube: &Kube) -> String {
        let pods = self.pods();
        let list = kube.get(&pods).await.expect(200).json();
        let mut said = String::new();
        for pod in list["items"].as_array().unwrap() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            said.push_str(&kube.get(&format!("{pods}/{name}/log")).await.text);
        }
        said
    }

    /// Its rights were enough; takes the program away.
    async fn remove(&self, kubeconfig: &str, kube: &Kube) {
        let said = self.logs(kube).await;
        // What users may not do is logged in other words than what the program may not do.
        let account = format!("system:serviceaccount:{}", self.namespace);
        assert!(!said.contains(&account), "{said}");
        // Without the program nobody answers for the configuration.
        let configuration =
            "validatingwebhookconfiguration/workspaces-validating-webhook-configuration";
        kubectl(kubeconfig, &["delete", configuration], "").await;
        kubectl(kubeconfig, &["delete", "namespace", self.namespace, "--wait"], "").await;
    }
}

#[tokio::test]
async fn the_manifests_run_it_with_exactly_their_rights() {
    let site = Site::of_this_run();
    let Site::Cluster { kubeconfig } = &site else {
        return skip("the_manifests_run_it_with_exactly_their_rights", "there is no real cluster");
    };
    let api = site.api(Program::new(binary())).await;
    let kube = api.kube();
    let port = api.address.port();
    ALL.apply(kubeconfig, &kube, port).await;
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
    ALL.remove(kubeconfig, &kube).await;

    CONTROLLER.apply(kubeconfig, &kube, port).await;
    kubectl_is_held_to_the_rules(kubeconfig, &site.files_kind(NAME)).await;
    CONTROLLER.remove(kubeconfig, &kube).await;
}
