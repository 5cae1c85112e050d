//! The three doors.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use quartermaster_e2e::{Answer, Kube, Up, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::objects::{closed, kind, narrow, with, workspace};
use crate::program;

pub(super) const WORKSPACES: &str = "/apis/kubeflow.org/v1beta1/namespaces/default/workspaces";
pub(super) const KINDS: &str = "/apis/kubeflow.org/v1beta1/workspacekinds";

/// `quartermaster as workspaces-controller` on the cluster of `up`, for its webhooks.
pub(super) struct Webhooks {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Webhooks {
    pub(super) async fn start(kubeconfig: &Path, scratch: &Path) -> Self {
        let log = scratch.join("controller.log");
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_quartermaster"))
            .args(["as", "workspaces-controller", "--webhook-url=https://127.0.0.1:9443"])
            .args(["--webhook-bind-address=127.0.0.1:0", "--metrics-bind-address=0"])
            .args(["--health-probe-bind-address=127.0.0.1:0", "--leader-elect"])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let url = eventually("the webhooks are served", async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let line = said.lines().find_map(|line| line.trim().strip_prefix("Webhooks "));
            line.map(str::to_owned)
        })
        .await;
        let http = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        Self { child, url, http }
    }

    /// Ends the program, which is a controller too.
    pub(super) async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The status of a review; none if the write is allowed.
    pub(super) async fn ask(&self, write: &Write, old: Option<&Value>) -> (Option<Value>, Value) {
        let kind = write.object()["kind"].as_str().unwrap().to_owned();
        let path = format!("/validate-kubeflow-org-v1beta1-{}", kind.to_lowercase());
        let (operation, new) = match write {
            Write::Create(new) => ("CREATE", Some(new)),
            Write::Update(new) => ("UPDATE", Some(new)),
            Write::Delete(_) => ("DELETE", None),
        };
        let group = json!({"group": "kubeflow.org", "version": "v1beta1"});
        let (mut gvk, mut gvr) = (group.clone(), group);
        gvk["kind"] = json!(kind);
        gvr["resource"] = json!(format!("{}s", kind.to_lowercase()));
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "7", "operation": operation, "kind": gvk, "resource": gvr,
                "name": write.object()["metadata"]["name"],
                "namespace": write.object()["metadata"]["namespace"],
                "object": new, "oldObject": old,
            },
        });
        let answer = self.http.post(format!("{}{path}", self.url)).json(&review).send().await;
        let answer: Value = answer.unwrap().error_for_status().unwrap().json().await.unwrap();
        assert_eq!(answer["response"]["uid"], "7");
        let allowed = answer["response"]["allowed"].as_bool().unwrap();
        let status = answer["response"]["status"].clone();
        ((!allowed).then_some(status), answer["response"]["warnings"].clone())
    }
}

/// A write, with the object that it is about.
#[derive(Clone)]
pub(super) enum Write {
    Create(Value),
    Update(Value),
    Delete(Value),
}

impl Write {
    pub(super) fn object(&self) -> &Value {
        let (Self::Create(object) | Self::Update(object) | Self::Delete(object)) = self;
        object
    }

    pub(super) fn path(&self) -> String {
        let all = if self.object()["kind"] == "Workspace" { WORKSPACES } else { KINDS };
        match self {
            Self::Create(_) => all.to_owned(),
            _ => format!("{all}/{}", self.object()["metadata"]["name"].as_str().unwrap()),
        }
    }

    pub(super) fn method(&self) -> Method {
        match self {
            Self::Create(_) => Method::POST,
            Self::Update(_) => Method::PUT,
            Self::Delete(_) => Method::DELETE,
        }
    }
}

pub(super) type Causes = BTreeSet<(String, String, String)>;

fn causes(list: &Value, [reason, field, message]: [&str; 3]) -> Causes {
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
    let list = list.as_array().cloned().unwrap_or_default();
    let parts = |cause: &Value| (text(cause, reason), text(cause, field), text(cause, message));
    list.iter().map(parts).collect()
}

