//! The OpenAPI part of validation: types, ranges, lengths, enumerations, junctors.
//!
//! Which of several failures is reported follows the API server: of the branches of `anyOf` and
//! `oneOf` the one with the most checks passed, counted in the same way.

use serde_json::{Number, Value};

use super::{
    cause::{Cause, NO_FIELD, quote, show_float},
    correlate::{self, Elements},
    node::{Additional, Kind, Limits, Logic, Node},
    path::Path,
};

/// More causes than this help nobody; the object is refused all the same.
const MAX_CAUSES: usize = 500;

/// What a check found, and how many checks were made.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) causes: Vec<Cause>,
    matches: usize,
}

impl Found {
    fn add(&mut self, cause: Cause) {
        if self.causes.len() < MAX_CAUSES && !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
    }

    fn merge(&mut self, other: Found) {
        self.matches += other.matches;
        for cause in other.causes {
            self.add(cause);
        }
    }
}

/// Where to look: the place, and the old value there, if one belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) path: Path<'a>,
    pub(crate) old: Option<&'a Value>,
}

impl At<'_> {
    fn field(self) -> String {
        let name = self.path.to_dotted();
        if name.is_empty() { NO_FIELD.to_owned() } else { name }
    }

    fn name(self) -> String {
        self.path.to_dotted()
    }
}

/// Checks a value that has an old one: what was refused before and has not changed may stay.
pub(crate) fn ratcheted(at: At<'_>, node: &Node, value: &Value) -> Found {
    let mut found = plain(at, node, value);
    if !found.causes.is_empty() && at.old == Some(value) {
        found.causes.clear();
    }
    found
}

/// Checks a value against one level of a schema and all below.
pub(crate) fn plain(at: At<'_>, node: &Node, value: &Value) -> Found {
    let mut found = Found::default();
    if value.is_null() {
        if let Some(kind) = node.kind.filter(|_| !node.nullable) {
            found.add(wrong_type(at, kind.name(), "null"));
        } else {
            found.matches += 1;
        }
        if let Some(limits) = &node.limits {
            check_enumeration(at, limits, value, &mut found);
        }
        return found;
    }
    if node.kind.is_some() || node.format.is_some() {
        match check_type(at, node, value) {
            Some(cause) => found.add(cause),
            None => found.matches += 1,
        }
        found.matches += 1;
    }
    if let Some(logic) = &node.logic {
        check_logic(at, logic, value, &mut found);
    }
    found.matches += 2;
    if let Some(limits) = &node.limits {
        check_limits(at, limits, value, &mut found);
    }
    if let (Some(format), Value::String(text)) = (node.format, value) {
        if !format.accepts(text) {
            found.add(wrong_type(at, format.name, text));
        }
        found.matches += 1;
    }
    match value {
        Value::Array(items) => check_items(at, node, value, items, &mut found),
        Value::Object(map) => check_fields(at, node, map, &mut found),
        _ => {}
    }
    // The checks of the value's own class, of the enumeration and of the level as a whole.
    found.matches += 3;
    found
}

fn wrong_type(at: At<'_>, wanted: &str, given: &str) -> Cause {
    let detail = format!("{} in body must be of type {wanted}: {}", at.name(), quote(given));
    Cause::type_invalid(at.field(), &Value::String(given.to_owned()), &detail)
}

fn check_type(at: At<'_>, node: &Node, value: &Value) -> Option<Cause> {
    let (given, native) = match value {
        Value::Null => return None,
        Value::Bool(_) => (Kind::Boolean, ""),
        Value::Number(number) if number.is_i64() => (Kind::Integer, "int64"),
        Value::Number(_) => (Kind::Number, "float64"),
        Value::String(_) => (Kind::String, ""),
        Value::Array(_) => (Kind::Array, ""),
        Value::Object(_) => (Kind::Object, ""),
    };
    let accepts = |kind: Kind| match node.kind {
        Some(Kind::IntOrString) => matches!(kind, Kind::Integer | Kind::String),
        wanted => wanted == Some(kind),
    };
    let whole = value
        .as_f64()
        .is_some_and(|float| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0);
    let fits = accepts(given)
        || (given == Kind::Number && whole && accepts(Kind::Integer))
        || (given == Kind::Integer && accepts(Kind::Number));
    if let Some(format) = node.format {
        let text_or_list = matches!(given, Kind::String | Kind::Array);
        if !text_or_list && !fits {
            return Some(wrong_type(at, format.name, native));
        }
        if text_or_list && !accepts(Kind::Number) && !accepts(Kind::Integer) {
            return None;
        }
    }
    if fits { None } else { Some(wrong_type(at, node.kind.map_or("", Kind::name), given.name())) }
}

