use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::model::fixtures::{kind, workspace};

/// The fixture with one thing changed.
fn changed(pointer: &str, to: Value) -> WorkspaceKind {
    let mut value = serde_json::to_value(kind()).unwrap();
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = to;
    serde_json::from_value(value).unwrap()
}

fn with(parent: &str, key: &str, to: Value) -> WorkspaceKind {
    let mut value = serde_json::to_value(kind()).unwrap();
    value.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"))[key] = to;
    serde_json::from_value(value).unwrap()
}

fn found(causes: &[Cause]) -> Vec<(&str, &str)> {
    causes.iter().map(|cause| (cause.reason.as_str(), cause.field.as_str())).collect()
}

const POD: &str = "/spec/podTemplate";
const IMAGES: &str = "/spec/podTemplate/options/imageConfig";

#[test]
fn a_good_kind_passes() {
    assert_eq!(create(&kind()), []);
    assert!(warnings(&kind().spec).is_empty());
}

#[rstest]
#[case::labels(
    with(POD, "podMetadata", json!({"labels": {"a": "b c"}})),
    names::INVALID, "spec.podTemplate.podMetadata.labels"
)]
#[case::env(
    with(POD, "extraEnv", json!([{"name": "X", "value": "{{ nope }}"}])),
    names::INVALID, "spec.podTemplate.extraEnv[X].value"
)]
#[case::header(
    with(
        &format!("{POD}/ports/0"), "httpProxy",
        json!({"requestHeaders": {"set": {"X-A": "{{"}}})
    ),
    names::INVALID, "spec.podTemplate.ports[0].httpProxy.requestHeaders.set[X-A]"
)]
#[case::no_effect(
    with("/spec", "filterRules", json!([{
        "scope": "POD_CONFIG", "effect": {"ui": {"hide": false}},
        "match": [{"matchNamespace": {"selector": {}}}],
    }])),
    names::INVALID, "spec.filterRules[0].effect"
)]
#[case::scope(
    with("/spec", "filterRules", json!([{
        "scope": "WORKSPACE_KIND", "effect": {"ui": {"hide": true}},
        "match": [{"matchImageConfig": {"selector": {}}}],
    }])),
    names::INVALID, "spec.filterRules[0].match[0].matchImageConfig"
)]
#[case::selector(
    with("/spec", "filterRules", json!([{
        "scope": "WORKSPACE_KIND", "effect": {"ui": {"hide": true}},
        "match": [{"matchNamespace": {"selector": {"matchLabels": {"-": ""}}}}],
    }])),
    names::INVALID, "spec.filterRules[0].match[0].matchNamespace.selector.matchLabels"
)]
#[case::script(
    with(POD, "activityProbe", json!({"podExec": {"script": "echo"}})),
    names::INVALID, "spec.podTemplate.activityProbe.podExec.script"
)]
#[case::script_without_interpreter(
    with(POD, "activityProbe", json!({"podExec": {"script": "#!  \necho"}})),
    names::INVALID, "spec.podTemplate.activityProbe.podExec.script"
)]
#[case::long_shebang(
    with(POD, "activityProbe", json!({"podExec": {"script": format!("#!/{}", "x".repeat(260))}})),
    names::INVALID, "spec.podTemplate.activityProbe.podExec.script"
)]
#[case::jupyter_port(
    with(POD, "activityProbe", json!({"jupyter": {"lastActivity": true, "portId": "x"}})),
    names::INVALID, "spec.podTemplate.activityProbe.jupyter.portId"
)]
#[case::default(
    changed(&format!("{IMAGES}/spawner/default"), json!("x")),
    names::INVALID, "spec.podTemplate.options.imageConfig.spawner.default"
)]
#[case::port_twice(
    changed(
        &format!("{IMAGES}/values/1/spec/ports"),
        json!([{"id": "web", "port": 80}, {"id": "api", "port": 80}])
    ),
    names::INVALID, "spec.podTemplate.options.imageConfig.values[img-2].spec.ports[api].port"
)]
#[case::port_unknown(
    changed(&format!("{IMAGES}/values/1/spec/ports"), json!([{"id": "x", "port": 80}])),
    names::INVALID, "spec.podTemplate.options.imageConfig.values[img-2].spec.ports[x].id"
)]
#[case::cycle(
    with(&format!("{IMAGES}/values/1"), "redirect", json!({"to": "img-1"})),
    names::INVALID, "spec.podTemplate.options.imageConfig.values[img-1].redirect.to"
)]
#[case::no_target(
    with(&format!("{IMAGES}/values/1"), "redirect", json!({"to": "x"})),
    names::INVALID, "spec.podTemplate.options.imageConfig.values[img-2].redirect.to"
)]
#[case::no_probe(
    with("/spec", "activityRules", json!([
        {"config": {"secondsSinceActive": 7200}, "effect": {"pauseWorkspace": true}},
    ])),
    names::REQUIRED, "spec.podTemplate.activityProbe"
)]
#[case::one_catch_all_at_the_end(
    with("/spec", "activityRules", json!([
        {"config": {"secondsSinceActive": 7200}, "effect": {"pauseWorkspace": false}, "match": {
            "matchNamespace": {"selector": {}}
        }},
        {"config": {"secondsSinceActive": 7200}, "effect": {"pauseWorkspace": false}},
        {"config": {"secondsSinceActive": 7200}, "effect": {}},
    ])),
    "", ""
)]
#[case::catch_all_first(
    with("/spec", "activityRules", json!([
        {"config": {"secondsSinceActive": 7200}, "effect": {"pauseWorkspace": false}, "match": {}},
        {"config": {"secondsSinceActive": 7200}, "effect": {"pauseWorkspace": false}, "match": {
            "matchPodConfig": {"selector": {"matchLabels": {"size": "s"}}}
        }},
    ])),
    names::INVALID, "spec.activityRules[0].match"
)]
fn a_bad_part_is_named(#[case] kind: WorkspaceKind, #[case] reason: &str, #[case] field: &str) {
    let causes = create(&kind);
    let expected = if field.is_empty() { vec![] } else { vec![(reason, field)] };
    assert_eq!(found(&causes), expected, "{causes:?}");
    // The same change of a good kind is refused too.
    assert_eq!(found(&update(&super::tests::kind(), &kind, Usage::default)), expected);
}

