//! What `kubectl` writes to `up` is held to the same rules as what the REST API takes, and is refused
//! before anything is stored.

use quartermaster_e2e::{Answer, Kube, Up, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::program;

const WORKSPACES: &str = "/apis/kubeflow.org/v1beta1/namespaces/default/workspaces";
const KINDS: &str = "/apis/kubeflow.org/v1beta1/workspacekinds";

fn kube(up: &Up) -> Kube {
    Kube::new(&up.program().dir().join("kubeconfig"))
}

fn workspace(name: &str) -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace", "metadata": {"name": name},
        "spec": {
            "kind": "files", "paused": true,
            "podTemplate": {
                "volumes": {},
                "options": {"imageConfig": "IMAGE", "podConfig": "POD"},
            },
        },
    })
}

/// The same with options that the sample kind has.
async fn good_workspace(kube: &Kube, name: &str) -> Value {
    let kind = kube.get(&format!("{KINDS}/files")).await.expect(200).json();
    let mut workspace = workspace(name);
    for list in ["imageConfig", "podConfig"] {
        let chosen = &kind["spec"]["podTemplate"]["options"][list]["spawner"]["default"];
        workspace["spec"]["podTemplate"]["options"][list] = chosen.clone();
    }
    workspace
}

/// Code, message, and each cause in a line.
fn refusal(answer: &Answer) -> (u16, String, Vec<String>) {
    let status = answer.json();
    assert_eq!(status["kind"], "Status", "{answer:?}");
    assert_eq!(status["code"], answer.status.as_u16(), "{answer:?}");
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
    let line = |cause| {
        let (reason, field) = (text(cause, "reason"), text(cause, "field"));
        format!("{reason} {field}: {}", text(cause, "message"))
    };
    let causes = causes.iter().map(line).collect();
    (answer.status.as_u16(), text(&status, "message"), causes)
}

#[tokio::test]
async fn a_workspace_that_cannot_be_is_not_stored() {
    let up = program().start().await;
    let kube = kube(&up);
    let answer = kube.send(Method::POST, WORKSPACES, Some(&workspace("lab"))).await;
    let (code, message, causes) = refusal(&answer);
    assert_eq!(code, 422);
    let image = "Invalid value: \"IMAGE\": imageConfig with id \"IMAGE\" not found in workspace kind \"files\"";
    let pod =
        "Invalid value: \"POD\": podConfig with id \"POD\" not found in workspace kind \"files\"";
    let options = "spec.podTemplate.options";
    assert_eq!(
        message,
        format!(
            "admission webhook \"vworkspace.kb.io\" denied the request: Workspace.kubeflow.org \"lab\" \
             is invalid: [{options}.imageConfig: {image}, {options}.podConfig: {pod}]"
        )
    );
    assert_eq!(
        causes,
        [
            format!("FieldValueInvalid {options}.imageConfig: {image}"),
            format!("FieldValueInvalid {options}.podConfig: {pod}"),
        ]
    );
    assert_eq!(answer.json()["reason"], "Invalid");
    assert_eq!(kube.get(&format!("{WORKSPACES}/lab")).await.status, StatusCode::NOT_FOUND);

    let mut nowhere = workspace("lab");
    nowhere["spec"]["kind"] = json!("none");
    let (_, message, _) = refusal(&kube.send(Method::POST, WORKSPACES, Some(&nowhere)).await);
    assert!(message.ends_with("workspace kind \"none\" not found"), "{message}");
    let dotted = good_workspace(&kube, "a.b").await;
    let (code, message, _) = refusal(&kube.send(Method::POST, WORKSPACES, Some(&dotted)).await);
    assert_eq!(code, 422);
    assert!(message.contains("metadata.name: Invalid value: \"a.b\""), "{message}");
}