fn check_limits(at: At<'_>, limits: &Limits, value: &Value, found: &mut Found) {
    match value {
        Value::String(text) => check_text(at, limits, text, found),
        Value::Number(number) => check_number(at, limits, number, found),
        _ => {}
    }
    check_enumeration(at, limits, value, found);
}

/// Only the first broken rule about a text is reported.
fn check_text(at: At<'_>, limits: &Limits, text: &str, found: &mut Found) {
    let value = || Value::String(text.to_owned());
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(max) = limits.max_length.filter(|max| length > *max) {
        found.add(Cause::too_long(at.field(), max));
    } else if let Some(min) = limits.min_length.filter(|min| length < *min) {
        let detail = format!("{} in body should be at least {min} chars long", at.name());
        found.add(Cause::invalid(at.field(), &value(), &detail));
    } else if let Some(pattern) = &limits.pattern
        && !pattern.regex.as_ref().is_some_and(|regex| regex.is_match(text))
    {
        let detail = format!("{} in body should match '{}'", at.name(), pattern.text);
        found.add(Cause::invalid(at.field(), &value(), &detail));
    }
}

fn check_number(at: At<'_>, limits: &Limits, number: &Number, found: &mut Found) {
    let value = || Value::Number(number.clone());
    let mut broken = |rule: String| {
        let detail = format!("{} in body should be {rule}", at.name());
        found.add(Cause::invalid(at.field(), &value(), &detail));
    };
    // Whole numbers are compared as such, and so is the limit.
    let whole = number.as_i64();
    let float = number.as_f64().unwrap_or(f64::NAN);
    let shown =
        |limit: f64| if whole.is_some() { (limit as i64).to_string() } else { show_float(limit) };
    let compare = |limit: f64| match whole {
        Some(whole) => Some(whole.cmp(&(limit as i64))),
        None => float.partial_cmp(&limit),
    };
    if let Some(factor) = limits.multiple_of {
        let (positive, multiple) = match whole {
            Some(whole) => (factor as i64 > 0, whole.checked_rem(factor as i64) == Some(0)),
            None => (factor > 0.0, (float / factor).fract() == 0.0),
        };
        if !positive {
            let detail = format!(
                "factor MultipleOf declared for {} must be positive: {}",
                at.name(),
                shown(factor)
            );
            found.add(Cause::invalid(at.field(), &Value::from(factor), &detail));
            return;
        }
        if !multiple {
            broken(format!("a multiple of {}", shown(factor)));
        }
    }
    if let Some(limit) = limits.minimum {
        match compare(limit) {
            Some(order) if order.is_lt() && !limits.exclusive_minimum => {
                broken(format!("greater than or equal to {}", shown(limit)));
            }
            Some(order) if order.is_le() && limits.exclusive_minimum => {
                broken(format!("greater than {}", shown(limit)))
            }
            _ => {}
        }
    }
    if let Some(limit) = limits.maximum {
        match compare(limit) {
            Some(order) if order.is_gt() && !limits.exclusive_maximum => {
                broken(format!("less than or equal to {}", shown(limit)));
            }
            Some(order) if order.is_ge() && limits.exclusive_maximum => {
                broken(format!("less than {}", shown(limit)))
            }
            _ => {}
        }
    }
}

fn check_enumeration(at: At<'_>, limits: &Limits, value: &Value, found: &mut Found) {
    let same = |one: &Value| match (one, value) {
        // A null is never in an enumeration, whatever the enumeration says.
        (Value::Null, _) => false,
        (Value::Number(one), Value::Number(value)) => one.as_f64() == value.as_f64(),
        _ => one == value,
    };
    if limits.enumeration.is_empty() || limits.enumeration.iter().any(same) {
        return;
    }
    let supported: Vec<String> = limits
        .enumeration
        .iter()
        .map(|one| one.as_str().map_or_else(|| super::cause::shown(one), str::to_owned))
        .collect();
    found.add(Cause::not_supported(at.field(), value, &supported));
}

