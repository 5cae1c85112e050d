//! What is refused: objects, each wrong in one way.

use serde_json::{Value, json};

pub(super) fn workspace(name: &str) -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"kind": "sample", "paused": true, "podTemplate": {
            "volumes": {}, "options": {"imageConfig": "one", "podConfig": "small"}}},
    })
}

pub(super) fn kind(name: &str) -> Value {
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
pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[last] = value;
    object
}

pub(super) const TEMPLATE: &str = "/spec/podTemplate";
pub(super) const IMAGES: &str = "/spec/podTemplate/options/imageConfig/values";
pub(super) const PODS: &str = "/spec/podTemplate/options/podConfig/values";

/// A kind that nobody may use.
pub(super) fn closed() -> Value {
    let rule = json!([{
        "scope": "WORKSPACE_KIND", "match": [{"matchNamespace": {"selector": {}}}],
        "effect": {"api": {"deny": true, "denyMessage": {"text": "closed for now"}}},
    }]);
    with(kind("closed"), "/spec/filterRules", rule)
}

/// A kind of which only the first options may be used.
pub(super) fn narrow() -> Value {
    let labels = json!([{"key": "tier", "value": "gold"}]);
    let selector = json!({"selector": {"matchLabels": {"tier": "gold"}}});
    let rule = |scope: &str, part: &str| json!({"scope": scope, "match": [{part: selector}], "effect": {"api": {"deny": true}}});
    let rules =
        json!([rule("IMAGE_CONFIG", "matchImageConfig"), rule("POD_CONFIG", "matchPodConfig"),]);
    let kind = with(kind("narrow"), "/spec/filterRules", rules);
    let kind = with(kind, &format!("{IMAGES}/1/spawner/labels"), labels.clone());
    with(kind, &format!("{PODS}/1/spawner/labels"), labels)
}

/// Labels that break each rule of names and values.
fn bad_labels() -> Value {
    let long = "x".repeat(64);
    let prefix = format!("{}/a", "x".repeat(254));
    json!({
        "a b": "c", "a": "-", "/a": "", "a/": "", "a/b/c": "", "A_B/c": "", "b": long,
        long.clone(): "", prefix: "",
    })
}

/// Rules about a new workspace: what is set where, and the fields that are then at fault.
pub(super) fn bad_workspaces() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let template = |key: &str, value| with(workspace("lab"), &format!("{TEMPLATE}/{key}"), value);
    let labels = "spec.podTemplate.podMetadata.labels";
    let annotations = "spec.podTemplate.podMetadata.annotations";
    vec![
        ("kind", with(workspace("lab"), "/spec/kind", json!("none")), vec!["spec.kind"]),
        ("dotted name", workspace("a.b"), vec!["metadata.name"]),
        ("long name", workspace(&"x".repeat(64)), vec!["metadata.name"]),
        ("closed kind", with(workspace("lab"), "/spec/kind", json!("closed")), vec!["spec.kind"]),
        (
            "closed options",
            with(
                template("options", json!({"imageConfig": "two", "podConfig": "large"})),
                "/spec/kind",
                json!("narrow"),
            ),
            vec!["spec.podTemplate.options.imageConfig", "spec.podTemplate.options.podConfig"],
        ),
        ("labels", template("podMetadata", json!({"labels": bad_labels()})), vec![labels]),
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
pub(super) fn bad_kinds() -> Vec<(&'static str, Value, Vec<String>)> {
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
            template("podMetadata", json!({"labels": bad_labels()})),
            pod_template("podMetadata.labels"),
        ),
        ("env", env("{{ nothing }}"), pod_template("extraEnv[A].value")),
        (
            "annotations",
            template("podMetadata", json!({"annotations": {"a b": "c"}})),
            pod_template("podMetadata.annotations"),
        ),
        ("open env", env("{{"), pod_template("extraEnv[A].value")),
        ("env without port", env("{{ httpPathPrefix }}"), pod_template("extraEnv[A].value")),
        ("empty env", env("{{}}"), pod_template("extraEnv[A].value")),
        ("bad comment", env("{{ /* a */ }}"), pod_template("extraEnv[A].value")),
        ("bad string", env("{{ \"a }}"), pod_template("extraEnv[A].value")),
        ("long env", env(&"x".repeat(33_000)), pod_template("extraEnv[A].value")),
        ("many actions", env(&"{{ `a` }}".repeat(257)), pod_template("extraEnv[A].value")),
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
            "values without need",
            rules(json!([rule(json!({"match": {"matchPodConfig": {"selector": {
                "matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}],
            }}}}))])),
            vec![
                "spec.activityRules[0].match.matchPodConfig.selector.matchExpressions[0].values"
                    .to_owned(),
            ],
        ),
        (
            "operator",
            rules(json!([rule(json!({"match": {"matchPodConfig": {"selector": {
                "matchExpressions": [{"key": "a", "operator": "Like"}],
            }}}}))])),
            vec![
                "spec.activityRules[0].match.matchPodConfig.selector.matchExpressions[0].operator"
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
