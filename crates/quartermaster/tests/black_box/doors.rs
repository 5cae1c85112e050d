//! One table of what is refused, through all doors: the REST API, the Kubernetes API of our own
//! cluster, and the admission webhook that API servers elsewhere ask. They give the same reasons.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use quartermaster_e2e::{Answer, Kube, Up, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::program;

const WORKSPACES: &str = "/apis/kubeflow.org/v1beta1/namespaces/default/workspaces";
const KINDS: &str = "/apis/kubeflow.org/v1beta1/workspacekinds";

/// `quartermaster as workspaces-controller` on the cluster of `up`, for its webhooks.
struct Webhooks {
    _child: Child,
    url: String,
    http: reqwest::Client,
}

impl Webhooks {
    async fn start(kubeconfig: &Path, scratch: &Path) -> Self {
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
        Self { _child: child, url, http }
    }

    /// The status of a review; none if the write is allowed.
    async fn ask(&self, write: &Write, old: Option<&Value>) -> (Option<Value>, Value) {
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
enum Write {
    Create(Value),
    Update(Value),
    Delete(Value),
}

impl Write {
    fn object(&self) -> &Value {
        let (Self::Create(object) | Self::Update(object) | Self::Delete(object)) = self;
        object
    }

    fn path(&self) -> String {
        let all = if self.object()["kind"] == "Workspace" { WORKSPACES } else { KINDS };
        match self {
            Self::Create(_) => all.to_owned(),
            _ => format!("{all}/{}", self.object()["metadata"]["name"].as_str().unwrap()),
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::Create(_) => Method::POST,
            Self::Update(_) => Method::PUT,
            Self::Delete(_) => Method::DELETE,
        }
    }
}

fn workspace(name: &str) -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"kind": "sample", "paused": true, "podTemplate": {
            "volumes": {}, "options": {"imageConfig": "one", "podConfig": "small"}}},
    })
}

fn kind(name: &str) -> Value {
    let image = |id: &str| {
        json!({"id": id, "spawner": {"displayName": id},
               "spec": {"image": "example.org/x:1", "ports": [{"id": "web", "port": 8080}]}})
    };
    let pod = |id: &str| json!({"id": id, "spawner": {"displayName": id}, "spec": {}});
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "WorkspaceKind", "metadata": {"name": name},
        "spec": {
            "spawner": {
                "displayName": "Sample", "description": "A sample",
                "icon": {"url": "https://example.org/i.svg"},
                "logo": {"url": "https://example.org/l.svg"},
            },
            "podTemplate": {
                "volumeMounts": {"home": "/home/user"},
                "ports": [{"id": "web", "protocol": "HTTP", "defaultDisplayName": "Web"}],
                "options": {
                    "imageConfig": {"spawner": {"default": "one"},
                                    "values": [image("one"), image("two")]},
                    "podConfig": {"spawner": {"default": "small"},
                                  "values": [pod("small"), pod("large")]},
                },
            },
        },
    })
}

/// The object with a value at a pointer, whose parents are there.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[last] = value;
    object
}

const TEMPLATE: &str = "/spec/podTemplate";
const IMAGES: &str = "/spec/podTemplate/options/imageConfig/values";
const PODS: &str = "/spec/podTemplate/options/podConfig/values";

/// Rules about a new workspace: what is set where, and the fields that are then at fault.
fn bad_workspaces() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let template = |key: &str, value| with(workspace("lab"), &format!("{TEMPLATE}/{key}"), value);
    let labels = "spec.podTemplate.podMetadata.labels";
    let annotations = "spec.podTemplate.podMetadata.annotations";
    vec![
        ("kind", with(workspace("lab"), "/spec/kind", json!("none")), vec!["spec.kind"]),
        (
            "labels",
            template("podMetadata", json!({"labels": {"a b": "c", "d": "-"}})),
            vec![labels, labels],
        ),
        (
            "annotations",
            template("podMetadata", json!({"annotations": {"a b": "c"}})),
            vec![annotations],
        ),
        (
            "long annotations",
            template("podMetadata", json!({"annotations": {"a": "x".repeat(300_000)}})),
            vec![annotations],
        ),
        (
            "image",
            template("options/imageConfig", json!("none")),
            vec!["spec.podTemplate.options.imageConfig"],
        ),
        (
            "pod",
            template("options/podConfig", json!("none")),
            vec!["spec.podTemplate.options.podConfig"],
        ),
        (
            "both",
            template("options", json!({"imageConfig": "none", "podConfig": "none"})),
            vec!["spec.podTemplate.options.imageConfig", "spec.podTemplate.options.podConfig"],
        ),
    ]
}

