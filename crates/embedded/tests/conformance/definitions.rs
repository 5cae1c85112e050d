//! Definitions of custom resources, and discovery.

use kube::{Api, api::DynamicObject, discovery};
use serde_json::{Value, json};

use crate::kit::{DEFINITIONS, Kit, Widgets, text, unique};

fn condition(definition: &Value, kind: &str) -> Value {
    let mut conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|one| one["type"] == kind).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_definition_makes_a_kind() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let definition = kit.get(&format!("{DEFINITIONS}/{}", widgets.definition)).await.ok();
    assert_eq!(condition(&definition, "NamesAccepted")["status"], "True");
    assert_eq!(condition(&definition, "Established")["reason"], "InitialNamesAccepted");
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    let names = &definition["status"]["acceptedNames"];
    assert_eq!(names["listKind"], "WidgetList");
    assert_eq!(names["singular"], "widget");

    let group = discovery::group(&kit.client, &widgets.group).await.unwrap();
    let (resource, capabilities) = group.recommended_kind("Widget").unwrap();
    assert_eq!(resource.plural, "widgets");
    assert_eq!(capabilities.scope, discovery::Scope::Namespaced);
    assert!(capabilities.subresources.iter().any(|(sub, _)| sub.plural.ends_with("status")));

    let api: Api<DynamicObject> =
        Api::namespaced_with(kit.client.clone(), &kit.namespace, &resource);
    let widget = serde_json::from_value(widgets.object("w", json!({"size": 3}))).unwrap();
    let made = api.create(&kube::api::PostParams::default(), &widget).await.unwrap();
    assert_eq!(made.data["spec"], json!({"size": 3, "colour": "blue"}), "defaults are filled in");
    let list = kit.get(&widgets.path(&kit, "")).await.ok();
    assert_eq!(list["kind"], "WidgetList");
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let mut widget = widgets.object("w", json!({"size": 1}));
    widget["metadata"]["finalizers"] = json!(["example.com/hold"]);
    kit.post(&widgets.path(&kit, ""), widget).await.ok();
    let path = format!("{DEFINITIONS}/{}", widgets.definition);
    let deleted = kit.delete(&path, json!(null)).await.ok();
    assert_eq!(deleted["kind"], "CustomResourceDefinition");
    kit.until(&widgets.path(&kit, "w"), |answer| {
        answer.json()["metadata"].get("deletionTimestamp").is_some()
    })
    .await;
    let terminating =
        kit.until(&path, |answer| !condition(&answer.json(), "Terminating").is_null()).await;
    assert_eq!(condition(&terminating.json(), "Terminating")["status"], "True");
    let new = widgets.object("x", json!({"size": 1}));
    assert_eq!(kit.post(&widgets.path(&kit, ""), new).await.failure().0, 403);
    let free = json!({"metadata": {"finalizers": null}});
    kit.merge(&widgets.path(&kit, "w"), free).await.ok();
    kit.until_gone(&path).await;
    kit.until_gone(&widgets.path(&kit, "")).await;

    // The same again starts empty.
    kit.post(DEFINITIONS, widgets.json()).await.ok();
    widgets.established(&kit).await;
    assert_eq!(kit.get(&widgets.path(&kit, "")).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn names_of_another_definition_are_not_accepted() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let mut other = widgets.json();
    other["metadata"]["name"] = format!("gadgets.{}", widgets.group).into();
    other["spec"]["names"] = json!({"plural": "gadgets", "kind": "Widget"});
    kit.post(DEFINITIONS, other).await.ok();
    let path = format!("{DEFINITIONS}/gadgets.{}", widgets.group);
    let refused =
        kit.until(&path, |answer| !condition(&answer.json(), "Established").is_null()).await.json();
    let names = condition(&refused, "NamesAccepted");
    assert_eq!((&names["status"], &names["reason"]), (&json!("False"), &json!("ListKindConflict")));
    assert_eq!(names["message"], "\"WidgetList\" is already in use");
    assert_eq!(condition(&refused, "Established")["status"], "False");
    let instances = kit.group_path(&format!("{}/v1", widgets.group), "gadgets");
    assert_eq!(kit.get(&instances).await.code, 404);

    kit.delete(&format!("{DEFINITIONS}/{}", widgets.definition), json!(null)).await.ok();
    kit.until(&instances, |answer| answer.code == 200).await;
}

