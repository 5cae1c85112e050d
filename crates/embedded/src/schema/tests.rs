//! Schemas as a whole: tables of good and bad values, and properties that always hold.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    Schema,
    testing::{any_json, any_schema, any_value, seen},
};

fn schema_of(spec: &Value) -> Schema {
    Schema::compile(&json!({"type": "object", "properties": {"spec": spec}})).unwrap()
}

#[rstest]
#[case(json!({"type": "integer"}), json!("x"), r#"FieldValueTypeInvalid spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#)]
#[case(json!({"type": "integer"}), json!(1.5), r#"FieldValueTypeInvalid spec.x: Invalid value: "number": spec.x in body must be of type integer: "number""#)]
#[case(json!({"type": "string"}), json!(null), r#"FieldValueTypeInvalid spec.x: Invalid value: "null": spec.x in body must be of type string: "null""#)]
#[case(json!({"x-kubernetes-int-or-string": true}), json!(true), r#"FieldValueTypeInvalid spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean""#)]
#[case(json!({"type": "string", "pattern": "^[a-z]+$"}), json!("Foo"), r#"FieldValueInvalid spec.x: Invalid value: "Foo": spec.x in body should match '^[a-z]+$'"#)]
#[case(json!({"type": "string", "enum": ["a", "b"]}), json!("x"), r#"FieldValueNotSupported spec.x: Unsupported value: "x": supported values: "a", "b""#)]
#[case(json!({"type": "integer", "enum": [1, 2]}), json!(3), r#"FieldValueNotSupported spec.x: Unsupported value: 3: supported values: "1", "2""#)]
#[case(json!({"type": "string", "maxLength": 3}), json!("four"), "FieldValueTooLong spec.x: Too long: may not be more than 3 bytes")]
#[case(json!({"type": "string", "minLength": 3}), json!("ab"), r#"FieldValueInvalid spec.x: Invalid value: "ab": spec.x in body should be at least 3 chars long"#)]
#[case(json!({"type": "integer", "minimum": 1}), json!(0), "FieldValueInvalid spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1")]
#[case(json!({"type": "integer", "maximum": 1, "exclusiveMaximum": true}), json!(1), "FieldValueInvalid spec.x: Invalid value: 1: spec.x in body should be less than 1")]
#[case(json!({"type": "number", "maximum": 1.5}), json!(1.75), "FieldValueInvalid spec.x: Invalid value: 1.75: spec.x in body should be less than or equal to 1.5")]
#[case(json!({"type": "integer", "multipleOf": 4}), json!(6), "FieldValueInvalid spec.x: Invalid value: 6: spec.x in body should be a multiple of 4")]
#[case(json!({"type": "array", "items": {"type": "string"}, "minItems": 1}), json!([]), "FieldValueInvalid spec.x: Invalid value: 0: spec.x in body should have at least 1 items")]
#[case(json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}), json!(["a", "b"]), "FieldValueTooMany spec.x: Too many: 2: must have at most 1 item")]
#[case(json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1}), json!({"a": "", "b": ""}), "FieldValueTooMany spec.x: Too many: 2: must have at most 1 item")]
#[case(json!({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}), json!({}), "FieldValueInvalid spec.x: Invalid value: 0: spec.x in body should have at least 1 properties")]
#[case(json!({"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]}), json!({}), "FieldValueRequired spec.x.y: Required value")]
#[case(json!({"type": "object", "additionalProperties": {"type": "string"}}), json!({"k": 1}), r#"FieldValueTypeInvalid spec.x.k: Invalid value: "integer": spec.x.k in body must be of type string: "integer""#)]
#[case(json!({"type": "array", "items": {"type": "string"}}), json!(["a", 1]), r#"FieldValueTypeInvalid spec.x[1]: Invalid value: "integer": spec.x[1] in body must be of type string: "integer""#)]
#[case(json!({"type": "string", "format": "date-time"}), json!("now"), r#"FieldValueTypeInvalid spec.x: Invalid value: "now": spec.x in body must be of type date-time: "now""#)]
#[case(json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}), json!(["a", "b", "a", "a"]), r#"FieldValueDuplicate spec.x[2]: Duplicate value: "a""#)]
#[case(json!({"type": "array", "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}), json!([{"k": "a"}, {"k": "a"}]), r#"FieldValueDuplicate spec.x[1]: Duplicate value: {"k":"a"}"#)]
#[case(json!({"type": "string", "not": {"enum": ["a"]}}), json!("a"), r#"FieldValueInvalid <nil>: Invalid value: "": "spec.x" must not validate the schema (not)"#)]
fn a_broken_rule_is_worded_as_the_api_server_does(
    #[case] x: Value,
    #[case] value: Value,
    #[case] cause: &str,
) {
    let schema = schema_of(&json!({"type": "object", "properties": {"x": x}}));
    assert_eq!(seen(&schema.validate(&json!({"spec": {"x": value}}), None)), [cause]);
}

