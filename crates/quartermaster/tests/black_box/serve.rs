//! `serve`: which cluster, and what a person reads when it cannot be used.

use std::{fs, net::TcpListener};

use quartermaster_e2e::{Ended, Program};
use rstest::rstest;

use crate::program;

/// A program whose kubeconfig holds this text.
fn with_kubeconfig(text: &str) -> Program {
    let program = program();
    let file = program.scratch().join("kubeconfig");
    fs::write(&file, text).unwrap();
    program.env("KUBECONFIG", file.to_str().unwrap())
}

/// A kubeconfig for an API at this address.
fn kubeconfig(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: here
contexts:
- {{name: here, context: {{cluster: c, user: u}}}}
- {{name: there, context: {{cluster: c, user: u, namespace: team}}}}
clusters:
- {{name: c, cluster: {{server: \"{server}\"{cluster}}}}}
users:
- {{name: u, user: {{{user}}}}}
"
    )
}

async fn refused(program: &Program, cluster: &str) -> Ended {
    let args = ["serve", "--auth", "local", "--listen", "127.0.0.1:0", "--cluster", cluster];
    let ended = program.run(&args).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nhint: "), "what to do about it: {}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

#[track_caller]
fn says(ended: &Ended, parts: &[&str]) {
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {}", ended.stderr);
    }
}

#[tokio::test]
async fn without_any_cluster_it_says_where_it_looked() {
    let ended = program().run(&["serve", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    says(&ended, &["there is no cluster", "/.kube/config", "KUBECONFIG", "quartermaster up"]);
    let ended = refused(&program(), "in-cluster").await;
    says(&ended, &["not a pod", "--cluster kubeconfig"]);
    let program = program().env("KUBECONFIG", "/does/not/exist");
    says(&refused(&program, "kubeconfig").await, &["no kubeconfig at /does/not/exist"]);
}

#[rstest]
#[case::no_yaml("clusters: [", &["cannot be used"])]
#[case::something_else("hello", &["cannot be used"])]
#[case::empty("", &["cannot be used"])]
#[case::binary("\u{0}\u{1}", &["cannot be used"])]
#[case::no_context("{apiVersion: v1, kind: Config, clusters: [], contexts: [], users: []}",
    &["cannot be used", "context"])]
#[case::context_without_cluster(
    "{apiVersion: v1, kind: Config, current-context: x, clusters: [], users: [],
      contexts: [{name: x, context: {cluster: gone, user: u}}]}",
    &["cannot be used", "cluster"]
)]
#[case::current_context_is_gone(
    "{apiVersion: v1, kind: Config, current-context: x, clusters: [], users: [],
      contexts: [{name: y, context: {cluster: c, user: u}}]}",
    &["no context \"x\"", "it has: y"]
)]
#[tokio::test]
async fn a_broken_kubeconfig_is_explained(#[case] text: &str, #[case] parts: &[&str]) {
    let ended = refused(&with_kubeconfig(text), "kubeconfig").await;
    says(&ended, parts);
    says(&ended, &["kubeconfig"]);
}

#[tokio::test]
async fn a_context_that_is_not_there_lists_those_that_are() {
    let program = with_kubeconfig(&kubeconfig("https://127.0.0.1:1", "", ""));
    let ended = refused(&program, "kubeconfig:prod").await;
    says(&ended, &["no context \"prod\"", "it has: here, there"]);
}

#[rstest]
#[case::certificate(", certificate-authority-data: bm90IGEgY2VydGlmaWNhdGU=", "")]
#[case::certificate_file(", certificate-authority: /does/not/exist", "")]
#[case::client_key("", "client-certificate-data: eA==, client-key-data: eA==")]
#[case::no_base64("", "client-certificate-data: '%%%', client-key-data: '%%%'")]
#[tokio::test]
async fn credentials_that_are_none_are_explained(#[case] cluster: &str, #[case] user: &str) {
    let program = with_kubeconfig(&kubeconfig("https://127.0.0.1:1", cluster, user));
    let ended = refused(&program, "kubeconfig").await;
    says(&ended, &["cannot be used"]);
}