#[tokio::test]
async fn definitions_that_break_a_rule() {
    let kit = Kit::new().await;
    let with = |change: Value| {
        let widgets = Widgets::new();
        let mut definition = widgets.json();
        json_patch::merge(&mut definition, &change);
        definition
    };
    for (change, field) in [
        (json!({"metadata": {"name": "other"}}), "metadata.name"),
        (json!({"spec": {"scope": "Planet"}}), "spec.scope"),
        (json!({"spec": {"names": {"kind": ""}}}), "spec.names.kind"),
        (json!({"spec": {"versions": []}}), "spec.versions"),
        (
            json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true}]}}),
            "spec.versions[0].schema.openAPIV3Schema",
        ),
        (
            json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}}}]}}),
            "spec.validation.openAPIV3Schema.properties[spec].type",
        ),
    ] {
        let answer = kit.post(DEFINITIONS, with(change.clone())).await;
        let (code, reason, message) = answer.failure();
        assert_eq!((code, reason.as_str()), (422, "Invalid"), "{change}: {message}");
        let causes = answer.details()["causes"].clone();
        let fields: Vec<_> =
            causes.as_array().unwrap().iter().map(|cause| text(&cause["field"])).collect();
        assert!(fields.iter().any(|one| one == field), "{change}: {fields:?}");
    }
}

#[tokio::test]
async fn a_changed_schema_holds_from_then_on() {
    let kit = Kit::new().await;
    let widgets = Widgets::install(&kit).await;
    let path = format!("{DEFINITIONS}/{}", widgets.definition);
    let patch = json!([{
        "op": "add",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/weight",
        "value": {"type": "integer", "default": 7},
    }]);
    let patched = kit.json_patch(&path, patch).await.ok();
    assert_eq!(patched["metadata"]["generation"], 2);
    let dry_run = format!("{}?dryRun=All", widgets.path(&kit, ""));
    let name = unique("w");
    // A real server takes a moment, and may break requests off in between.
    let widget = widgets.object(&name, json!({"size": 1}));
    let made = kit.until_posted(&dry_run, &widget, |answer| {
        answer.code == 201 && answer.json()["spec"].get("weight").is_some()
    });
    assert_eq!(made.await.json()["spec"]["weight"], 7);
}