fn check_items(at: At<'_>, node: &Node, value: &Value, items: &[Value], found: &mut Found) {
    if let Some(schema) = node.items.as_deref() {
        let mut elements = Elements::of(node, at.old);
        for (index, item) in items.iter().enumerate() {
            let child = At { path: at.path.index(index), old: elements.get(item) };
            found.merge(ratcheted(child, schema, item));
        }
    }
    found.matches += 1;
    let Some(limits) = &node.limits else { return };
    let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(min) = limits.min_items.filter(|min| size < *min) {
        let detail = format!("{} in body should have at least {min} items", at.name());
        found.add(Cause::invalid(at.field(), &Value::from(size), &detail));
    }
    if let Some(max) = limits.max_items.filter(|max| size > *max) {
        found.add(Cause::too_many(at.field(), value.as_array().map_or(0, Vec::len), max));
    }
}

fn check_fields(at: At<'_>, node: &Node, map: &serde_json::Map<String, Value>, found: &mut Found) {
    if let Some(limits) = &node.limits {
        let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = limits.min_properties.filter(|min| size < *min) {
            let detail = format!("{} in body should have at least {min} properties", at.name());
            found.add(Cause::invalid(at.field(), &Value::from(size), &detail));
        }
        if let Some(max) = limits.max_properties.filter(|max| size > *max) {
            found.add(Cause::too_many(at.field(), map.len(), max));
        }
    }
    let descend = |name: &str, schema: &Node, value: &Value, found: &mut Found| {
        let child = At { path: at.path.field(name), old: correlate::field(at.old, name) };
        found.merge(ratcheted(child, schema, value));
    };
    for (name, value) in map.iter().filter(|(name, _)| !node.properties.contains_key(*name)) {
        match &node.additional {
            Additional::None => {
                let own = at.name();
                let detail = format!("{own}.{name} in body is a forbidden property");
                found.add(Cause::invalid(at.field(), &Value::String(name.clone()), &detail));
            }
            Additional::Schema(schema) => descend(name, schema, value, found),
            Additional::Any | Additional::Unset => {}
        }
    }
    for (name, schema) in &node.properties {
        if let Some(value) = map.get(name) {
            descend(name, schema, value, found);
        }
    }
    for name in node.required.iter().filter(|name| !map.contains_key(*name)) {
        found.add(Cause::required(at.path.field(name).to_dotted(), ""));
    }
}

/// Failures of a junctor as a whole carry no field: their text names the place.
fn junctor(at: At<'_>, text: &str) -> Cause {
    Cause::invalid(
        NO_FIELD,
        &Value::String(String::new()),
        &format!("{} {text}", quote(&at.name())),
    )
}

fn check_logic(at: At<'_>, logic: &Logic, value: &Value, found: &mut Found) {
    if !logic.any_of.is_empty() {
        check_any(at, &logic.any_of, value, found);
    }
    if !logic.one_of.is_empty() {
        check_one(at, &logic.one_of, value, found);
    }
    if !logic.all_of.is_empty() {
        let mut passed = 0;
        for branch in &logic.all_of {
            let result = plain(at, branch, value);
            passed += usize::from(result.causes.is_empty());
            found.merge(result);
        }
        if passed < logic.all_of.len() {
            let none = if passed == 0 { ". None validated" } else { "" };
            found.add(junctor(at, &format!("must validate all the schemas (allOf){none}")));
        }
    }
    if let Some(branch) = &logic.not
        && plain(at, branch, value).causes.is_empty()
    {
        found.add(junctor(at, "must not validate the schema (not)"));
    }
}

fn check_any(at: At<'_>, branches: &[Node], value: &Value, found: &mut Found) {
    let mut best: Option<Found> = None;
    for branch in branches {
        let result = plain(at, branch, value);
        if result.causes.is_empty() {
            found.merge(result);
            return;
        }
        if best.as_ref().is_none_or(|best| result.matches > best.matches) {
            best = Some(result);
        }
    }
    found.add(junctor(at, "must validate at least one schema (anyOf)"));
    found.merge(best.unwrap_or_default());
}

fn check_one(at: At<'_>, branches: &[Node], value: &Value, found: &mut Found) {
    let mut best: Option<Found> = None;
    let mut first: Option<Found> = None;
    let mut passed = 0;
    for branch in branches {
        let result = plain(at, branch, value);
        if result.causes.is_empty() {
            passed += 1;
            best = None;
            first.get_or_insert(result);
        } else if passed == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
            best = Some(result);
        }
    }
    if passed == 1 {
        found.merge(first.unwrap_or_default());
        return;
    }
    let detail = match passed {
        0 => "Found none valid".to_owned(),
        several => format!("Found {several} valid alternatives"),
    };
    found.add(junctor(at, &format!("must validate one and only one schema (oneOf). {detail}")));
    found.merge(best.unwrap_or_default());
}