#[tokio::test]
async fn an_api_that_is_not_there_is_named() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let url = format!("https://{address}");
    let program = with_kubeconfig(&kubeconfig(&url, "", ""));
    let ended = refused(&program, "kubeconfig").await;
    says(&ended, &[&url, "does not answer", "refused"]);
    let program = with_kubeconfig(&kubeconfig("https://nowhere.invalid", "", ""));
    says(&refused(&program, "kubeconfig:here").await, &["nowhere.invalid", "does not answer"]);
}

#[tokio::test]
async fn a_server_that_is_no_api_is_told() {
    // One of our own listeners: it speaks HTTP and is no Kubernetes API.
    let up = program().start().await;
    let program = with_kubeconfig(&kubeconfig(&up.endpoints.ops, "", ""));
    let ended = refused(&program, "kubeconfig").await;
    says(&ended, &[&up.endpoints.ops]);
}

#[tokio::test]
async fn a_cluster_of_its_own_is_served_like_any() {
    let program = program();
    let dir = program.dir().to_str().unwrap().to_owned();
    let server = program.serve(&format!("embedded:{dir}")).start().await;
    assert!(server.printed().contains("a cluster of its own"), "{}", server.printed());
    let kinds = server.get("/workspacekinds").await.expect(200).json();
    assert_eq!(kinds["data"], serde_json::json!([]), "samples come only when asked for");
    server.create_home("data").await;
    let (status, program) = server.stop().await;
    assert!(status.success());
    assert!(!program.dir().join("run/endpoints.json").exists());
    // The same directory is the one of `up`.
    let again = program.arg("--install-samples").start().await;
    let claims = again.get("/persistentvolumeclaims/default").await.expect(200).json();
    assert_eq!(claims["data"][0]["name"], "data");
    let kinds = again.get("/workspacekinds").await.expect(200).json();
    assert_eq!(kinds["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_trusted_proxy_says_who_calls() {
    let program = program();
    let dir = program.dir().to_str().unwrap().to_owned();
    let config = "auth: {mode: header, header: {user: x-user, trustedPeers: [127.0.0.1]}}\n";
    let server = program.serve_with(&format!("embedded:{dir}"), config).start().await;
    assert_eq!(server.endpoints.token, "", "nobody is known by a token");
    let get = |path: &str| server.http.get(format!("{}/api/v1{path}", server.api_base()));
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();
    assert_eq!(status(get("/healthcheck")).await, 200);
    assert_eq!(status(get("/workspaces")).await, 401);
    assert_eq!(status(get("/workspaces").header("kubeflow-userid", "ada")).await, 401);
    assert_eq!(status(get("/workspaces").header("x-user", "")).await, 401);
    let path = "/workspace/connect/default/x/files/";
    for base in [&server.endpoints.api, &server.endpoints.apps] {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        assert_eq!(status(server.http.get(url)).await, 401, "{base}");
    }
    for probe in ["livez", "readyz"] {
        let url = format!("{}/{probe}", server.endpoints.ops.trim_end_matches('/'));
        assert_eq!(status(server.http.get(url)).await, 200, "{probe}");
    }
}

#[tokio::test]
async fn a_peer_that_is_not_trusted_is_nobody() {
    let program = program();
    let dir = program.dir().to_str().unwrap().to_owned();
    let config = "auth: {mode: header, header: {trustedPeers: [192.0.2.0/24]}}\n";
    let server = program.serve_with(&format!("embedded:{dir}"), config).start().await;
    let request = server.http.get(format!("{}/api/v1/user", server.api_base()));
    let answer = request.header("kubeflow-userid", "ada").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(server.printed().contains("trustedPeers"), "the log says how to trust it");
}
