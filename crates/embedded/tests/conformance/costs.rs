//! What the rules of a definition may cost before there is any object.

use rstest::rstest;
use serde_json::{Value, json};

use crate::kit::{DEFINITIONS, Kit, unique};

/// A definition with this schema as its `spec`, tried out.
async fn define(kit: &Kit, spec: Value) -> crate::kit::Answer {
    let group = format!("{}.example.com", unique("g"));
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "properties": {"spec": spec}},
            }}],
        },
    });
    kit.post(&format!("{DEFINITIONS}?dryRun=All"), definition).await
}

fn schema() -> Value {
    let text = json!({"type": "string"});
    let short = json!({"type": "string", "maxLength": 10});
    let list = |items: &Value| json!({"type": "array", "items": items});
    let named = json!({"type": "object", "required": ["name"], "properties": {
        "name": text, "v": {"type": "integer"},
    }});
    let deep = json!({"type": "object", "properties": {
        "a": list(&text),
        "b": list(&json!({"type": "object", "properties": {"k": text}})),
    }});
    json!({"type": "object", "properties": {
        "s": text, "t": short, "l": list(&text),
        "m": {"type": "array", "maxItems": 10, "items": short},
        "n": list(&list(&text)), "i": {"type": "integer"}, "b": {"type": "boolean"},
        "o": list(&named), "oo": list(&deep),
        "d": {"type": "object", "additionalProperties": text},
        "e": {"type": "object", "maxProperties": 20, "additionalProperties": {
            "type": "string", "maxLength": 20,
        }},
        "x": {"x-kubernetes-int-or-string": true},
        "en": {"type": "string", "enum": ["aa", "bbbb"]},
        "dt": {"type": "string", "format": "date-time"}, "by": {"type": "string", "format": "byte"},
        "lm": {"type": "array", "maxItems": 1000, "items": {"type": "string", "maxLength": 100}},
    }})
}