#[tokio::test]
async fn two_versions_of_one_resource() {
    let kit = Kit::new().await;
    let widgets = Widgets::new();
    let mut definition = widgets.json();
    let mut beta = definition["spec"]["versions"][0].clone();
    beta["name"] = "v1beta1".into();
    beta["storage"] = false.into();
    definition["spec"]["versions"].as_array_mut().unwrap().push(beta);
    kit.post(DEFINITIONS, definition).await.ok();
    widgets.established(&kit).await;
    let path = kit.group_path(&format!("{}/v1beta1", widgets.group), "widgets");
    let mut widget = widgets.object("w", json!({"size": 1}));
    widget["apiVersion"] = format!("{}/v1beta1", widgets.group).into();
    let made = kit.post(&path, widget).await.ok();
    assert_eq!(made["apiVersion"], format!("{}/v1beta1", widgets.group));
    let other = kit.get(&widgets.path(&kit, "w")).await.ok();
    assert_eq!(other["apiVersion"], format!("{}/v1", widgets.group));
    assert_eq!(other["metadata"], made["metadata"]);
    let list = kit.get(&path).await.ok();
    assert_eq!(list["items"][0]["apiVersion"], format!("{}/v1beta1", widgets.group));
    let group = kit.get(&format!("/apis/{}", widgets.group)).await.ok();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(group["versions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_cluster_scoped_kind() {
    let kit = Kit::new().await;
    let widgets = Widgets::new();
    let mut definition = widgets.json();
    definition["spec"]["scope"] = "Cluster".into();
    kit.post(DEFINITIONS, definition).await.ok();
    let path = format!("/apis/{}/v1/widgets", widgets.group);
    kit.until(&path, |answer| answer.code == 200).await;
    let made = kit.post(&path, widgets.object("w", json!({"size": 1}))).await.ok();
    assert!(made["metadata"].get("namespace").is_none());
    kit.get(&format!("{path}/w")).await.ok();
    assert_eq!(kit.get(&widgets.path(&kit, "w")).await.code, 404);
}

#[tokio::test]
async fn discovery_names_every_built_in_kind() {
    let kit = Kit::new().await;
    let core = kit.get("/api/v1").await.ok();
    assert_eq!((&core["kind"], &core["groupVersion"]), (&json!("APIResourceList"), &json!("v1")));
    let names: Vec<_> =
        core["resources"].as_array().unwrap().iter().map(|one| text(&one["name"])).collect();
    for name in [
        "configmaps",
        "events",
        "namespaces",
        "nodes",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "pods/log",
        "pods/status",
        "secrets",
        "serviceaccounts",
        "services",
    ] {
        assert!(names.iter().any(|one| one == name), "{name}");
    }
    for (group_version, kind) in [
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "Job"),
        ("coordination.k8s.io/v1", "Lease"),
        ("discovery.k8s.io/v1", "EndpointSlice"),
        ("storage.k8s.io/v1", "StorageClass"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ] {
        let list = kit.get(&format!("/apis/{group_version}")).await.ok();
        let kinds: Vec<_> =
            list["resources"].as_array().unwrap().iter().map(|one| text(&one["kind"])).collect();
        assert!(kinds.iter().any(|one| one == kind), "{kind}");
    }
    let groups = kit.get("/apis").await.ok();
    assert_eq!(groups["kind"], "APIGroupList");
    let version = kit.client.apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "34"));
}

#[tokio::test]
async fn rules_hold_for_objects_and_their_changes() {
    let kit = Kit::new().await;
    let widgets = Widgets::new();
    let mut definition = widgets.json();
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    definition.pointer_mut(schema).unwrap()["x-kubernetes-validations"] = json!([
        {"rule": "self.size < 100", "message": "too large"},
        {"rule": "self.size >= oldSelf.size", "messageExpression": "'may not ' + 'shrink'"},
        {"rule": "!has(self.names) || self.names.all(n, n.startsWith('a'))", "fieldPath": ".names", "reason": "FieldValueForbidden"},
    ]);
    kit.post(DEFINITIONS, definition).await.ok();
    widgets.established(&kit).await;
    let path = widgets.path(&kit, "");
    let large = kit.post(&path, widgets.object("w", json!({"size": 100}))).await;
    let whole = format!("Widget.{} \"w\" is invalid: spec: Invalid value: ", widgets.group);
    let message = large.failure().2;
    assert!(message.starts_with(&whole) && message.ends_with(": too large"), "{message}");
    let named = kit.post(&path, widgets.object("w", json!({"size": 5, "names": ["b"]}))).await;
    assert_eq!(named.details()["causes"][0]["reason"], "FieldValueForbidden");
    assert_eq!(named.details()["causes"][0]["field"], "spec.names");
    kit.post(&path, widgets.object("w", json!({"size": 5}))).await.ok();
    let smaller = kit.merge(&format!("{path}/w"), json!({"spec": {"size": 4}})).await;
    let message = smaller.failure().2;
    assert!(message.ends_with(": may not shrink"), "{message}");
    kit.merge(&format!("{path}/w"), json!({"spec": {"size": 6}})).await.ok();
}