/// The same about a new kind.
fn bad_kinds() -> Vec<(&'static str, Value, Vec<String>)> {
    let set = |pointer: &str, value| with(kind("bad"), pointer, value);
    let template = |key: &str, value| set(&format!("{TEMPLATE}/{key}"), value);
    let probe = |probe| template("activityProbe", probe);
    let jupyter = json!({"jupyter": {"lastActivity": true, "portId": "web"}});
    let rule = |more: Value| {
        let mut rule = json!({"config": {"secondsSinceActive": 90_000},
                              "effect": {"pauseWorkspace": true}});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let rules = |rules: Value| with(probe(jupyter.clone()), "/spec/activityRules", rules);
    let filter = |scope: &str, effect: Value, matches: Value| {
        set("/spec/filterRules", json!([{"scope": scope, "effect": effect, "match": matches}]))
    };
    let (hide, anywhere) =
        (json!({"ui": {"hide": true}}), json!([{"matchNamespace": {"selector": {}}}]));
    let wrong = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]});
    let env = |value: &str| template("extraEnv", json!([{"name": "A", "value": value}]));
    let headers = |which: &str| {
        let bad = json!({which: {"x-a": "{{ nothing }}"}});
        template("ports/0/httpProxy", json!({"requestHeaders": bad}))
    };
    let redirect = |list: &str, index: usize, to: &str| {
        (format!("{list}/{index}/redirect"), json!({"to": to}))
    };
    let redirected = |redirects: Vec<(String, Value)>| {
        redirects.into_iter().fold(kind("bad"), |kind, (at, to)| with(kind, &at, to))
    };
    let pod_template = |field: &str| vec![format!("spec.podTemplate.{field}")];
    let image = "options.imageConfig.values[one]";
    let declared = json!([
        {"id": "web", "protocol": "HTTP", "defaultDisplayName": "Web"},
        {"id": "api", "protocol": "HTTP", "defaultDisplayName": "API"},
    ]);
    vec![
        (
            "labels",
            template("podMetadata", json!({"labels": {"a b": "c"}})),
            pod_template("podMetadata.labels"),
        ),
        ("env", env("{{ nothing }}"), pod_template("extraEnv[A].value")),
        ("open env", env("{{ httpPathPrefix"), pod_template("extraEnv[A].value")),
        ("set", headers("set"), pod_template("ports[0].httpProxy.requestHeaders.set[x-a]")),
        ("add", headers("add"), pod_template("ports[0].httpProxy.requestHeaders.add[x-a]")),
        (
            "no effect",
            filter("WORKSPACE_KIND", json!({"ui": {"hide": false}}), anywhere.clone()),
            vec!["spec.filterRules[0].effect".to_owned()],
        ),
        (
            "scope",
            filter("WORKSPACE_KIND", hide.clone(), json!([{"matchPodConfig": {"selector": {}}}])),
            vec!["spec.filterRules[0].match[0].matchPodConfig".to_owned()],
        ),
        (
            "image scope",
            filter("WORKSPACE_KIND", hide.clone(), json!([{"matchImageConfig": {"selector": {}}}])),
            vec!["spec.filterRules[0].match[0].matchImageConfig".to_owned()],
        ),
        (
            "filter selector",
            filter("POD_CONFIG", hide, json!([{"matchPodConfig": {"selector": wrong}}])),
            vec![
                "spec.filterRules[0].match[0].matchPodConfig.selector.matchExpressions[0].values"
                    .to_owned(),
            ],
        ),
        (
            "activity selector",
            rules(json!([rule(json!({"match": {"matchNamespace": {"selector": wrong}}}))])),
            vec![
                "spec.activityRules[0].match.matchNamespace.selector.matchExpressions[0].values"
                    .to_owned(),
            ],
        ),
        (
            "no shebang",
            probe(json!({"podExec": {"script": "echo"}})),
            pod_template("activityProbe.podExec.script"),
        ),
        (
            "long shebang",
            probe(json!({"podExec": {"script": format!("#!/bin/{}", "x".repeat(300))}})),
            pod_template("activityProbe.podExec.script"),
        ),
        (
            "jupyter port",
            probe(json!({"jupyter": {"lastActivity": true, "portId": "none"}})),
            pod_template("activityProbe.jupyter.portId"),
        ),
        (
            "image default",
            template("options/imageConfig/spawner", json!({"default": "none"})),
            pod_template("options.imageConfig.spawner.default"),
        ),
        (
            "pod default",
            template("options/podConfig/spawner", json!({"default": "none"})),
            pod_template("options.podConfig.spawner.default"),
        ),
        (
            "port twice",
            with(
                template("ports", declared),
                &format!("{IMAGES}/0/spec/ports"),
                json!([{"id": "web", "port": 8080}, {"id": "api", "port": 8080}]),
            ),
            pod_template(&format!("{image}.spec.ports[api].port")),
        ),
        (
            "port id",
            set(&format!("{IMAGES}/0/spec/ports/0/id"), json!("none")),
            pod_template(&format!("{image}.spec.ports[none].id")),
        ),
        (
            "image circle",
            redirected(vec![redirect(IMAGES, 0, "two"), redirect(IMAGES, 1, "one")]),
            pod_template(&format!("{image}.redirect.to")),
        ),
        (
            "nowhere",
            redirected(vec![redirect(IMAGES, 0, "none")]),
            pod_template(&format!("{image}.redirect.to")),
        ),
        (
            "pod circle",
            redirected(vec![redirect(PODS, 0, "large"), redirect(PODS, 1, "small")]),
            pod_template("options.podConfig.values[small].redirect.to"),
        ),
        (
            "two catch-alls",
            rules(json!([rule(json!({})), rule(json!({}))])),
            vec![
                "spec.activityRules[1].match".to_owned(),
                "spec.activityRules[0].match".to_owned(),
            ],
        ),
        (
            "catch-all first",
            rules(json!([
                rule(json!({})),
                rule(json!({"match": {"matchNamespace": {"selector": {}}}})),
            ])),
            vec!["spec.activityRules[0].match".to_owned()],
        ),
        (
            "no probe",
            set("/spec/activityRules", json!([rule(json!({}))])),
            pod_template("activityProbe"),
        ),
    ]
}