/// By which factor a rule is too dear: nothing if it is not, `undeclared` if it does not compile.
#[rstest]
#[case("self.s == 'a'", "")]
#[case("self.s.startsWith('abc')", "")]
#[case("self.s.matches('^[a-z]+$')", "")]
#[case("self.t.matches('^[a-z]{1,100}$')", "")]
#[case("self.s.contains(self.s)", "more than 100x")]
#[case("self.s.contains('abc')", "")]
#[case("self.l.all(x, x == 'a')", "")]
#[case("self.l.all(x, x.startsWith('a'))", "")]
#[case("self.l.all(x, x.matches('^[a-z]+$'))", "more than 100x")]
#[case("self.m.all(x, x.matches('^[a-z]+$'))", "")]
#[case("self.l.exists(x, self.l.exists(y, x == y))", "more than 100x")]
#[case("self.l.all(x, self.l.all(y, self.l.all(z, x + y == z)))", "more than 100x")]
#[case("self.l.exists_one(x, x == 'a')", "")]
#[case("self.l.map(x, x + 'a').all(y, y.size() < 10)", "more than 100x")]
#[case("self.l.filter(x, x != 'a').size() < 5", "1.6x")]
#[case("self.n.all(x, x.all(y, y == 'a'))", "more than 100x")]
#[case("self.o.all(x, x.name == 'a')", "")]
#[case("self.o.all(x, x.v > 5)", "")]
#[case("self.o.all(x, self.o.filter(y, y.name == x.name).size() == 1)", "more than 100x")]
#[case("self.d.all(k, k.startsWith('a'))", "")]
#[case("self.d.all(k, self.d[k] == 'x')", "")]
#[case("self.e.all(k, self.e[k].matches('^a+$'))", "")]
#[case("'a' in self.l", "")]
#[case("'a' in self.d", "")]
#[case("self.s in ['a', 'b', 'c']", "")]
#[case("self.i > 5 && self.i < 10", "")]
#[case("self.s < 'b'", "")]
#[case("self.s + self.s == self.t", "")]
#[case("self.x == 5 || self.x == 'a'", "")]
#[case("self.l == self.l", "")]
#[case("self.m.isSorted()", "")]
#[case("self.l.isSorted()", "more than 100x")]
#[case("self.l.join(',') == 'a'", "more than 100x")]
#[case("self.s.split(',').all(x, x == 'a')", "1.321205x")]
#[case("self.s.split(',').size() < 5", "")]
#[case("self.s.replace('a', 'bb').size() < 10", "")]
#[case("self.s.lowerAscii() == 'a'", "")]
#[case("self.s.trim() == self.t", "")]
#[case("has(self.s) && has(self.l) && self.l.size() > 0", "")]
#[case("self.b ? self.s == 'a' : self.t == 'b'", "")]
#[case("self.en == 'aa'", "")]
#[case("self.dt > timestamp('2020-01-01T00:00:00Z')", "")]
#[case("self.by.size() < 10", "")]
#[case("self.s.find('[0-9]+') == '5'", "")]
#[case("self.s.findAll('[0-9]+').size() == 2", "")]
#[case("self.oo.all(x, x.a.all(y, y == 'a') && x.b.all(z, z.k == 'b'))", "more than 100x")]
#[case("self.oo.all(x, x.b.all(z, z.k.matches('a+')))", "more than 100x")]
#[case("[self.s, self.t].all(x, x == 'a')", "")]
#[case("self.lm.all(x, self.lm.exists(y, x == y))", "4.6x")]
#[case("self.lm.all(x, x.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))", "")]
#[case("self.lm.map(x, x.size()).sum() < 5", "")]
#[case("self.o.map(x, x.name).all(n, n == 'a')", "")]
#[case("self.l.indexOf('a') == 1", "more than 100x")]
#[case("self.s.indexOf('a') == 1", "")]
#[case("isURL(self.s) && url(self.s).getHost() == 'a'", "")]
#[case("quantity(self.s).isGreaterThan(quantity('5'))", "")]
#[case("ip(self.s).family() == 4", "")]
#[case("cidr(self.s).containsIP('10.0.0.1')", "")]
#[case("self.o[0].name == 'a'", "")]
#[case("self.l[0] == 'a'", "")]
#[case("self.o.exists(x, x.name.contains(self.s))", "more than 100x")]
#[case("size(self.s) < 5", "")]
#[case("self.l.map(x, x.size() > 3, x).size() > 2", "1.7x")]
#[case("self.o.all(x, x.name.size() < 5 && x.name.matches('^a$') || x.v == 2)", "more than 100x")]
#[case("oldSelf.s == self.s", "")]
#[case("self.d == oldSelf.d", "")]
#[case("self == oldSelf", "")]
#[case("self.l.all(x, !(x in self.d))", "")]
#[case("string(self.i) == '5'", "")]
#[case("self.x.matches('a+')", "")]
#[case("type(self.x) == int ? self.x < 5 : self.x.matches('a+')", "")]
#[case("self.s.format(['a']) == 'x'", "")]
#[case("cel.bind(v, self.l, v.all(x, x == 'a'))", "undeclared")]
#[case("self.?s.orValue('a') == 'b'", "")]
#[case("self.s.substring(1) == 'a'", "")]
#[case("self.l.max() == 'a'", "more than 100x")]
#[case("self.lm.exists_one(x, x == 'a') && self.lm.exists_one(x, x == 'b')", "")]
#[case("self.d.map(k, k).all(k, k == 'a')", "")]
#[case("self.e.exists(k, self.e[k] == 'a')", "")]
#[case("self.lm.all(x, self.s.contains(x))", "more than 100x")]
#[case("self.lm.filter(x, x == 'a').all(x, x.startsWith('bc'))", "")]
#[case("dyn(self.s) == 'a'", "")]
#[case("{'a': self.s, 'b': self.t}.all(k, k == 'a')", "")]
#[case("base64.encode(b'a') == 'YQ=='", "undeclared")]
#[case("lists.range(3).size() == 3", "undeclared")]
#[case("math.greatest(1, 2) == 2", "undeclared")]
#[case("sets.contains(self.l, ['a'])", "")]
#[case("strings.quote(self.s) == 'a'", "")]
#[case("optional.of(self.s).hasValue()", "")]
#[case("self.l.distinct().size() == 2", "undeclared")]
#[case("self.l.sort() == self.l", "undeclared")]
#[case("self.l.reverse() == self.l", "undeclared")]
#[case("self.s.reverse() == 'a'", "undeclared")]
#[case("self.l.slice(0, 1) == self.l", "undeclared")]
#[case("self.l.flatten() == self.l", "undeclared")]
#[case("self.s.charAt(0) == 'a'", "")]
#[case("self.lm.all(x, self.lm.filter(y, y == x).size() == 1)", "5.5x")]
#[tokio::test]
async fn of_an_expression(#[case] rule: &str, #[case] factor: &str) {
    let kit = Kit::new().await;
    let mut spec = schema();
    spec["x-kubernetes-validations"] = json!([{"rule": rule}]);
    let ask = define(&kit, spec);
    if factor == "undeclared" {
        // A real server lists all that it does not know, one after the other.
        let answer = kit.not_compared("how many unknown names are told", ask).await;
        assert!(answer.failure().2.contains("undeclared reference to"), "{}", answer.text);
        return;
    }
    let answer = ask.await;
    if factor.is_empty() {
        assert_eq!(answer.code, 201, "{}", answer.text);
        return;
    }
    let (code, _, message) = answer.failure();
    assert_eq!(code, 422);
    let one = format!(
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    );
    assert!(message.contains(&one), "{message}");
}

