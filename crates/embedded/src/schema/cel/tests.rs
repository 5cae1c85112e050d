//! Rules as a whole: what they say, when they run, and what they may cost.

use rstest::rstest;
use serde_json::{Value, json};

use crate::schema::{Schema, testing::seen};

fn spec_schema(rules: &Value) -> Value {
    json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "properties": {
            "n": {"type": "integer"}, "m": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"},
            "b": {"type": "boolean"}, "a-b": {"type": "string"}, "namespace": {"type": "string"},
            "time": {"type": "string", "format": "date-time"}, "data": {"type": "string", "format": "byte"},
            "port": {"x-kubernetes-int-or-string": true},
            "list": {"type": "array", "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
            "numbers": {"type": "array", "items": {"type": "integer"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "x-kubernetes-validations": rules,
    }}})
}

fn check(rule: &str, spec: &Value) -> Vec<String> {
    let schema = Schema::compile(&spec_schema(&json!([{"rule": rule, "message": "no"}]))).unwrap();
    seen(&schema.validate(&json!({"spec": spec}), None))
}

#[rstest]
#[case("self.n > 1 && self.n < 3")]
#[case("has(self.n) && !has(self.m)")]
#[case("self.n == 2.0")]
#[case("self.d + 0.5 == 2.0")]
#[case("self.s.startsWith('a') && self.s.matches('^a[b]c$') && 'b' in ['a', 'b']")]
#[case("self.s.size() == 3 && size(self.list) == 2")]
#[case("self.a__dash__b == 'x' && self.__namespace__ == 'y'")]
#[case("self.time > timestamp('2024-01-01T00:00:00Z')")]
#[case("self.data == b'hi'")]
#[case("self.port == 80 || self.port == 'http'")]
#[case(
    "self.list.all(i, i.v > 0) && self.list.exists(i, i.k == 'two') && self.list.exists_one(i, i.v == 1)"
)]
#[case("self.list.filter(i, i.v > 1).map(i, i.k) == ['two']")]
#[case("self.list.map(i, i.v).sum() == 3")]
#[case("self.map.all(k, k.startsWith('a')) && self.map['a/b'] == 'x' && 'a/b' in self.map")]
#[case("self.numbers[1] == 5 && self.numbers.isSorted()")]
#[case("(self.m > 1) || true")]
#[case("self.n % 2 == 0 ? self.b : false")]
#[case("quantity('1Gi').isGreaterThan(quantity('500Mi'))")]
#[case("self.s.lowerAscii() == 'abc' && self.s.upperAscii() == 'ABC'")]
#[case("url('https://a.example:80/x').getHost() == 'a.example:80'")]
#[case("optional.of(1).orValue(2) == 1 && !optional.none().hasValue()")]
#[case("self.?m.orValue(7) == 7 && self.?n.value() == 2")]
#[case("type(self.n) == int && string(self.n) == '2' && int('2') == self.n")]
#[case("sets.contains([1, 2], [1])")]
#[case("duration('1h') == duration('60m')")]
fn rules_that_hold(#[case] rule: &str) {
    let spec = json!({
        "n": 2, "d": 1.5, "s": "abc", "b": true, "a-b": "x", "namespace": "y", "time": "2025-01-01T00:00:00Z",
        "data": "aGk=", "port": 80, "list": [{"k": "one", "v": 1}, {"k": "two", "v": 2}], "numbers": [3, 5],
        "map": {"a/b": "x"},
    });
    assert_eq!(check(rule, &spec), Vec::<String>::new());
}

#[rstest]
#[case("self.n > 1", json!({"n": 1}), r#"FieldValueInvalid spec: Invalid value: "object": no"#)]
#[case("self.m > 1", json!({}), r#"FieldValueInvalid spec: Invalid value: "object": no such key: m evaluating rule: no"#)]
#[case("self.numbers[2] > 1", json!({"numbers": []}), r#"FieldValueInvalid spec: Invalid value: "object": index out of bounds: 2 evaluating rule: no"#)]
#[case("self.n / 0 > 1", json!({"n": 1}), r#"FieldValueInvalid spec: Invalid value: "object": division by zero evaluating rule: no"#)]
#[case("self.n + 1 > 1", json!({"n": i64::MAX}), r#"FieldValueInvalid spec: Invalid value: "object": integer overflow evaluating rule: no"#)]
fn rules_that_fail(#[case] rule: &str, #[case] spec: Value, #[case] cause: &str) {
    assert_eq!(check(rule, &spec), [cause]);
}

