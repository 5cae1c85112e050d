//! Turns the rules of a schema into programs, or says why they are refused.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use kube_cel::cel::parser::Parser;
use serde_json::{Value, json};

use super::{
    Program, Rule, Rules,
    check::{self, Checker, Known, Problem},
};
use crate::schema::{
    cause::{self, Cause},
    node::{Additional, Kind, ListType, Node},
    pattern,
};

/// The longest expression.
const MAX_EXPRESSION: usize = 8 << 10;

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Where a level of the schema is, for the rules on it.
pub(crate) struct Place<'a> {
    pub(crate) field: &'a str,
    pub(crate) is_root: bool,
    /// The list or map above whose elements cannot be told apart.
    pub(crate) uncorrelated: Option<&'a str>,
}

/// Compiles the rules of a whole schema into its nodes.
pub(crate) fn attach(
    node: &mut Node,
    props: &JSONSchemaProps,
    place: &Place<'_>,
    causes: &mut Vec<Cause>,
) {
    let below = |field: &str, node: &mut Node, props: &JSONSchemaProps, causes: &mut Vec<Cause>| {
        let embedded = node.embedded;
        attach(
            node,
            props,
            &Place { field, is_root: embedded, uncorrelated: place.uncorrelated },
            causes,
        );
        node.has_rules
    };
    let mut has_rules = false;
    for (name, property) in &mut node.properties {
        let Some(props) = props.properties.as_ref().and_then(|properties| properties.get(name))
        else {
            continue;
        };
        has_rules |= below(&format!("{}.properties[{name}]", place.field), property, props, causes);
    }
    if let (Additional::Schema(schema), Some(JSONSchemaPropsOrBool::Schema(props))) =
        (&mut node.additional, &props.additional_properties)
    {
        has_rules |= below(&format!("{}.additionalProperties", place.field), schema, props, causes);
    }
    if let (Some(items), Some(JSONSchemaPropsOrArray::Schema(props))) =
        (node.items.as_deref_mut(), &props.items)
    {
        let correlated = matches!(node.list, ListType::Map(_));
        let field = format!("{}.items", place.field);
        let uncorrelated = place.uncorrelated.or((!correlated).then_some(place.field));
        attach(
            items,
            props,
            &Place { field: &field, is_root: items.embedded, uncorrelated },
            causes,
        );
        has_rules |= items.has_rules;
    }
    node.rules =
        compile(props.x_kubernetes_validations.as_deref().unwrap_or_default(), node, place, causes);
    node.has_rules = has_rules || node.rules.is_some();
}

/// Compiles the rules of one level; adds to `causes` what is wrong with them.
fn compile(
    rules: &[ValidationRule],
    node: &Node,
    place: &Place<'_>,
    causes: &mut Vec<Cause>,
) -> Option<Box<Rules>> {
    let before = causes.len();
    for (index, rule) in rules.iter().enumerate() {
        check_texts(
            rule,
            node,
            &format!("{}.x-kubernetes-validations[{index}]", place.field),
            causes,
        );
    }
    if causes.len() > before || rules.is_empty() {
        return None;
    }
    let compiled = rules.iter().enumerate().filter_map(|(index, rule)| {
        compile_rule(
            rule,
            node,
            place,
            &format!("{}.x-kubernetes-validations[{index}]", place.field),
            causes,
        )
    });
    Some(Box::new(Rules(compiled.collect())))
}

