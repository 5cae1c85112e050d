//! No REST answer tells which cluster is behind it: the same requests to `up` and to `serve` are
//! answered alike, status, headers and body.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use quartermaster_e2e::{Answer, LONG, Program, SHORT, Site, Up, binary, within};
use regex::Regex;
use reqwest::{Method, header};
use serde_json::{Value, json};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// One request of the script.
struct Request {
    method: Method,
    path: String,
    media_type: &'static str,
    body: String,
}

impl Request {
    fn new(method: Method, path: &str, media_type: &'static str, body: &str) -> Self {
        Self { method, path: path.to_owned(), media_type, body: body.to_owned() }
    }

    fn get(path: &str) -> Self {
        Self::new(Method::GET, path, "", "")
    }

    fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path, "", "")
    }

    fn post(path: &str, data: Value) -> Self {
        Self::new(Method::POST, path, JSON, &json!({"data": data}).to_string())
    }

    async fn send(&self, up: &Up) -> Answer {
        let url = format!("{}/api/v1{}", up.api_base(), self.path);
        let mut request = up.http.request(self.method.clone(), url);
        if !self.media_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, self.media_type);
            request = request.body(self.body.clone());
        }
        Answer::of(request.send().await.unwrap()).await
    }
}

/// What the script goes on with only when it is so.
enum Step {
    Send(Request),
    State(&'static str, &'static str),
    Gone(&'static str),
}

/// What is chance in an answer, taken out.
struct Normal(Vec<(Regex, &'static str)>);

impl Normal {
    fn new() -> Self {
        let rules = [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[uid]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
            (r#""revision":"[^"]*""#, r#""revision":"[revision]""#),
            (r"\b1[6-9]\d{11}\b", "[ms]"),
            (r"\b(ws-same-box)-[0-9a-z]+", "$1-[chance]"),
            // Where a program listens and keeps its files is its node's business.
            (r"serving \S+ at http://[0-9.:]+", "serving [home] at [address]"),
            (r#"("nodeName":|"node":\{"name":)"[^"]*""#, r#"$1"[node]""#),
            // Which program fills claims is for the administrator's eyes.
            (r"kubernetes\.io/host-path|quartermaster\.io/local", "[provisioner]"),
        ];
        Self(rules.into_iter().map(|(rule, to)| (Regex::new(rule).unwrap(), to)).collect())
    }

    fn of(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (rule, to)| rule.replace_all(&text, *to).into_owned())
    }
}

/// Headers that clients act on. An `ETag` is good at the server that gave it.
const HEADERS: [&str; 5] = ["content-type", "location", "allow", "retry-after", "cache-control"];

async fn record(up: &Up, script: &[Step]) -> Vec<String> {
    let normal = Normal::new();
    let mut record = Vec::new();
    for step in script {
        match step {
            Step::State(name, state) => drop(up.wait_for_state(name, state, LONG).await),
            Step::Gone(name) => {
                let gone = async || up.workspace(name).await.is_none().then_some(());
                within(LONG, "it is gone", gone).await;
            }
            Step::Send(request) => {
                let answer = request.send(up).await;
                let mut text = format!("{} {}\n{}\n", request.method, request.path, answer.status);
                for name in HEADERS {
                    if let Some(value) = answer.headers.get(name) {
                        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
                    }
                }
                text.push_str(&normal.of(&answer.text));
                record.push(text);
            }
        }
    }
    record
}

fn workspace(name: &str, edit: impl FnOnce(&mut Value)) -> Step {
    let mut data = json!({
        "name": name, "kind": "same",
        "podTemplate": {
            "volumes": {"home": "same-home"},
            "options": {"imageConfig": "only", "podConfig": "small"},
        },
    });
    edit(&mut data);
    Step::Send(Request::post("/workspaces/default", data))
}

fn claim(name: &str, size: &str, class: &str) -> Step {
    Step::Send(Request::post(
        "/persistentvolumeclaims/default",
        json!({"name": name, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
               "requests": {"storage": size}}),
    ))
}

fn pause(body: Value) -> Step {
    Step::Send(Request::post("/workspaces/default/same-box/actions/pause", body))
}

fn reads() -> Vec<Step> {
    [
        "/workspaces/default",
        "/workspaces/default/same-box",
        "/workspaces/default/same-box/podtemplate/details",
        "/workspaces/default/same-box/podtemplate/resources",
        "/workspacekinds",
        "/workspacekinds?namespaceFilter=default",
        "/workspacekinds/same",
        "/workspacekinds/same/filterrules/explain?namespace=default",
        "/workspacekinds/same/assets/icon",
        "/persistentvolumeclaims/default",
        "/quotas/default",
        "/storageclasses",
    ]
    .into_iter()
    .map(|path| Step::Send(Request::get(path)))
    .collect()
}

/// A Secret from its creation to its end.
fn secret() -> Vec<Step> {
    let secret = json!({"name": "same-keys", "contents": {"user": {"base64": "bWU="}}});
    let change = json!({"data": {"contents": {"token": {"base64": "dA=="}}}}).to_string();
    let one = "/secrets/default/same-keys";
    let steps = [
        Request::post("/secrets/default", secret.clone()),
        Request::post("/secrets/default", secret),
        Request::get(one),
        Request::new(Method::PUT, one, JSON, &change),
        Request::new(Method::PUT, one, JSON, "{}"),
        Request::get(one),
        Request::delete(one),
        Request::delete(one),
    ];
    steps.into_iter().map(Step::Send).collect()
}

/// Requests that are refused, whatever there is.
fn refusals(kind: &str) -> Vec<Step> {
    let kinds =
        |body: String| Step::Send(Request::new(Method::POST, "/workspacekinds", YAML, &body));
    let raw =
        |path, media_type, body| Step::Send(Request::new(Method::POST, path, media_type, body));
    let get = |path| Step::Send(Request::get(path));
    vec![
        get("/workspaces/default/none"),
        get("/workspaces/default/none/podtemplate/details"),
        get("/workspaces/default/none/podtemplate/logs/batch"),
        get("/workspaces/Not_A_Name"),
        get("/workspaces/default/UPPER"),
        get("/workspaces/default/none/podtemplate/events"),
        get("/workspaces/default/none/podtemplate/resources"),
        get("/workspacekinds/none"),
        get("/workspacekinds/none/assets/logo"),
        get("/workspacekinds/none/filterrules/explain"),
        get("/workspacekinds?namespaceFilter=Not_A_Name"),
        get("/secrets/default/none"),
        get("/secrets/Not_A_Name"),
        get("/nothing"),
        get("/workspaces/nowhere"),
        Step::Send(Request::delete("/workspaces/default/none")),
        Step::Send(Request::delete("/workspacekinds/none")),
        Step::Send(Request::delete("/persistentvolumeclaims/default/none")),
        Step::Send(Request::new(Method::PATCH, "/workspaces/default", JSON, "{}")),
        raw("/workspaces/default", JSON, ""),
        raw("/workspaces/default", JSON, "{"),
        raw("/workspaces/default", JSON, r#"{"data": 1}"#),
        raw("/workspaces/default", JSON, r#"{"data": {"nmae": "x"}}"#),
        raw("/workspaces/default", "text/plain", "{}"),
        raw("/workspaces/default/none/actions/restart", JSON, "{}"),
        raw("/workspacekinds/none/podtemplate/options/listvalues", JSON, r#"{"data": {}}"#),
        raw("/secrets/default", JSON, r#"{"data": {"name": "Not A Name"}}"#),
        raw(
            "/workspaces/nowhere",
            JSON,
            &json!({"data": {
            "name": "x", "kind": "same", "podTemplate": {"volumes": {},
            "options": {"imageConfig": "only", "podConfig": "small"}}}})
            .to_string(),
        ),
        workspace("Not A Name", |_| {}),
        workspace(&"x".repeat(80), |_| {}),
        workspace("x", |data| data["kind"] = json!("none")),
        workspace("x", |data| data["podTemplate"]["options"]["imageConfig"] = json!("none")),
        workspace("x", |data| data["podTemplate"]["volumes"]["home"] = json!("no-claim")),
        workspace("x", |data| {
            data["podTemplate"]["volumes"]["data"] =
                json!([{"pvcName": "none", "mountPath": "relative", "readOnly": true}]);
        }),
        claim("Not A Name", "1Gi", "local"),
        claim("x", "many", "local"),
        claim("x", "-1Gi", "local"),
        claim("x", "1Gi", "none"),
        kinds(String::new()),
        kinds("a: [".to_owned()),
        kinds("kind: Pod".to_owned()),
        kinds(kind.replace("displayName: same\n", "")),
        kinds(kind.replace("name: same}", "name: Not_A_Name}")),
        kinds(kind.replace("port: 8080}]", "port: 80800}]")),
        kinds(kind.replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Sometimes")),
        kinds(kind.replace("{default: small}", "{default: none}")),
        kinds(kind.replace("protocol: HTTP", "protocol: TCP")),
        kinds(kind.replace("id: small,", "id: '',")),
        kinds(kind.replace("home: /home/user", "home: ''")),
        kinds(kind.replace("description: Made by a test", "description: ''")),
        kinds(kind.replace("  podTemplate:", "  unknown: 1\n  podTemplate:")),
    ]
}

fn script(kind: &str) -> Vec<Step> {
    let mut script = refusals(kind);
    let post_kind = || Step::Send(Request::new(Method::POST, "/workspacekinds", YAML, kind));
    script.extend([post_kind(), post_kind()]);
    script.extend(refusals(kind));
    script.extend(secret());
    script.extend([claim("same-home", "1Gi", "local"), claim("same-home", "1Gi", "local")]);
    script.extend([workspace("same-box", |_| {}), workspace("same-box", |_| {})]);
    script.push(Step::State("same-box", "Running"));
    script.extend(reads());
    script.extend([
        Step::Send(Request::delete("/workspacekinds/same")),
        pause(json!({"paused": true})),
        // The refusal names the state, which is a matter of time until then.
        Step::State("same-box", "Paused"),
        pause(json!({"paused": true})),
    ]);
    script.extend(reads());
    script.extend([
        Step::Send(Request::get("/workspaces/default/same-box/podtemplate/logs/batch")),
        pause(json!({"paused": "yes"})),
        pause(json!({"paused": false})),
        Step::State("same-box", "Running"),
        Step::Send(Request::get(
            "/workspaces/default/same-box/podtemplate/logs/batch?containerName=none",
        )),
        Step::Send(Request::delete("/workspaces/default/same-box")),
        Step::Gone("same-box"),
        Step::Send(Request::get("/workspaces/default/same-box")),
        Step::Send(Request::delete("/persistentvolumeclaims/default/same-home")),
        Step::Send(Request::get("/workspaces/default")),
    ]);
    script
}

#[tokio::test]
async fn up_and_serve_answer_alike() {
    let site = Site::of_this_run();
    let up = Site::Own.start(Program::new(binary())).await;
    let api = site.api(Program::new(binary())).await;
    let serve = api.serve(Program::new(binary())).start().await;
    // The samples of `up` are a matter of its start, not of its answers.
    for sample in ["files", "jupyterlab"] {
        for server in [&up, &serve] {
            let path = format!("/workspacekinds/{sample}");
            let status = server.delete(&path).await.status;
            assert!(matches!(status.as_u16(), 204 | 404), "{status}");
            let gone = async || (server.get(&path).await.status == 404).then_some(());
            within(LONG, "the sample is gone", gone).await;
        }
    }
    // So is a class that only a real cluster comes with.
    api.kube().delete("/apis/storage.k8s.io/v1/storageclasses/standard").await;
    let kind = site.files_kind("same");
    let script = script(&kind);
    let (on_up, on_serve) = tokio::join!(record(&up, &script), record(&serve, &script));
    assert_eq!(on_up.len(), on_serve.len());
    let mut differences = Vec::new();
    for (one, other) in on_up.iter().zip(&on_serve) {
        if one != other {
            differences.push(format!("--- up\n{one}\n--- serve\n{other}\n"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    serve.delete("/workspacekinds/same").await;
}

#[tokio::test]
async fn two_servers_of_the_same_objects_answer_byte_for_byte_alike() {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary())).await;
    let first = api.serve(Program::new(binary())).start().await;
    // On our own cluster the one that serves the API is the other server.
    let second = match api.own {
        Some(ref up) => up,
        None => &api.serve(Program::new(binary())).start().await,
    };
    first.create_kind(&site.files_kind("same-two")).await.expect(201);
    first.create_workspace("same-two-box", "same-two").await;
    first.wait_for_state("same-two-box", "Running", LONG).await;
    for path in [
        "/namespaces",
        "/workspaces",
        "/workspaces/default",
        "/workspaces/default/same-two-box",
        "/workspaces/default/same-two-box/podtemplate/details",
        "/workspaces/default/same-two-box/podtemplate/logs/batch",
        "/workspaces/default/same-two-box/podtemplate/events",
        "/workspaces/default/same-two-box/podtemplate/resources",
        "/workspacekinds",
        "/workspacekinds/same-two",
        "/workspacekinds/same-two/filterrules/explain",
        "/workspacekinds/same-two/assets/icon",
        "/secrets/default",
        "/quotas/default",
        "/storageclasses",
        "/persistentvolumeclaims/default",
    ] {
        let end = std::time::Instant::now() + SHORT;
        loop {
            let (one, other) = tokio::join!(first.get(path), second.get(path));
            if one.status == other.status && one.text == other.text {
                break;
            }
            let seen =
                format!("{path}\n{} {}\n{} {}", one.status, one.text, other.status, other.text);
            assert!(std::time::Instant::now() < end, "{seen}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    first.delete("/workspaces/default/same-two-box").await.expect(204);
    let gone = async || second.workspace("same-two-box").await.is_none().then_some(());
    within(LONG, "it is gone everywhere", gone).await;
    first.delete_home("same-two-box-home").await;
    within(LONG, "the kind goes", async || {
        let status = first.delete("/workspacekinds/same-two").await.status;
        (status == 404).then_some(())
    })
    .await;
}