#[rstest]
#[case(json!({"rule": "self.n > 1"}), r#"FieldValueInvalid spec: Invalid value: "object": failed rule: self.n > 1"#)]
#[case(json!({"rule": "self.n > 1", "messageExpression": "'n is ' + string(self.n)"}), r#"FieldValueInvalid spec: Invalid value: "object": n is 1"#)]
#[case(json!({"rule": "self.n > 1", "message": "fixed", "messageExpression": "self.s"}), r#"FieldValueInvalid spec: Invalid value: "object": fixed"#)]
#[case(json!({"rule": "self.n > 1", "message": "no", "reason": "FieldValueForbidden", "fieldPath": ".n"}), "FieldValueForbidden spec.n: Forbidden: no")]
#[case(json!({"rule": "self.n > 1", "message": "no", "reason": "FieldValueRequired"}), "FieldValueRequired spec: Required value: no")]
#[case(json!({"rule": "self.n > 1", "message": "no", "reason": "FieldValueDuplicate"}), r#"FieldValueDuplicate spec: Duplicate value: "object""#)]
fn messages_reasons_and_paths(#[case] rule: Value, #[case] cause: &str) {
    let schema = Schema::compile(&spec_schema(&json!([rule]))).unwrap();
    assert_eq!(seen(&schema.validate(&json!({"spec": {"n": 1}}), None)), [cause]);
}

#[test]
fn transition_rules_need_an_old_value() {
    let schema = Schema::compile(&spec_schema(
        &json!([{"rule": "self.n == oldSelf.n", "message": "immutable"}]),
    ))
    .unwrap();
    let object = |n: i64| json!({"spec": {"n": n}});
    assert_eq!(schema.validate(&object(1), None), []);
    assert_eq!(schema.validate(&object(1), Some(&object(1))), []);
    assert_eq!(
        seen(&schema.validate(&object(2), Some(&object(1)))),
        [r#"FieldValueInvalid spec: Invalid value: "object": immutable"#]
    );
    assert_eq!(schema.validate(&object(2), Some(&json!({}))), []);
}

#[test]
fn an_optional_old_value_is_always_there_to_ask() {
    let rule = json!([{"rule": "oldSelf.hasValue() || self.n == 1", "optionalOldSelf": true, "message": "starts at 1"}]);
    let schema = Schema::compile(&spec_schema(&rule)).unwrap();
    assert_eq!(schema.validate(&json!({"spec": {"n": 1}}), None), []);
    assert_eq!(schema.validate(&json!({"spec": {"n": 2}}), None).len(), 1);
    assert_eq!(schema.validate(&json!({"spec": {"n": 2}}), Some(&json!({"spec": {"n": 1}}))), []);
}

#[test]
fn elements_meet_their_old_selves_by_key() {
    let schema = Schema::compile(&json!({"type": "object", "properties": {
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
            "type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {
                "type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "only up"}],
            }},
        }},
        "map": {"type": "object", "additionalProperties": {
            "type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "only up"}],
        }},
    }}))
    .unwrap();
    let old = json!({"list": [{"k": "a", "v": 1}, {"k": "b", "v": 5}], "map": {"x": 5}});
    let new = json!({"list": [{"k": "b", "v": 4}, {"k": "a", "v": 2}, {"k": "c", "v": 0}], "map": {"x": 4, "y": 0}});
    assert_eq!(
        seen(&schema.validate(&new, Some(&old))),
        [
            r#"FieldValueInvalid list[0].v: Invalid value: "integer": only up"#,
            r#"FieldValueInvalid map[x]: Invalid value: "integer": only up"#,
        ]
    );
}

#[test]
fn a_wrong_shape_comes_before_the_rules() {
    let schema = Schema::compile(&spec_schema(&json!([{"rule": "self.n > 1"}]))).unwrap();
    let causes = schema.validate(&json!({"spec": {"n": "x"}}), None);
    assert_eq!(causes.len(), 2);
    assert_eq!(
        causes[1].message,
        "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
    );
}

#[test]
fn unchanged_values_keep_what_was_true_before() {
    let schema = Schema::compile(&spec_schema(&json!([{"rule": "self.n > 1"}]))).unwrap();
    let old = json!({"spec": {"n": 1}, "status": 1});
    assert_eq!(schema.validate(&json!({"spec": {"n": 1}, "status": 2}), Some(&old)), []);
}

