//! Helpers of this room's tests.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Cause;

/// Causes as lines.
pub(crate) fn seen(causes: &[Cause]) -> Vec<String> {
    causes
        .iter()
        .map(|cause| format!("{} {}: {}", cause.reason, cause.field, cause.message))
        .collect()
}

const WORDS: &[&str] = &[
    "spec",
    "metadata",
    "template",
    "containers",
    "volumes",
    "ports",
    "port",
    "protocol",
    "data",
    "stringData",
    "type",
    "name",
    "selector",
    "matchLabels",
    "resources",
    "limits",
    "requests",
    "storage",
    "env",
    "volumeMounts",
    "updateStrategy",
    "readinessProbe",
    "httpGet",
    "a",
    "b",
];

/// Any JSON, with names that the core kinds know.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    json_of(prop::sample::select(WORDS).prop_map(str::to_owned))
}

fn json_of(names: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|float| json!(float)),
        prop::sample::select(vec!["", "a", "1Gi", "Always", "None", "2024-01-01T00:00:00Z"])
            .prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let object = prop::collection::vec((names.clone(), inner.clone()), 0..6)
            .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()));
        prop_oneof![prop::collection::vec(inner, 0..4).prop_map(Value::from), object]
    })
}

/// Values that fit [`any_schema`] now and then.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    json_of(prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned))
}

/// Schemas of all sorts, most of them structural.
pub(crate) fn any_schema() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        (0_i64..5, 0_i64..5).prop_map(|(low, high)| json!({"type": "integer", "minimum": low, "maximum": high, "default": low})),
        Just(json!({"type": "string", "pattern": "^[a-z]*$", "maxLength": 5, "default": "x"})),
        Just(json!({"type": "string", "format": "date-time", "nullable": true})),
        Just(json!({"type": "string", "enum": ["a", "b"], "default": "a"})),
        Just(json!({"type": "number", "multipleOf": 0.5})),
        Just(json!({"type": "boolean", "default": true})),
        Just(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]})),
        Just(json!({"type": "wrong"})),
    ];
    scalar.prop_recursive(4, 24, 3, |inner| {
        let names = prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
        let fields = prop::collection::vec((names, inner.clone()), 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()));
        let object =
            (fields, any::<bool>(), any::<bool>()).prop_map(|(properties, preserve, filled)| {
                let mut schema =
                    json!({"type": "object", "properties": properties, "required": ["a"]});
                if preserve {
                    schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
                }
                if filled {
                    schema["default"] = json!({});
                    schema["required"] = json!([]);
                }
                schema
            });
        prop_oneof![
            object,
            inner.clone().prop_map(|items| json!({"type": "array", "items": items, "maxItems": 3})),
            inner.clone().prop_map(
                |items| json!({"type": "array", "items": items, "x-kubernetes-list-type": "set"})
            ),
            inner.prop_map(|value| json!({"type": "object", "additionalProperties": value})),
        ]
    })
}
