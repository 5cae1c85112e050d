//! What the rules of a schema may cost at worst, before any object is there.
//!
//! An API server refuses a definition whose rules could take too long for the largest object that
//! fits a request. The estimate follows its way to count: the sizes that the schema bounds, the
//! largest that a request can hold where it does not, multiplied through every loop.

mod declared;
mod estimate;
mod functions;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_cel::cel::parser::Parser;

use self::declared::{Declared, REQUEST_BYTES};
use crate::schema::cause::Cause;

/// What one expression may cost.
const EXPRESSION_LIMIT: u64 = 10_000_000;
/// What all expressions of a schema may cost together.
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of the dearest rules are named.
const NAMED: usize = 4;

/// What is too dear in a schema whose rules compile.
///
/// The expressions by themselves are judged only if `strict`: a definition that exists may keep its
/// schema.
pub(crate) fn check(props: &JSONSchemaProps, path: &str, strict: bool) -> Vec<Cause> {
    let mut walk = Walk { strict, total: 0, dearest: Vec::new(), causes: Vec::new() };
    walk.visit(props, path, true, Some(1));
    if walk.total > SCHEMA_LIMIT {
        for (_, field) in std::mem::take(&mut walk.dearest) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            walk.causes.push(Cause::forbidden(field, detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        walk.causes.push(Cause::forbidden(path, &exceeded(what, walk.total, SCHEMA_LIMIT)));
    }
    walk.causes
}

struct Walk {
    strict: bool,
    total: u64,
    /// The dearest rules and where they are, the dearest first.
    dearest: Vec<(u64, String)>,
    causes: Vec<Cause>,
}

impl Walk {
    /// `count` is how often this level can be there in one object, if that is bounded.
    fn visit(&mut self, props: &JSONSchemaProps, path: &str, is_root: bool, count: Option<u64>) {
        let embedded = |props: &JSONSchemaProps| props.x_kubernetes_embedded_resource == Some(true);
        let below = count.zip(most_elements(props)).map(|(count, more)| count.saturating_mul(more));
        for (name, property) in props.properties.iter().flatten() {
            let path = format!("{path}.properties[{name}]");
            self.visit(property, &path, embedded(property), below);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &props.additional_properties {
            let path = format!("{path}.additionalProperties");
            self.visit(values, &path, embedded(values), below);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &props.items {
            self.visit(items, &format!("{path}.items"), embedded(items), below);
        }
        let rules = props.x_kubernetes_validations.as_deref().unwrap_or_default();
        if rules.is_empty() {
            return;
        }
        let Some(declared) = Declared::of(props, is_root) else { return };
        let often = count.unwrap_or(REQUEST_BYTES / (declared.least_bytes + 1));
        for (index, rule) in rules.iter().enumerate() {
            let field = format!("{path}.x-kubernetes-validations[{index}]");
            let cost = cost_of(&rule.rule, &declared).saturating_mul(often);
            self.note(cost, format!("{field}.rule"), "estimated rule cost");
            if let Some(message) =
                rule.message_expression.as_deref().filter(|text| !text.is_empty())
            {
                let cost = cost_of(message, &declared);
                let field = format!("{field}.messageExpression");
                self.note(cost, field, "estimated messageExpression cost");
            }
        }
    }

    fn note(&mut self, cost: u64, field: String, what: &str) {
        if self.strict && cost > EXPRESSION_LIMIT {
            let detail = exceeded(what, cost, EXPRESSION_LIMIT);
            self.causes.push(Cause::forbidden(&field, &detail));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.dearest.push((cost, field));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED);
        }
    }
}

/// By how much a level multiplies what is in it.
fn most_elements(props: &JSONSchemaProps) -> Option<u64> {
    let bound = |most: Option<i64>| most.map(|most| u64::try_from(most).unwrap_or(0));
    match props.type_.as_deref() {
        Some("object") if props.additional_properties.is_some() => bound(props.max_properties),
        Some("array") => bound(props.max_items),
        _ => Some(1),
    }
}

/// The most that an expression can cost. It is known to compile.
fn cost_of(source: &str, declared: &Declared) -> u64 {
    let parsed = Parser::new().enable_optional_syntax(true).parse(source);
    parsed.map_or(0, |expr| estimate::Estimator::new(declared).cost(&expr))
}

#[expect(clippy::cast_precision_loss, reason = "a factor for people")]
fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        much if much > 100.0 => "more than 100x".to_owned(),
        little if little < 1.5 => format!("{little:.6}x"),
        some => format!("{some:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