pub(super) fn of_status(status: &Value) -> Causes {
    causes(&status["details"]["causes"], ["reason", "field", "message"])
}

pub(super) fn of_rest(answer: &Answer) -> Causes {
    let cause = &answer.json()["error"]["cause"];
    causes(&cause["validation_errors"], ["type", "field", "message"])
}

/// The reasons without the fields: a body of REST is another object.
pub(super) fn without_fields(causes: Causes) -> BTreeSet<(String, String)> {
    causes.into_iter().map(|(reason, _, message)| (reason, message)).collect()
}

/// What the REST API says about a change that is told to it as the whole object.
pub(super) async fn change_by_rest(up: &Up, new: &Value) -> Answer {
    let name = new["metadata"]["name"].as_str().unwrap();
    let path = match new["kind"].as_str().unwrap() {
        "Workspace" => format!("/workspaces/default/{name}"),
        _ => format!("/workspacekinds/{name}"),
    };
    eventually("no conflict", async || {
        let mut body = up.get(&path).await.expect(200).json();
        let data = body["data"].as_object_mut().unwrap();
        for part in ["spawner", "podTemplate", "activityRules", "filterRules"] {
            let is_known = new["kind"] == "WorkspaceKind" || data.contains_key(part);
            if is_known {
                data.insert(part.to_owned(), new["spec"][part].clone());
            }
        }
        let answer = up.api(Method::PUT, &path, Some(body)).await;
        // The controller counts the workspaces of a kind.
        (answer.status != 409).then_some(answer)
    })
    .await
}

/// Asks the two doors of Kubernetes, and holds them to each other word by word.
pub(super) async fn refused(
    kube: &Kube,
    webhooks: &Webhooks,
    write: &Write,
    old: Option<&Value>,
) -> Value {
    let body = Some(write.object()).filter(|_| write.method() != Method::DELETE);
    let answer = kube.send(write.method(), &write.path(), body).await;
    let mut own = answer.json();
    assert_eq!(own["kind"], "Status", "{answer:?}");
    assert!(answer.status.is_client_error(), "{answer:?}");
    let (status, _) = webhooks.ask(write, old).await;
    assert!(status.is_some(), "the webhook lets it pass: {own}");
    let theirs = status.unwrap();
    for key in ["code", "reason"] {
        assert_eq!(own[key], theirs[key]);
    }
    assert_eq!(own["details"]["name"], theirs["details"]["name"]);
    assert_eq!(own["details"]["kind"], theirs["details"]["kind"]);
    assert_eq!(of_status(&own), of_status(&theirs));
    // An API server puts the name of the webhook before what the webhook says.
    let said = own["message"].as_str().unwrap().to_owned();
    let (_, said) = said.split_once(" denied the request: ").unwrap();
    assert_eq!(said, theirs["message"]);
    own["message"] = json!(said);
    own
}

pub(super) async fn world() -> (Up, Kube, Webhooks) {
    let mut program = program();
    let config = program.scratch().join("alone.yaml");
    // The controller under test is the other program.
    std::fs::write(&config, "controller: {enabled: false}\ninstall: {samples: false}\n").unwrap();
    program = program.arg("--config").arg(config.to_str().unwrap());
    let up = program.start().await;
    let kubeconfig = up.program().dir().join("kubeconfig");
    let kube = Kube::new(&kubeconfig);
    for kind in [kind("sample"), kind("spare"), closed(), narrow()] {
        kube.send(Method::POST, KINDS, Some(&kind)).await.expect(201);
    }
    let tight = with(workspace("tight"), "/spec/kind", json!("narrow"));
    for workspace in [workspace("lab"), tight] {
        kube.send(Method::POST, WORKSPACES, Some(&workspace)).await.expect(201);
    }
    let webhooks = Webhooks::start(&kubeconfig, up.program().scratch()).await;
    (up, kube, webhooks)
}