#[rstest]
#[case(json!({"type": "number"}), json!(1))]
#[case(json!({"type": "integer"}), json!(1.0))]
#[case(json!({"type": "string", "nullable": true}), json!(null))]
#[case(json!({"type": "integer", "format": "int32"}), json!(1_i64 << 40))]
#[case(json!({"x-kubernetes-int-or-string": true}), json!("1"))]
#[case(json!({"x-kubernetes-preserve-unknown-fields": true}), json!([1, {"a": null}]))]
#[case(json!({"type": "string", "maxLength": 2}), json!("éé"))]
#[case(json!({"type": "string", "anyOf": [{"enum": ["a"]}, {"pattern": "^b"}]}), json!("bc"))]
fn a_kept_rule_is_silent(#[case] x: Value, #[case] value: Value) {
    let schema = schema_of(&json!({"type": "object", "properties": {"x": x}}));
    assert_eq!(schema.validate(&json!({"spec": {"x": value}}), None), []);
}

#[rstest]
#[case(json!({"type": "string", "anyOf": [{"enum": ["a"]}, {"pattern": "^b"}]}), json!("c"), &[
    r#"FieldValueInvalid <nil>: Invalid value: "": "spec.x" must validate at least one schema (anyOf)"#,
    r#"FieldValueNotSupported spec.x: Unsupported value: "c": supported values: "a""#,
])]
#[case(json!({"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "a$"}]}), json!("aa"), &[
    r#"FieldValueInvalid <nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
])]
#[case(json!({"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "z$"}]}), json!("aa"), &[
    r#"FieldValueInvalid spec.x: Invalid value: "aa": spec.x in body should match 'z$'"#,
    r#"FieldValueInvalid <nil>: Invalid value: "": "spec.x" must validate all the schemas (allOf)"#,
])]
fn junctors_name_the_place_in_their_text(
    #[case] x: Value,
    #[case] value: Value,
    #[case] causes: &[&str],
) {
    let schema = schema_of(&json!({"type": "object", "properties": {"x": x}}));
    assert_eq!(seen(&schema.validate(&json!({"spec": {"x": value}}), None)), causes);
}

#[rstest]
#[case(json!({}), &["FieldValueRequired openAPIV3Schema.type: Required value: must not be empty at the root"])]
#[case(json!({"type": "string"}), &[r#"FieldValueInvalid openAPIV3Schema.type: Invalid value: "string": must be object at the root"#])]
#[case(json!({"type": "object", "additionalProperties": true}), &["FieldValueForbidden openAPIV3Schema.additionalProperties: Forbidden: must not be used at the root"])]
#[case(json!({"type": "object", "properties": {"spec": {}}}), &["FieldValueRequired openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"])]
#[case(json!({"type": "object", "properties": {"l": {"type": "array"}}}), &["FieldValueRequired openAPIV3Schema.properties[l].items: Required value: must be specified"])]
#[case(json!({"type": "object", "properties": {"l": {"type": "array", "items": {}}}}), &["FieldValueRequired openAPIV3Schema.properties[l].items.type: Required value: must not be empty for specified array items"])]
#[case(json!({"type": "object", "properties": {"x": {"type": "null"}}}), &[
    r#"FieldValueNotSupported openAPIV3Schema.properties[x].type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string""#,
    "FieldValueForbidden openAPIV3Schema.properties[x].type: Forbidden: type cannot be set to null, use nullable as an alternative",
])]
#[case(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}), &["FieldValueForbidden openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"])]
#[case(json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]}), &[
    "FieldValueForbidden openAPIV3Schema.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
    "FieldValueRequired openAPIV3Schema.properties[a]: Required value: because it is defined in openAPIV3Schema.anyOf[0].properties[a]",
])]
#[case(json!({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}, "uniqueItems": true}}}), &["FieldValueForbidden openAPIV3Schema.properties[x].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"])]
#[case(json!({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}}}), &["FieldValueRequired openAPIV3Schema.properties[x].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"])]
#[case(json!({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}}}), &[
    "FieldValueRequired openAPIV3Schema.properties[x].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
    r#"FieldValueInvalid openAPIV3Schema.properties[x].items.type: Invalid value: "string": must be object if parent array's x-kubernetes-list-type is map"#,
])]
#[case(json!({"type": "object", "properties": {"x": {"type": "string", "x-kubernetes-preserve-unknown-fields": false}}}), &["FieldValueInvalid openAPIV3Schema.properties[x].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"])]
#[case(json!({"type": "object", "properties": {"x": {"type": "integer", "default": "a"}}}), &[r#"FieldValueTypeInvalid openAPIV3Schema.properties[x].default: Invalid value: "string": openAPIV3Schema.properties[x].default in body must be of type integer: "string""#])]
#[case(json!({"type": "object", "properties": {"x": {"type": "object", "default": {"a": 1}}}}), &[r#"FieldValueInvalid openAPIV3Schema.properties[x].default: Invalid value: {"a":1}: must not have unknown fields"#])]
#[case(json!({"type": "object", "properties": {"kind": {"type": "string", "default": "A"}}}), &["FieldValueForbidden openAPIV3Schema.properties[kind].default: Forbidden: must not be set in top-level kind"])]
fn schemas_that_are_refused(#[case] schema: Value, #[case] causes: &[&str]) {
    assert_eq!(seen(&Schema::compile(&schema).unwrap_err()), causes);
}