/// The causes that the REST API gives for the same workspace.
#[tokio::test]
async fn both_apis_refuse_for_the_same_reasons() {
    let up = program().start().await;
    let kube = kube(&up);
    let (_, _, causes) =
        refusal(&kube.send(Method::POST, WORKSPACES, Some(&workspace("lab"))).await);
    let template = workspace("lab")["spec"]["podTemplate"].clone();
    let new = json!({"data": {"name": "lab", "kind": "files", "podTemplate": template}});
    let answer = up.post("/workspaces/default", new).await.expect(422).json();
    let validation = answer["error"]["cause"]["validation_errors"].as_array().unwrap().iter();
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap().to_owned();
    let same = validation.map(|cause| {
        assert_eq!(cause["origin"], "KUBERNETES");
        format!("{} {}: {}", text(cause, "type"), text(cause, "field"), text(cause, "message"))
    });
    assert_eq!(same.collect::<Vec<_>>(), causes);
}

#[tokio::test]
async fn changes_are_held_to_the_rules_too() {
    let up = program().start().await;
    let kube = kube(&up);
    let made = good_workspace(&kube, "lab").await;
    kube.send(Method::POST, WORKSPACES, Some(&made)).await.expect(201);
    let path = format!("{WORKSPACES}/lab");
    let change = async |edit: &dyn Fn(&mut Value)| {
        // The controller writes the status meanwhile.
        eventually("no conflict", async || {
            let mut object = kube.get(&path).await.expect(200).json();
            edit(&mut object["spec"]);
            let answer = kube.send(Method::PUT, &path, Some(&object)).await;
            (answer.status != StatusCode::CONFLICT).then_some(answer)
        })
        .await
    };
    let bad = change(&|spec| spec["podTemplate"]["options"]["podConfig"] = json!("none")).await;
    assert_eq!(refusal(&bad).0, 422);
    let labels = json!({"labels": {"not a label": "x"}});
    let bad = change(&|spec| spec["podTemplate"]["podMetadata"] = labels.clone()).await;
    assert_eq!(refusal(&bad).2.len(), 1, "{bad:?}");
    change(&|spec| spec["displayName"] = json!("Mine")).await.expect(200);
}

#[tokio::test]
async fn a_kind_that_is_used_stays_as_it_is() {
    let up = program().start().await;
    let kube = kube(&up);
    let made = good_workspace(&kube, "lab").await;
    kube.send(Method::POST, WORKSPACES, Some(&made)).await.expect(201);
    let path = format!("{KINDS}/files");
    let (code, message, causes) = refusal(&kube.send(Method::DELETE, &path, None).await);
    assert_eq!(code, 409);
    assert_eq!(
        message,
        "admission webhook \"vworkspacekind.kb.io\" denied the request: Operation cannot be \
         fulfilled on workspacekinds.kubeflow.org \"files\": WorkspaceKind is used by 1 workspace(s)"
    );
    assert!(causes.iter().any(|cause| cause.ends_with("used by workspace default/lab")));
    let image = &made["spec"]["podTemplate"]["options"]["imageConfig"];
    let change = async |edit: &dyn Fn(&mut Value)| {
        eventually("no conflict", async || {
            let mut object = kube.get(&path).await.expect(200).json();
            edit(&mut object["spec"]["podTemplate"]["options"]["imageConfig"]);
            let answer = kube.send(Method::PUT, &path, Some(&object)).await;
            (answer.status != StatusCode::CONFLICT).then_some(answer)
        })
        .await
    };
    let (code, message, _) = refusal(
        &change(&|images| {
            let values = images["values"].as_array_mut().unwrap();
            let used = values.iter_mut().find(|value| value["id"] == *image).unwrap();
            used["spec"]["image"] = json!("another:1");
        })
        .await,
    );
    assert_eq!(code, 422);
    assert!(message.contains("is used by 1 workspace(s) and cannot be changed"), "{message}");
    let bad = change(&|images| images["spawner"]["default"] = json!("none")).await;
    assert!(refusal(&bad).1.contains("not found"), "{bad:?}");
    let fine = change(&|images| images["values"][0]["spawner"]["displayName"] = json!("New name"));
    fine.await.expect(200);

    kube.send(Method::DELETE, &format!("{WORKSPACES}/lab"), None).await.expect(200);
    eventually("the kind may go", async || {
        let answer = kube.send(Method::DELETE, &path, None).await;
        matches!(answer.status, StatusCode::OK | StatusCode::NOT_FOUND).then_some(())
    })
    .await;
}