fn ruled(mut schema: Value, rule: &str) -> Value {
    schema["x-kubernetes-validations"] = json!([{"rule": rule}]);
    schema
}

/// A rule counts as often as its level can be there.
#[rstest]
#[case::unbounded_list(json!({"type": "array", "items": ruled(json!({"type": "string"}), "self.matches('^a$')")}), false)]
#[case::bounded_list(json!({"type": "array", "maxItems": 10, "items": ruled(json!({"type": "string"}), "self == 'a'")}), true)]
#[case::list_of_lists(json!({"type": "array", "items": {"type": "array", "items": ruled(json!({"type": "object", "properties": {"i": {"type": "integer"}}}), "self.i > 5")}}), true)]
#[case::map(json!({"type": "object", "maxProperties": 100, "additionalProperties": ruled(json!({"type": "string"}), "self.size() > 5")}), true)]
#[case::required(json!({"type": "object", "additionalProperties": ruled(json!({"type": "object", "required": ["s"], "properties": {"s": {"type": "string"}, "i": {"type": "integer"}}}), "self.i > 5")}), true)]
#[case::long_texts(json!({"type": "array", "items": ruled(json!({"type": "object", "properties": {"s": {"type": "string"}}}), "self.s == 'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz'")}), true)]
#[tokio::test]
async fn by_cardinality(#[case] field: Value, #[case] passes: bool) {
    let kit = Kit::new().await;
    let answer = define(&kit, json!({"type": "object", "properties": {"a": field}})).await;
    assert_eq!(answer.code == 201, passes, "{}", answer.text);
}

#[tokio::test]
async fn of_a_message() {
    let kit = Kit::new().await;
    let mut spec = schema();
    let dear = "self.l.map(x, x + 'a').join(',') + self.s.replace('', self.s)";
    spec["x-kubernetes-validations"] = json!([{"rule": "true", "messageExpression": dear}]);
    let (_, _, message) = define(&kit, spec).await.failure();
    assert!(message.contains("estimated messageExpression cost exceeds budget"), "{message}");
}

#[tokio::test]
async fn of_all_rules_together() {
    let kit = Kit::new().await;
    let rule = json!({"rule": "self.a.all(x, self.a.all(y, x == y))"});
    let spec = json!({"type": "object", "x-kubernetes-validations": vec![rule; 40], "properties": {
        "a": {"type": "array", "maxItems": 300, "items": {"type": "string", "maxLength": 300}},
    }});
    let (_, _, message) = define(&kit, spec).await.failure();
    let whole = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of";
    assert!(message.contains(whole), "{message}");
    let part =
        "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
    assert_eq!(message.matches(part).count(), 4, "{message}");
}

/// A definition may keep a schema that would be too dear today.
#[tokio::test]
async fn a_schema_that_stays_is_not_judged_again() {
    let kit = Kit::new().await;
    let widgets = crate::kit::Widgets::install(&kit).await;
    let path = format!("{DEFINITIONS}/{}", widgets.definition);
    let add = |rule: &str| {
        json!([{"op": "add", "value": [{"rule": rule}],
            "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"}])
    };
    let dear = "self.names.all(x, self.names.all(y, self.names.all(z, x + y == z)))";
    let answer = kit.json_patch(&path, add(dear)).await;
    assert_eq!(answer.failure().0, 422);
    kit.json_patch(&path, add("self.size > 0")).await.ok();
}
