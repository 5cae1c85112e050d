//! `as workspaces-backend` in the place of the original, on whatever cluster this run is about: what
//! the stock UI does, and a fuzzer that knows only the served document.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{process::Stdio, time::Duration};

use quartermaster_e2e::{Backend, LONG, Program, Site, binary, skip, within};
use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::process::Command;

const NAME: &str = "backend";
const ROOT: (&str, &[&str]) = ("root", &["system:masters"]);
const NOBODY: (&str, &[&str]) = ("", &[]);
const EVE: (&str, &[&str]) = ("eve", &["strangers"]);

/// The state of the workspace as lists show it.
async fn wait_for(backend: &Backend, state: &str) {
    within(LONG, state, async || {
        let list = backend.send(ROOT, Method::GET, "/api/v1/workspaces/default", None).await;
        let list = list.expect(200).json();
        let all = list["data"].as_array().unwrap();
        let found = all.iter().find(|item| item["name"] == NAME)?;
        (found["state"] == state).then_some(())
    })
    .await;
}

fn workspace() -> Value {
    json!({"data": {
        "name": NAME, "kind": NAME,
        "podTemplate": {
            "volumes": {"home": "backend-home"},
            "options": {"imageConfig": "only", "podConfig": "small"},
        },
    }})
}

#[tokio::test]
async fn it_replaces_the_original() {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    // The controller is another program; here it is `serve`.
    let controller = api.serve(Program::new(binary())).start().await;
    let program = Program::new(binary()).env("PROXY_URL_PREFIX", "/workspaces");
    let backend = Backend::start(&program, &api.kubeconfig, &[]).await;
    let send = async |method: Method, path: &str, body: Option<&Value>| {
        backend.send(ROOT, method, path, body).await
    };

    // Who may do what.
    let list = "/api/v1/workspaces/default";
    backend.send(NOBODY, Method::GET, list, None).await.expect(401);
    backend.send(EVE, Method::GET, list, None).await.expect(403);
    backend.send(NOBODY, Method::GET, "/api/v1/healthcheck", None).await.expect(200);
    backend.send(NOBODY, Method::GET, "/api/v1/nothing", None).await.expect(404);
    let wrong = backend.send(NOBODY, Method::PATCH, list, None).await.expect(405);
    assert_eq!(wrong.headers[header::ALLOW], "GET, OPTIONS, POST");
    let refused = backend.send(EVE, Method::GET, list, None).await;
    assert_eq!(refused.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let user = send(Method::GET, "/workspaces/api/v1/user", None).await.expect(200).json();
    assert_eq!(user["data"], json!({"userId": "root", "clusterAdmin": true}));

    // The life of a workspace.
    backend.create_kind(&site.files_kind(NAME)).await.expect(201);
    backend.create_kind(&site.files_kind(NAME)).await.expect(409);
    let claim = json!({"data": {
        "name": "backend-home", "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
        "requests": {"storage": "1Gi"},
    }});
    let claims = "/api/v1/persistentvolumeclaims/default";
    send(Method::POST, claims, Some(&claim)).await.expect(201);
    let made = send(Method::POST, list, Some(&workspace())).await.expect(201);
    assert!(made.headers[header::LOCATION].to_str().unwrap().ends_with("/default/backend"));
    send(Method::POST, list, Some(&workspace())).await.expect(409);
    wait_for(&backend, "Running").await;
    let path = "/api/v1/workspaces/default/backend";
    let pause = |paused: bool| json!({"data": {"paused": paused}});
    let action = format!("{path}/actions/pause");
    send(Method::POST, &action, Some(&pause(false))).await.expect(409);
    send(Method::POST, &action, Some(&pause(true))).await.expect(200);
    wait_for(&backend, "Paused").await;
    let alias = action.replace("/api/", "/workspaces/backend/api/");
    send(Method::POST, &alias, Some(&pause(false))).await.expect(200);
    wait_for(&backend, "Running").await;
    send(Method::GET, &format!("{path}/podtemplate/details"), None).await.expect(200);
    send(Method::DELETE, path, None).await.expect(204);
    within(LONG, "the workspace goes", async || {
        (send(Method::GET, path, None).await.status == 404).then_some(())
    })
    .await;
    send(Method::DELETE, &format!("{claims}/backend-home"), None).await.expect(204);
    within(LONG, "the kind goes", async || {
        let kind = format!("/api/v1/workspacekinds/{NAME}");
        (send(Method::DELETE, &kind, None).await.status == 404).then_some(())
    })
    .await;
    assert!(backend.stop().await.success());
    controller.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_and_authentication_stays_on() {
    let refused = async |name: &str, value: &str| {
        let program = Program::new(binary()).env(name, value);
        let ended = program.run(&["as", "workspaces-backend"]).await;
        assert_eq!(ended.code, Some(64), "{name}={value}: {ended:?}");
        ended.stderr
    };
    assert!(refused("PORT", "http").await.contains("--port"));
    assert!(refused("CLIENT_QPS", "fast").await.contains("--client-qps"));
    assert!(refused("USERID_HEADER", " ").await.contains("--userid-header"));
    assert!(refused("SWAGGER_ENABLED", "perhaps").await.contains("--swagger-enabled"));
    assert!(refused("DISABLE_AUTH", "true").await.contains("--insecure-disable-auth"));
}

/// The bodies of these are whole manifests, which take the fuzzer long to make up: they get a time
/// of their own, so that the others get theirs.
const MANIFESTS: [&str; 2] = ["createWorkspaceKind", "updateWorkspaceKind"];

#[tokio::test]
async fn no_request_that_the_document_allows_breaks_it() {
    let Some(fuzzer) = std::env::var_os("QUARTERMASTER_SCHEMATHESIS") else {
        return skip("backend::fuzz", "there is no schemathesis");
    };
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    let program = Program::new(binary());
    let backend = Backend::start(&program, &api.kubeconfig, &[]).await;
    let document = format!("{}/openapi/kubeflow.json", backend.url);
    for (seconds, selection) in [("45", "--exclude-operation-id"), ("15", "--include-operation-id")]
    {
        let mut run = Command::new(&fuzzer);
        run.args(["run", &document, "--no-color", "--generation-database", "none"]);
        run.args(["-H", "kubeflow-userid: root", "-H", "kubeflow-groups: system:masters"]);
        run.args(["--phases", "fuzzing", "--max-examples", "8", "--max-time", seconds]);
        run.args(["--no-shrink", "--seed", "20261121", "--request-timeout", "20"]);
        run.args(["--continue-on-failure", "--checks"]);
        run.arg(
            "not_a_server_error,status_code_conformance,content_type_conformance,\
             response_schema_conformance,unsupported_method",
        );
        MANIFESTS.iter().for_each(|id| {
            run.args([selection, id]);
        });
        run.current_dir(program.scratch()).kill_on_drop(true).stdin(Stdio::null());
        let output = tokio::time::timeout(Duration::from_secs(180), run.output()).await;
        let output = output.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", backend.printed());
        assert!(text.contains(" passed"), "it tried something: {text}");
    }
    assert!(backend.stop().await.success());
}
