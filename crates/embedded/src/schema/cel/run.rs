//! Evaluates the rules of a schema for an object, within a budget.

use serde_json::{Value, json};

use super::{Program, Rule, eval::Evaluator, functions::Error, value::Val};
use crate::schema::{
    cause::{Cause, NO_FIELD},
    correlate::{self, Elements},
    node::{Additional, Kind, Node},
    path::Path,
};

/// What one expression, and all expressions for one object, may cost.
const CALL_LIMIT: u64 = 1_000_000;
const OBJECT_LIMIT: u64 = 10_000_000;

/// The longest message that an expression may make.
const MAX_MESSAGE: usize = 5 << 10;

/// A value, the old one that belongs to it, and the nearest pair above that belongs together.
#[derive(Clone, Copy)]
struct Pair<'a> {
    new: &'a Value,
    old: Option<&'a Value>,
    above: Option<(&'a Value, &'a Value)>,
}

impl<'a> Pair<'a> {
    fn child(self, new: &'a Value, old: Option<&'a Value>) -> Self {
        let above = self.old.map(|old| (self.new, old)).or(self.above);
        Self { new, old, above }
    }

    fn is_unchanged(self) -> bool {
        match self.old {
            Some(old) => self.new == old,
            None => self.above.is_some_and(|(new, old)| new == old),
        }
    }
}

/// Evaluates all rules for an object.
pub(crate) fn validate(root: &Node, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut run = Run { left: OBJECT_LIMIT, stopped: false, causes: Vec::new() };
    run.visit(Path::ROOT, root, Pair { new, old, above: None });
    run.causes
}

struct Run {
    left: u64,
    stopped: bool,
    causes: Vec<Cause>,
}

impl Run {
    fn visit(&mut self, path: Path<'_>, node: &Node, pair: Pair<'_>) {
        if !node.has_rules || pair.new.is_null() || self.stopped {
            return;
        }
        if let Some(rules) = &node.rules {
            for rule in &rules.0 {
                self.apply(path, node, rule, pair);
                if self.stopped {
                    return;
                }
            }
        }
        match pair.new {
            Value::Object(map) => {
                for (name, value) in map {
                    let old = correlate::field(pair.old, name);
                    if let Additional::Schema(schema) = &node.additional {
                        self.visit(path.key(name), schema, pair.child(value, old));
                    }
                    if let Some(property) = node.properties.get(name) {
                        self.visit(path.field(name), property, pair.child(value, old));
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = node.items.as_deref() else { return };
                let mut elements = Elements::of(node, pair.old);
                for (index, item) in items.iter().enumerate() {
                    let old = elements.get(item);
                    self.visit(path.index(index), schema, pair.child(item, old));
                }
            }
            _ => {}
        }
    }

    fn apply(&mut self, path: Path<'_>, node: &Node, rule: &Rule, pair: Pair<'_>) {
        if rule.uses_old && pair.old.is_none() && !rule.optional_old {
            return;
        }
        let kind =
            json!(node.kind.filter(|kind| *kind != Kind::IntOrString).map_or("", Kind::name));
        let field = path.to_field();
        let mut invalid =
            |detail: String| self.causes.push(Cause::invalid(field.as_str(), &kind, &detail));
        if self.left == 0 {
            invalid("validation failed due to running out of cost budget, no further validation rules will be run".to_owned());
            self.stopped = true;
            return;
        }
        let name = &rule.name;
        let (result, spent) = evaluate(&rule.program, rule, node, pair, CALL_LIMIT.min(self.left));
        self.left -= spent;
        match result {
            Ok(Val::Bool(true)) => return,
            Ok(_) => {}
            Err(Error::TooCostly) => {
                invalid(format!(
                    "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                ));
                self.stopped = true;
                return;
            }
            Err(Error::NoOverload(text)) => {
                invalid(format!(
                    "'{text}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                ));
                return;
            }
            Err(Error::Failed(text)) => {
                invalid(format!("{text} evaluating rule: {name}"));
                return;
            }
        }
        if !rule.uses_old && pair.is_unchanged() {
            return;
        }
        let message = rule.message.as_ref().and_then(|program| {
            let (result, spent) = evaluate(program, rule, node, pair, CALL_LIMIT.min(self.left));
            self.left -= spent;
            result.ok().and_then(usable_message)
        });
        let message = message.as_deref().unwrap_or(&rule.text);
        let field = match (&rule.field_path, field.as_str()) {
            (None, _) => field,
            (Some(below), NO_FIELD) => below.clone(),
            (Some(below), _) => format!("{field}.{below}"),
        };
        self.causes.push(match rule.reason.as_deref() {
            Some("FieldValueForbidden") => Cause::forbidden(field, message),
            Some("FieldValueRequired") => Cause::required(field, message),
            Some("FieldValueDuplicate") => Cause::duplicate(field, &kind),
            _ => Cause::invalid(field, &kind, message),
        });
    }
}

fn evaluate<'a>(
    program: &'a Program,
    rule: &Rule,
    node: &'a Node,
    pair: Pair<'a>,
    budget: u64,
) -> (Result<Val<'a>, Error>, u64) {
    let mut evaluator = Evaluator::new(&program.patterns, budget);
    evaluator.bind("self", Val::of(pair.new, Some(node)));
    let old = pair.old.map(|old| Val::of(old, Some(node)));
    match (old, rule.optional_old) {
        (old, true) => evaluator.bind("oldSelf", Val::Optional(old.map(std::rc::Rc::new))),
        (Some(old), false) => evaluator.bind("oldSelf", old),
        (None, false) => {}
    }
    let result = evaluator.eval(&program.expr);
    let spent = budget - evaluator.left();
    // Junctors hide errors, but not that of a spent budget.
    if spent == budget { (Err(Error::TooCostly), spent) } else { (result, spent) }
}

/// Messages are one line of limited length, or the fixed one is taken.
fn usable_message(value: Val<'_>) -> Option<String> {
    let Val::Text(text) = value else { return None };
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n')).then(|| text.to_owned())
}