type Causes = BTreeSet<(String, String, String)>;

fn causes(list: &Value, [reason, field, message]: [&str; 3]) -> Causes {
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
    let list = list.as_array().cloned().unwrap_or_default();
    let parts = |cause: &Value| (text(cause, reason), text(cause, field), text(cause, message));
    list.iter().map(parts).collect()
}

fn of_status(status: &Value) -> Causes {
    causes(&status["details"]["causes"], ["reason", "field", "message"])
}

fn of_rest(answer: &Answer) -> Causes {
    let cause = &answer.json()["error"]["cause"];
    causes(&cause["validation_errors"], ["type", "field", "message"])
}

/// Asks the two doors of Kubernetes, and holds them to each other word by word.
async fn refused(kube: &Kube, webhooks: &Webhooks, write: &Write, old: Option<&Value>) -> Value {
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

async fn world() -> (Up, Kube, Webhooks) {
    let mut program = program();
    let config = program.scratch().join("alone.yaml");
    // The controller under test is the other program.
    std::fs::write(&config, "controller: {enabled: false}\ninstall: {samples: false}\n").unwrap();
    program = program.arg("--config").arg(config.to_str().unwrap());
    let up = program.start().await;
    let kubeconfig = up.program().dir().join("kubeconfig");
    let kube = Kube::new(&kubeconfig);
    kube.send(Method::POST, KINDS, Some(&kind("sample"))).await.expect(201);
    let webhooks = Webhooks::start(&kubeconfig, up.program().scratch()).await;
    (up, kube, webhooks)
}

#[tokio::test]
async fn what_is_wrong_is_refused_at_all_doors_for_the_same_reasons() {
    let (up, kube, webhooks) = world().await;
    for (rule, bad, fields) in bad_workspaces() {
        let status = refused(&kube, &webhooks, &Write::Create(bad.clone()), None).await;
        let found = of_status(&status);
        let named: BTreeSet<&str> = found.iter().map(|(_, field, _)| field.as_str()).collect();
        assert_eq!(named, fields.into_iter().collect(), "{rule}: {status}");
        let data = json!({"data": {"name": "lab", "kind": bad["spec"]["kind"], "paused": true,
                                   "podTemplate": bad["spec"]["podTemplate"]}});
        let answer = up.post("/workspaces/default", data).await;
        assert_eq!(answer.status, 422, "{rule}: {answer:?}");
        // The REST API has no pod metadata: it says so before it asks the rules.
        if bad["spec"]["podTemplate"].get("podMetadata").is_none() {
            assert_eq!(of_rest(&answer), found, "{rule}");
        }
    }
    for (rule, bad, fields) in bad_kinds() {
        let status = refused(&kube, &webhooks, &Write::Create(bad.clone()), None).await;
        let found = of_status(&status);
        let named: BTreeSet<String> = found.iter().map(|(_, field, _)| field.clone()).collect();
        assert_eq!(named, fields.into_iter().collect(), "{rule}: {status}");
        let yaml = bad.to_string();
        let answer = up.create_kind(&yaml).await;
        assert_eq!(answer.status, 422, "{rule}: {answer:?}");
        assert_eq!(of_rest(&answer), found, "{rule}");
    }
    assert_eq!(kube.get(&format!("{KINDS}/bad")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_may_not_change_or_go_stays_at_all_doors() {
    let (up, kube, webhooks) = world().await;
    kube.send(Method::POST, WORKSPACES, Some(&workspace("lab"))).await.expect(201);
    let live = async |path: String| kube.get(&path).await.expect(200).json();
    // Versions move on while the controller works, and refusals come before conflicts are found.
    let change = async |path: String, pointer: &str, value: Value| {
        let old = live(path).await;
        let new = with(old.clone(), pointer, value);
        let status = refused(&kube, &webhooks, &Write::Update(new), Some(&old)).await;
        of_status(&status).into_iter().map(|(_, field, _)| field).collect::<Vec<_>>()
    };
    let (lab, sample) = (format!("{WORKSPACES}/lab"), format!("{KINDS}/sample"));
    let options = "spec.podTemplate.options";
    let image = format!("{TEMPLATE}/options/imageConfig");
    for (path, pointer, value, field) in [
        (&lab, image.clone(), json!("none"), "imageConfig"),
        (&lab, format!("{TEMPLATE}/options/podConfig"), json!("none"), "podConfig"),
        (&sample, format!("{image}/spawner/default"), json!("x"), "imageConfig.spawner.default"),
        (&sample, format!("{IMAGES}/0/spec/image"), json!("y:1"), "imageConfig.values[one]"),
        (&sample, format!("{IMAGES}/0/id"), json!("three"), "imageConfig.values[one]"),
        (&sample, format!("{PODS}/0/id"), json!("three"), "podConfig.values[small]"),
        (
            &sample,
            format!("{IMAGES}/1/redirect"),
            json!({"to": "x"}),
            "imageConfig.values[two].redirect.to",
        ),
    ] {
        let fields = change(path.clone(), &pointer, value).await;
        assert!(fields.contains(&format!("{options}.{field}")), "{pointer}: {fields:?}");
    }

    let old = live(sample.clone()).await;
    let deletion = Write::Delete(old.clone());
    let status = refused(&kube, &webhooks, &deletion, Some(&old)).await;
    assert_eq!((status["code"].as_u64(), status["reason"].as_str()), (Some(409), Some("Conflict")));
    let answer = up.delete("/workspacekinds/sample").await.expect(409);
    assert!(answer.text.contains("used by workspace default/lab"), "{answer:?}");

    // What is unlikely to be meant passes, with a word about it.
    let mut odd = with(
        kind("odd"),
        &format!("{TEMPLATE}/activityProbe"),
        json!({"jupyter": {"lastActivity": true, "portId": "web"}}),
    );
    odd["spec"]["activityRules"] =
        json!([{"config": {"secondsSinceActive": 60}, "effect": {"pauseWorkspace": true}}]);
    let (status, warnings) = webhooks.ask(&Write::Create(odd.clone()), None).await;
    assert_eq!(status, None);
    assert!(warnings[0].as_str().unwrap().contains("secondsSinceActive"), "{warnings}");
    kube.send(Method::POST, KINDS, Some(&odd)).await.expect(201);

    // A workspace of a kind that was made this very moment is not refused by older news.
    let fresh = with(workspace("new"), "/spec/kind", json!("odd"));
    assert_eq!(webhooks.ask(&Write::Create(fresh), None).await.0, None);
    // Nobody refuses to delete a workspace, and then its kind may go.
    let old = live(lab.clone()).await;
    assert_eq!(webhooks.ask(&Write::Delete(old.clone()), Some(&old)).await.0, None);
    kube.send(Method::DELETE, &lab, None).await.expect(200);
    eventually("the kind may go", async || {
        let old = live(sample.clone()).await;
        webhooks.ask(&Write::Delete(old.clone()), Some(&old)).await.0.is_none().then_some(())
    })
    .await;
}