#[test]
fn two_rules_about_everything_are_one_too_many() {
    let rule = json!({"config": {"secondsSinceActive": 7200}, "effect": {"pauseWorkspace": false}});
    let causes = create(&with("/spec", "activityRules", json!([rule, rule])));
    assert_eq!(
        found(&causes),
        [
            (names::INVALID, "spec.activityRules[1].match"),
            (names::INVALID, "spec.activityRules[0].match"),
        ]
    );
}

#[test]
fn probing_less_often_than_pausing_is_worth_a_warning() {
    let kind = with(
        "/spec",
        "activityRules",
        json!([
            {"config": {"secondsSinceActive": 7199}, "effect": {"pauseWorkspace": true}},
        ]),
    );
    assert_eq!(warnings(&kind.spec).len(), 1);
}

#[test]
fn what_is_in_use_stays() {
    let used = || Usage::of("notebook", [&workspace("a"), &workspace("b")]);
    let other_image = changed(&format!("{IMAGES}/values/1/spec/image"), json!("reg/other:1"));
    let causes = update(&kind(), &other_image, used);
    assert_eq!(
        found(&causes),
        [(names::INVALID, "spec.podTemplate.options.imageConfig.values[img-2]")]
    );
    assert!(causes[0].message.contains("is used by 2 workspace(s) and cannot be changed"));
    assert_eq!(update(&kind(), &other_image, Usage::default), []);

    let mut without = kind();
    without.spec.pod_template.options.image_config.values.remove(0);
    assert_eq!(update(&kind(), &without, used), [], "nobody uses img-1");
    without = kind();
    without.spec.pod_template.options.pod_config.values.clear();
    let causes = update(&kind(), &without, used);
    assert_eq!(
        found(&causes),
        [
            (names::INVALID, "spec.podTemplate.options.podConfig.spawner.default"),
            (names::INVALID, "spec.podTemplate.options.podConfig.values[small]"),
        ]
    );
}

#[test]
fn other_words_for_the_same_are_no_change() {
    let nobody_asks = || -> Usage { panic!("nothing changed") };
    let pod = "/spec/podTemplate/options/podConfig/values/0";
    for kind in [
        changed(&format!("{pod}/spec/resources/requests/cpu"), json!("0.1")),
        changed(
            &format!("{pod}/spec/resources"),
            json!({"requests": {"cpu": "100m"}, "limits": {}}),
        ),
        changed(&format!("{pod}/spawner/displayName"), json!("Tiny")),
    ] {
        assert_eq!(update(&super::tests::kind(), &kind, nobody_asks), []);
    }
}

#[test]
fn a_kind_in_use_cannot_be_deleted() {
    let mut kind = kind();
    let texts = |causes: Vec<Cause>| -> Vec<_> { causes.into_iter().map(|c| c.message).collect() };
    assert_eq!(delete(&kind, &[]), []);
    let users = [Key::new(Some("a"), "x"), Key::new(Some("b"), "y")];
    assert_eq!(
        texts(delete(&kind, &users)),
        [
            "WorkspaceKind is used by 2 workspace(s)",
            "used by workspace a/x",
            "used by workspace b/y"
        ]
    );
    kind.metadata.finalizers = Some(vec![KIND_PROTECTION.to_owned()]);
    assert_eq!(texts(delete(&kind, &[])), ["WorkspaceKind has protection finalizer set"]);
}