fn check_texts(rule: &ValidationRule, node: &Node, field: &str, causes: &mut Vec<Cause>) {
    let message = rule.message.as_deref().unwrap_or_default();
    let lines = |text: &str| text.trim().contains('\n');
    let invalid = |name: &str, value: &str, detail: &str| {
        Cause::invalid(format!("{field}.{name}"), &json!(value), detail)
    };
    if rule.rule.trim().is_empty() {
        causes.push(Cause::required(format!("{field}.rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        causes.push(invalid("message", message, "must be non-empty if specified"));
    } else if lines(message) {
        causes.push(invalid("message", message, "must not contain line breaks"));
    } else if lines(&rule.rule) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        causes.push(Cause::required(format!("{field}.message"), detail));
    }
    if rule
        .message_expression
        .as_deref()
        .is_some_and(|text| !text.is_empty() && text.trim().is_empty())
    {
        let detail = "messageExpression must be non-empty if specified";
        causes.push(Cause::required(format!("{field}.messageExpression"), detail));
    }
    if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
        causes.push(Cause::not_supported(format!("{field}.reason"), &json!(reason), &REASONS));
    }
    let Some(path) = rule.field_path.as_deref().filter(|path| !path.is_empty()) else { return };
    if path.trim().is_empty() {
        causes.push(invalid("fieldPath", path, "must be non-empty if specified"));
    }
    if path.contains('\n') {
        causes.push(invalid("fieldPath", path, "must not contain line breaks"));
    }
    if resolve_path(path, node).is_none() {
        causes.push(invalid("fieldPath", path, "must be a valid path"));
    }
}

/// Turns `.a['b.c']` into a field path, if the schema has such a field.
fn resolve_path(path: &str, node: &Node) -> Option<String> {
    let mut out = String::new();
    let mut rest = path;
    let mut node = node;
    while !rest.is_empty() {
        let name: String;
        if let Some(tail) = rest.strip_prefix("['") {
            let end = tail.find("']")?;
            name = tail[..end].replace("\\'", "'").replace("\\\\", "\\");
            rest = &tail[end + 2..];
        } else {
            let tail = rest.strip_prefix('.')?;
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            name = tail[..end].to_owned();
            rest = &tail[end..];
        }
        match (node.properties.get(&name), &node.additional) {
            (Some(child), _) => {
                let dot = if out.is_empty() { "" } else { "." };
                out = format!("{out}{dot}{name}");
                node = child;
            }
            (None, Additional::Schema(schema)) if node.properties.is_empty() => {
                out = format!("{out}[{name}]");
                node = schema;
            }
            _ => return None,
        }
    }
    (!out.is_empty()).then_some(out)
}

fn compile_rule(
    rule: &ValidationRule,
    node: &Node,
    place: &Place<'_>,
    field: &str,
    causes: &mut Vec<Cause>,
) -> Option<Rule> {
    let before = causes.len();
    let optional_old = rule.optional_old_self == Some(true);
    let own = if place.is_root { Known::Root(node) } else { Known::Node(node) };
    let old = if optional_old { Known::Nothing } else { own };
    let shown = shown_rule(rule);
    let mut parse =
        |source: &str, name: &str, wanted: Kind, needs: &str| match parse(source, own, old) {
            Err(detail) => {
                let detail = if name == "rule" { detail } else { format!("{name} {detail}") };
                causes.push(Cause::shown_invalid(format!("{field}.{name}"), &shown, &detail));
                None
            }
            Ok((_, known, _))
                if known.kind().is_some_and(|kind| kind != wanted && kind != Kind::IntOrString) =>
            {
                causes.push(Cause::shown_invalid(format!("{field}.{name}"), &shown, needs));
                None
            }
            Ok((program, _, uses_old)) => Some((program, uses_old)),
        };
    let program =
        parse(&rule.rule, "rule", Kind::Boolean, "cel expression must evaluate to a bool");
    let message = rule.message_expression.as_deref().filter(|text| !text.is_empty());
    let message = message.map(|source| {
        parse(
            source,
            "messageExpression",
            Kind::String,
            "messageExpression must evaluate to a string",
        )
    });
    let (program, uses_old) = program?;
    if let Some(uncorrelated) = place.uncorrelated.filter(|_| uses_old) {
        let detail = format!(
            "oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
        );
        causes.push(Cause::invalid(format!("{field}.rule"), &json!(rule.rule), &detail));
    }
    if let Some(flag) = rule.optional_old_self.filter(|_| !uses_old) {
        let detail = "may not be set if oldSelf is not used in rule";
        causes.push(Cause::invalid(format!("{field}.optionalOldSelf"), &json!(flag), detail));
    }
    if causes.len() > before {
        return None;
    }
    let fixed = rule.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let name = fixed.unwrap_or(rule.rule.trim()).to_owned();
    Some(Rule {
        program,
        message: message.flatten().map(|(program, _)| program),
        text: fixed.map_or_else(|| format!("failed rule: {name}"), str::to_owned),
        name,
        reason: rule.reason.clone(),
        field_path: rule.field_path.as_deref().and_then(|path| resolve_path(path, node)),
        uses_old,
        optional_old,
    })
}

/// The rule as the API server shows it when it is refused.
fn shown_rule(rule: &ValidationRule) -> String {
    let text = |text: Option<&str>| cause::compact_json(&json!(text.unwrap_or_default()));
    let reason = rule.reason.as_ref().map_or(Value::Null, |reason| json!(reason));
    format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{},"FieldPath":{},"OptionalOldSelf":{}}}"#,
        text(Some(&rule.rule)),
        text(rule.message.as_deref()),
        text(rule.message_expression.as_deref()),
        cause::compact_json(&reason),
        text(rule.field_path.as_deref()),
        rule.optional_old_self.map_or("null".to_owned(), |flag| flag.to_string()),
    )
}

