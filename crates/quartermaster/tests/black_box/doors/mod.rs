//! One table of what is refused, through all doors: the REST API, the Kubernetes API of our own
//! cluster, and the admission webhook that API servers elsewhere ask. They give the same reasons,
//! and every reason that the rules know is given.

mod objects;
mod reasons;
mod world;

use std::collections::BTreeSet;

use quartermaster_e2e::{Kube, Up, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use objects::{IMAGES, PODS, TEMPLATE, bad_kinds, bad_workspaces, kind, with, workspace};
use world::{
    Causes, KINDS, WORKSPACES, Webhooks, Write, change_by_rest, of_rest, of_status, refused,
    without_fields, world,
};

/// The doors, and the messages that were heard at them.
struct Doors {
    up: Up,
    kube: Kube,
    webhooks: Webhooks,
    heard: Vec<String>,
}

impl Doors {
    /// A new object, refused by both doors of Kubernetes.
    async fn create(&mut self, bad: &Value) -> Causes {
        let write = Write::Create(bad.clone());
        let causes = of_status(&refused(&self.kube, &self.webhooks, &write, None).await);
        self.hear(&causes);
        causes
    }

    /// A change, refused by all three.
    async fn change(&mut self, old: &Value, new: Value) -> Causes {
        let rest = change_by_rest(&self.up, &new).await;
        assert_eq!(rest.status, 422, "{rest:?}");
        let has_metadata = new.pointer("/spec/podTemplate/podMetadata").is_some();
        let is_kind = new["kind"] == "WorkspaceKind";
        let write = Write::Update(new);
        let causes = of_status(&refused(&self.kube, &self.webhooks, &write, Some(old)).await);
        // The REST API has no pod metadata of workspaces: it says so before it asks the rules.
        if is_kind || !has_metadata {
            assert_eq!(of_rest(&rest), causes);
        }
        self.hear(&causes);
        causes
    }

    fn hear(&mut self, causes: &Causes) {
        self.heard.extend(causes.iter().map(|(_, _, message)| message.clone()));
    }

    async fn live(&self, path: &str) -> Value {
        self.kube.get(path).await.expect(200).json()
    }
}

fn fields(causes: &Causes) -> BTreeSet<String> {
    causes.iter().map(|(_, field, _)| field.clone()).collect()
}

#[tokio::test]
async fn what_is_wrong_is_refused_at_all_doors_for_the_same_reasons() {
    let (up, kube, webhooks) = world().await;
    let mut doors = Doors { up, kube, webhooks, heard: Vec::new() };
    wrong_workspaces(&mut doors).await;
    wrong_kinds(&mut doors).await;
    changes_of_what_is_used(&mut doors).await;
    deletions(&mut doors).await;
    odd_kinds(&mut doors).await;
    protected_kinds(doors).await;
}

async fn wrong_workspaces(doors: &mut Doors) {
    for (rule, bad, expected) in bad_workspaces() {
        let found = doors.create(&bad).await;
        let named = fields(&found);
        assert_eq!(named, expected.into_iter().map(str::to_owned).collect(), "{rule}: {found:?}");
        let name = &bad["metadata"]["name"];
        let data = json!({"data": {"name": name, "kind": bad["spec"]["kind"], "paused": true,
                                   "podTemplate": bad["spec"]["podTemplate"]}});
        let answer = doors.up.post("/workspaces/default", data).await;
        assert_eq!(answer.status, 422, "{rule}: {answer:?}");
        // The REST API has no pod metadata: it says so before it asks the rules.
        if bad["spec"]["podTemplate"].get("podMetadata").is_none() {
            let told = of_rest(&answer);
            assert_eq!(without_fields(told), without_fields(found.clone()), "{rule}");
        }
        // The definition lets nobody change the kind, and nobody has another name.
        if bad["spec"]["kind"] == "sample" && name == "lab" {
            let old = doors.live(&format!("{WORKSPACES}/lab")).await;
            let new = with(old.clone(), "/spec", bad["spec"].clone());
            assert_eq!(doors.change(&old, new).await, found, "{rule}");
        }
    }
    let old = doors.live(&format!("{WORKSPACES}/tight")).await;
    let options = json!({"imageConfig": "two", "podConfig": "large"});
    let new = with(old.clone(), &format!("{TEMPLATE}/options"), options);
    let found = doors.change(&old, new).await;
    assert_eq!(found.len(), 2, "{found:?}");
}

async fn wrong_kinds(doors: &mut Doors) {
    for (rule, bad, expected) in bad_kinds() {
        let found = doors.create(&bad).await;
        assert_eq!(fields(&found), expected.into_iter().collect(), "{rule}: {found:?}");
        let answer = doors.up.create_kind(&bad.to_string()).await;
        assert_eq!(answer.status, 422, "{rule}: {answer:?}");
        assert_eq!(of_rest(&answer), found, "{rule}");
        let old = doors.live(&format!("{KINDS}/spare")).await;
        let new = with(old.clone(), "/spec", bad["spec"].clone());
        assert_eq!(doors.change(&old, new).await, found, "{rule}");
    }
    assert_eq!(doors.kube.get(&format!("{KINDS}/bad")).await.status, StatusCode::NOT_FOUND);
}

async fn changes_of_what_is_used(doors: &mut Doors) {
    let options = "spec.podTemplate.options";
    for (pointer, value, field) in [
        (format!("{IMAGES}/0/spec/image"), json!("y:1"), "imageConfig.values[one]"),
        (format!("{IMAGES}/0/id"), json!("three"), "imageConfig.values[one]"),
        (format!("{PODS}/0/id"), json!("three"), "podConfig.values[small]"),
        (format!("{PODS}/0/spec"), json!({"nodeSelector": {"a": "b"}}), "podConfig.values[small]"),
    ] {
        let old = doors.live(&format!("{KINDS}/sample")).await;
        let new = with(old.clone(), &pointer, value);
        let fields = fields(&doors.change(&old, new).await);
        assert!(fields.contains(&format!("{options}.{field}")), "{pointer}: {fields:?}");
    }
}

async fn deletions(doors: &mut Doors) {
    let (lab, sample) = (format!("{WORKSPACES}/lab"), format!("{KINDS}/sample"));
    let old = doors.live(&sample).await;
    let deletion = Write::Delete(old.clone());
    let status = refused(&doors.kube, &doors.webhooks, &deletion, Some(&old)).await;
    assert_eq!((status["code"].as_u64(), status["reason"].as_str()), (Some(409), Some("Conflict")));
    doors.hear(&of_status(&status));
    let answer = doors.up.delete("/workspacekinds/sample").await.expect(409);
    assert!(answer.text.contains("used by workspace default/lab"), "{answer:?}");

    // Nobody refuses to delete a workspace, and then its kind may go.
    let old = doors.live(&lab).await;
    assert_eq!(doors.webhooks.ask(&Write::Delete(old.clone()), Some(&old)).await.0, None);
    doors.kube.send(Method::DELETE, &lab, None).await.expect(200);
    eventually("the kind may go", async || {
        let old = doors.live(&sample).await;
        doors.webhooks.ask(&Write::Delete(old.clone()), Some(&old)).await.0.is_none().then_some(())
    })
    .await;
}

/// What is unlikely to be meant passes, with a word about it.
async fn odd_kinds(doors: &mut Doors) {
    let mut odd = with(
        kind("odd"),
        &format!("{TEMPLATE}/activityProbe"),
        json!({"jupyter": {"lastActivity": true, "portId": "web"}}),
    );
    odd["spec"]["activityRules"] =
        json!([{"config": {"secondsSinceActive": 60}, "effect": {"pauseWorkspace": true}}]);
    let (status, warnings) = doors.webhooks.ask(&Write::Create(odd.clone()), None).await;
    assert_eq!(status, None);
    doors.heard.push(warnings[0].as_str().unwrap().to_owned());
    doors.kube.send(Method::POST, KINDS, Some(&odd)).await.expect(201);

    // A workspace of a kind that was made this very moment is not refused by older news.
    let fresh = with(workspace("new"), "/spec/kind", json!("odd"));
    assert_eq!(doors.webhooks.ask(&Write::Create(fresh), None).await.0, None);
}

/// A kind that nobody uses any more is protected until the controller has seen that. At the end,
/// because the controller that has the webhooks must not see it meanwhile.
async fn protected_kinds(mut doors: Doors) {
    let finalizers = json!(["notebooks.kubeflow.org/workspacekind-protection"]);
    let protected = with(kind("protected"), "/metadata/finalizers", finalizers);
    let deletion = Write::Delete(protected.clone());
    let (theirs, _) = doors.webhooks.ask(&deletion, Some(&protected)).await;
    let theirs = of_status(&theirs.unwrap());
    doors.hear(&theirs);
    doors.webhooks.stop().await;
    doors.kube.send(Method::POST, KINDS, Some(&protected)).await.expect(201);
    let own = doors.kube.send(Method::DELETE, &deletion.path(), None).await.expect(409).json();
    assert_eq!(of_status(&own), theirs);
    let rest = doors.up.delete("/workspacekinds/protected").await.expect(409);
    let (_, _, message) = theirs.first().unwrap();
    assert!(rest.text.contains(message.as_str()), "{rest:?}");

    let missing = reasons::missing(&doors.heard);
    assert!(missing.is_empty(), "reasons without a row in the table of doors: {missing:#?}");
}