#[test]
fn unknown_fields_go_and_are_named() {
    let schema = schema_of(&json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"part": {"type": "object"}}},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }}));
    let mut object = json!({
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "x"}, "status": 1,
        "spec": {
            "known": "a", "unknown": {"deep": 1},
            "list": [{"a": "b", "x": 1}],
            "map": {"k": {"x": 1}},
            "free": {"any": [1], "part": {"x": 1}},
            "pod": {"metadata": {"x": 1}, "spec": {"x": 1}},
        },
    });
    let unknown = schema.prune(&mut object);
    assert_eq!(
        unknown,
        ["spec.free.part.x", "spec.list[0].x", "spec.map.k.x", "spec.unknown", "status"]
    );
    assert_eq!(
        object,
        json!({
            "apiVersion": "v1", "kind": "K", "metadata": {"name": "x"},
            "spec": {
                "known": "a",
                "list": [{"a": "b"}],
                "map": {"k": {}},
                "free": {"any": [1], "part": {}},
                "pod": {"metadata": {"x": 1}, "spec": {"x": 1}},
            },
        })
    );
    assert_eq!(schema.prune(&mut object), Vec::<String>::new());
}

#[test]
fn defaults_need_their_parent_and_replace_forbidden_nulls() {
    let schema = schema_of(&json!({"type": "object", "properties": {
        "a": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}},
        "c": {"type": "object", "default": {}, "properties": {"d": {"type": "string", "default": "x"}}},
        "null": {"type": "string", "default": "y"},
        "nullable": {"type": "string", "nullable": true, "default": "z"},
        "gone": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"e": {"type": "boolean", "default": false}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"f": {"type": "integer", "default": 2}}}},
    }}));
    let mut object = json!({"spec": {"null": null, "nullable": null, "gone": null, "list": [{}], "map": {"k": {}}}});
    schema.default(&mut object);
    let whole = json!({"spec": {
        "c": {"d": "x"}, "null": "y", "nullable": null, "list": [{"e": false}], "map": {"k": {"f": 2}},
    }});
    assert_eq!(object, whole);
    schema.default(&mut object);
    assert_eq!(object, whole);
    let mut empty = json!({});
    schema.default(&mut empty);
    assert_eq!(empty, json!({}));
}

#[test]
fn what_has_not_changed_is_not_refused() {
    let schema = schema_of(&json!({"type": "object", "properties": {
        "x": {"type": "string", "maxLength": 1},
        "y": {"type": "string", "maxLength": 1},
    }}));
    let old = json!({"spec": {"x": "long", "y": "a"}});
    let new = json!({"spec": {"x": "long", "y": "long"}});
    assert_eq!(
        seen(&schema.validate(&new, Some(&old))),
        ["FieldValueTooLong spec.y: Too long: may not be more than 1 byte"]
    );
}

proptest! {
    #[test]
    fn compiling_never_panics(schema in any_json()) {
        let _ = Schema::compile(&schema);
    }

    #[test]
    fn pruning_and_defaults_settle(part in any_schema(), value in any_value(), old in any_value()) {
        let schema = json!({"type": "object", "properties": {"a": part.clone(), "b": part}});
        let Ok(schema) = Schema::compile(&schema) else { return Ok(()) };
        let mut pruned = value;
        schema.prune(&mut pruned);
        let mut again = pruned.clone();
        prop_assert_eq!(schema.prune(&mut again), Vec::<String>::new());
        prop_assert_eq!(&again, &pruned);
        let was_valid = schema.validate(&pruned, None).is_empty();
        let mut filled = pruned;
        schema.default(&mut filled);
        let mut again = filled.clone();
        schema.default(&mut again);
        prop_assert_eq!(&again, &filled);
        if was_valid {
            let causes = schema.validate(&filled, None);
            prop_assert!(causes.is_empty(), "{:?}", causes);
            prop_assert!(schema.validate(&filled, Some(&filled)).is_empty());
        }
        schema.validate(&filled, Some(&old));
    }
}