fn parse<'n>(
    source: &str,
    own: Known<'n>,
    old: Known<'n>,
) -> Result<(Program, Known<'n>, bool), String> {
    if source.len() > MAX_EXPRESSION || nesting(source) > check::MAX_DEPTH {
        return Err("compilation failed: ERROR: <input>:-1:0: expression recursion limit exceeded"
            .to_owned());
    }
    let parser = Parser::new().enable_optional_syntax(true);
    let parsed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parser.parse(source)));
    let expr = match parsed {
        Ok(Ok(expr)) => expr,
        Ok(Err(errors)) => return Err(format!("compilation failed: {errors}")),
        Err(_) => {
            return Err(
                "compilation failed: ERROR: <input>:1:1: Syntax error: mismatched input".to_owned()
            );
        }
    };
    let mut checker = Checker::new(own, old);
    let known =
        checker.visit(&expr, check::MAX_DEPTH).map_err(|problem| pointed(source, &problem))?;
    let patterns = checker
        .patterns
        .iter()
        .filter_map(|text| Some((text.clone(), pattern::compile(text).ok()?)));
    Ok((Program { patterns: patterns.collect(), expr }, known, checker.uses_old))
}

/// A rough upper bound of how deep a parser nests on a text, from its characters alone.
fn nesting(source: &str) -> usize {
    let mut deepest = 0;
    // Open brackets and conditions stay; operators are forgotten where a new operand list starts.
    let (mut open, mut conditions, mut chain) = (0_usize, 0, 0);
    let mut quote = None;
    let mut last = ' ';
    for c in source.chars() {
        match (quote, c) {
            (Some(mark), c) if c == mark && last != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => open += 1,
            (None, ')' | ']' | '}') => open = open.saturating_sub(1),
            (None, '?') => conditions += 1,
            (None, '!' | '-' | '+' | '*' | '/' | '%' | '.' | '=' | '<' | '>') => chain += 1,
            (None, 'n') if last == 'i' => chain += 1,
            (None, '&' | '|' | ',') => chain = 0,
            _ => {}
        }
        last = if last == '\\' { ' ' } else { c };
        deepest = deepest.max(open + conditions + chain);
    }
    deepest
}

/// A compile error with the line it is in and a mark below.
fn pointed(source: &str, problem: &Problem) -> String {
    let at = source.find(&problem.at).unwrap_or(0);
    let line_start = source[..at].rfind('\n').map_or(0, |end| end + 1);
    let line_number = source[..at].matches('\n').count() + 1;
    let column = source[line_start..at].chars().count();
    let line = source[line_start..].lines().next().unwrap_or_default();
    let text = &problem.text;
    format!(
        "compilation failed: ERROR: <input>:{line_number}:{}: {text}\n | {line}\n | {}^",
        column + 1,
        ".".repeat(column)
    )
}
