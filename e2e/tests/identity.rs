//! Who calls and what they may do: users that a proxy names, and tokens that the cluster knows.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use quartermaster_e2e::{Answer, Api, Kube, LONG, Program, Site, Up, binary, within};
use reqwest::Method;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const NAME: &str = "identity";

/// Lets a user or service account work with workspaces of the namespace `default`.
async fn allow(kube: &Kube, subject: Value) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": NAME, "namespace": "default"},
        "rules": [{"apiGroups": ["kubeflow.org"], "resources": ["workspaces"], "verbs": ["*"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": NAME, "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        "subjects": [subject],
    });
    kube.create(&format!("{RBAC}/namespaces/default/roles"), &role).await;
    kube.create(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await;
}

async fn forget(kube: &Kube) {
    for kind in ["rolebindings", "roles"] {
        kube.delete(&format!("{RBAC}/namespaces/default/{kind}/{NAME}")).await;
    }
}

async fn serve(api: &Api, config: &str) -> Up {
    let kubeconfig = api.kubeconfig.to_str().unwrap();
    let program = Program::new(binary()).env("KUBECONFIG", kubeconfig);
    program.serve_with("kubeconfig", config).start().await
}

/// A GET with one header.
async fn get(up: &Up, url: &str, (name, value): (&str, &str)) -> Answer {
    let request = up.http.get(url);
    let request = if value.is_empty() { request } else { request.header(name, value) };
    Answer::of(request.send().await.unwrap()).await
}

/// Makes a workspace that runs, as the owner of another server of the same cluster.
async fn workspace(site: &Site, api: &Api) -> Up {
    let owner = api.serve(Program::new(binary())).start().await;
    owner.create_kind(&site.files_kind(NAME)).await.expect(201);
    owner.create_workspace(NAME, NAME).await;
    owner.wait_for_state(NAME, "Running", LONG).await;
    owner
}

async fn clean(owner: &Up) {
    owner.delete(&format!("/workspaces/default/{NAME}")).await.expect(204);
    within(LONG, "it is gone", async || owner.workspace(NAME).await.is_none().then_some(())).await;
    owner.delete_home(&format!("{NAME}-home")).await;
    within(LONG, "the kind goes", async || {
        let status = owner.delete(&format!("/workspacekinds/{NAME}")).await.status;
        (status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn users_of_a_proxy_may_do_what_the_cluster_says() {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    let kube = api.kube();
    forget(&kube).await;
    allow(&kube, json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}))
        .await;
    let owner = workspace(&site, &api).await;
    let config =
        "auth: {mode: header}\nconnect: {sharedHost: true}\ncontroller: {enabled: false}\n";
    let up = serve(&api, config).await;
    let user = "kubeflow-userid";
    let list = format!("{}/api/v1/workspaces/default", up.api_base());
    get(&up, &list, (user, "")).await.expect(401);
    get(&up, &list, (user, "eve")).await.expect(403);
    let seen = get(&up, &list, (user, ":ada")).await.expect(200);
    assert_eq!(seen.json()["data"][0]["name"], NAME);
    get(&up, &list.replace("/default", "/other"), (user, "ada")).await.expect(403);

    // The way in, on both hosts.
    let path = format!("workspace/connect/default/{NAME}/files/");
    for base in [&up.endpoints.api, &up.endpoints.apps] {
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        get(&up, &url, (user, "")).await.expect(401);
        get(&up, &url, (user, "eve")).await.expect(403);
        within(LONG, "the file browser answers", async || {
            let page = get(&up, &url, (user, "ada")).await;
            page.text.contains("<title>Files</title>").then_some(())
        })
        .await;
    }
    // What is taken away is gone within the life of an answer.
    forget(&kube).await;
    within(LONG, "she may no more", async || {
        (get(&up, &list, (user, "ada")).await.status == 403).then_some(())
    })
    .await;
    clean(&owner).await;
}

#[tokio::test]
async fn bearers_of_tokens_are_whom_the_cluster_knows() {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    let kube = api.kube();
    forget(&kube).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"name": NAME, "namespace": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    kube.create(accounts, &account).await;
    allow(&kube, json!({"kind": "ServiceAccount", "name": NAME, "namespace": "default"})).await;
    let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                        "spec": {"expirationSeconds": 600}});
    let made = kube.send(Method::POST, &format!("{accounts}/{NAME}/token"), Some(&wanted)).await;
    let token = made.expect(201).json()["status"]["token"].as_str().unwrap().to_owned();

    let up = serve(&api, "auth: {mode: bearer}\n").await;
    let list = format!("{}/api/v1/workspaces/default", up.api_base());
    let bearer = format!("Bearer {token}");
    get(&up, &list, ("authorization", &bearer)).await.expect(200);
    for wrong in ["", "Bearer x", "Bearer", "Basic eDp5", &bearer[..bearer.len() - 4]] {
        get(&up, &list, ("authorization", wrong)).await.expect(401);
    }
    get(&up, &list, ("kubeflow-userid", "system:admin")).await.expect(401);
    let everywhere = list.replace("/default", "");
    get(&up, &everywhere, ("authorization", &bearer)).await.expect(403);
    assert!(!up.printed().contains(&token), "no token in the log");
    forget(&kube).await;
    kube.delete(&format!("{accounts}/{NAME}")).await;
}