#[rstest]
#[case("self.n >", "Syntax error")]
#[case("self.missing > 1", "undefined field 'missing'\n | self.missing > 1\n | ....^")]
#[case("other > 1", "<input>:1:1: undeclared reference to 'other' (in container '')")]
#[case("nothing(self.n)", "undeclared reference to 'nothing'")]
#[case("self.n.x == 1", "type 'int' does not support field selection")]
#[case("self.list.all(i, i.z == 1)", "undefined field 'z'")]
#[case("self.n + 1", "cel expression must evaluate to a bool")]
#[case("self.s", "cel expression must evaluate to a bool")]
#[case("Foo{a: 1} == self", "undeclared reference to 'Foo'")]
fn rules_that_do_not_compile(#[case] rule: &str, #[case] part: &str) {
    let causes = Schema::compile(&spec_schema(&json!([{"rule": rule}]))).unwrap_err();
    assert_eq!(causes.len(), 1, "{causes:?}");
    assert_eq!(
        causes[0].field,
        "openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    );
    assert!(causes[0].message.contains(part), "{}", causes[0].message);
}

#[rstest]
#[case(json!({"rule": " "}), "rule: Required value: rule is not specified")]
#[case(json!({"rule": "true", "message": " "}), r#"message: Invalid value: " ": must be non-empty if specified"#)]
#[case(json!({"rule": "true", "reason": "X"}), r#"reason: Unsupported value: "X": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired""#)]
#[case(json!({"rule": "true", "fieldPath": ".zz"}), r#"fieldPath: Invalid value: ".zz": must be a valid path"#)]
#[case(json!({"rule": "true", "optionalOldSelf": true}), "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule")]
#[case(json!({"rule": "true", "messageExpression": "1"}), r#"messageExpression: Invalid value: {"Rule":"true","Message":"","MessageExpression":"1","Reason":null,"FieldPath":"","OptionalOldSelf":null}: messageExpression must evaluate to a string"#)]
fn rules_that_are_refused(#[case] rule: Value, #[case] end: &str) {
    let causes = Schema::compile(&spec_schema(&json!([rule]))).unwrap_err();
    let shown = format!("{}: {}", causes[0].field, causes[0].message);
    assert_eq!(
        shown,
        format!("openAPIV3Schema.properties[spec].x-kubernetes-validations[0].{end}")
    );
}

#[test]
fn old_values_of_plain_lists_cannot_be_asked() {
    let causes =
        Schema::compile(&json!({"type": "object", "properties": {"l": {"type": "array", "items": {
            "type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}],
        }}}}))
        .unwrap_err();
    assert_eq!(
        causes[0].message,
        r#"Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within openAPIV3Schema.properties[l]"#
    );
}

#[test]
fn costly_rules_are_stopped() {
    let rule = "self.numbers.all(a, self.numbers.all(b, self.numbers.all(c, a + b + c >= 0)))";
    let schema =
        Schema::compile(&spec_schema(&json!([{"rule": rule, "message": "no"}, {"rule": "false"}])))
            .unwrap();
    let numbers: Vec<u32> = (0..1000).collect();
    assert_eq!(
        seen(&schema.validate(&json!({"spec": {"numbers": numbers}}), None)),
        [
            r#"FieldValueInvalid spec: Invalid value: "object": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: no"#
        ]
    );
}

#[rstest]
#[case("self.s.replace('a', self.s).replace('a', self.s).replace('a', self.s) == ''")]
#[case("'%.100000000f'.format([1.0]) == ''")]
fn giant_results_are_stopped(#[case] rule: &str) {
    let causes = check(rule, &json!({"s": "a".repeat(200_000)}));
    assert_eq!(causes.len(), 1);
    assert!(causes[0].contains("actual cost limit exceeded"), "{}", causes[0]);
}

#[rstest]
#[case("(".repeat(4000))]
#[case("!".repeat(4000))]
#[case("-".repeat(4000))]
#[case("[".repeat(4000))]
#[case(format!("{}1", "1+".repeat(3000)))]
#[case(format!("{}true", "true?true:".repeat(700)))]
#[case(format!("self{}", ".a".repeat(3000)))]
#[case(format!("{}true", "true==".repeat(1000)))]
#[case(format!("{}true", "1 in ".repeat(1000)))]
#[case("'".repeat(4000))]
fn hostile_rules_are_refused(#[case] rule: String) {
    assert!(Schema::compile(&spec_schema(&json!([{"rule": rule}]))).is_err());
}

#[test]
fn long_honest_rules_pass() {
    let rule = (0..150).map(|n| format!("self.n != {n}")).collect::<Vec<_>>().join(" && ");
    assert_eq!(check(&rule, &json!({"n": 1000})), Vec::<String>::new());
}
