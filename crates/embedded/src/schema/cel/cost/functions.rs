//! What functions and operators cost, their arguments aside.

use kube_cel::cel::common::ast::operators;

use super::{
    declared::Type,
    estimate::{Estimator, Value, sum},
};

/// What it costs to go through a text, by character.
const TEXT: f64 = 0.1;
/// What a pattern costs, by character.
const PATTERN: f64 = 0.25;
/// The longest pattern of the named formats.
const FORMAT_BYTES: u64 = 128;
/// An address in bytes.
const ADDRESS_BYTES: u64 = 16;

/// A part of a size, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; the conversion saturates"
)]
fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

impl<'d> Estimator<'d> {
    /// The value of a call, with its own cost only.
    pub(super) fn function(
        &self,
        name: &str,
        target: Option<&Value<'d>>,
        args: &[Value<'d>],
    ) -> Value<'d> {
        match (name, args) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) => Value::of(Type::Bool, 0),
            (operators::EQUALS | operators::NOT_EQUALS, [one, other]) => {
                Value::of(Type::Bool, part(one.size().min(other.size()), TEXT))
            }
            (
                operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [one, other],
            ) => {
                let text = |ty| matches!(ty, Type::String | Type::Bytes);
                let compared = part(one.size().min(other.size()), TEXT);
                let cost = match (one.ty, other.ty) {
                    (one, other) if text(one) || text(other) => compared,
                    (Type::Dynamic, Type::Dynamic) => compared.max(1),
                    _ => 1,
                };
                Value::of(Type::Bool, cost)
            }
            (operators::IN, [_, container]) => {
                let cost = match container.ty {
                    Type::Map => 1,
                    _ => container.size(),
                };
                Value::of(Type::Bool, cost)
            }
            (operators::ADD, [one, other]) => add(one, other),
            _ => self.library(name, target, args),
        }
    }

    fn library(&self, name: &str, target: Option<&Value<'d>>, args: &[Value<'d>]) -> Value<'d> {
        let own = target.map_or(u64::MAX, Value::size);
        let first = args.first().map_or(u64::MAX, Value::size);
        match (name, target) {
            ("startsWith" | "endsWith", _) => Value::of(Type::Bool, part(first, TEXT)),
            ("matches", Some(_)) => Value::of(Type::Bool, matching(own, first)),
            ("find" | "findAll", Some(_)) => {
                let ty = if name == "find" { Type::String } else { Type::List };
                Value::of(ty, matching(own, first)).sized(own)
            }
            ("contains", Some(_)) => {
                Value::of(Type::Bool, part(own, TEXT).saturating_mul(part(first, TEXT)))
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(list)) => {
                let ty = if name == "isSorted" { Type::Bool } else { Type::Number };
                let cost = match list.text_item(self.root) {
                    None => part(own, TEXT),
                    Some(None) => own,
                    Some(Some(item)) => own.saturating_mul(part(item, TEXT).saturating_add(1)),
                };
                Value::of(ty, cost)
            }
            ("url", _) => Value::of(Type::Dynamic, part(first, TEXT)).sized(first),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(_)) => {
                Value::of(Type::String, part(own, TEXT)).sized(own)
            }
            ("replace", Some(_)) => replaced(own, first, args),
            ("split", Some(_)) => Value::of(Type::List, part(own, 2.0 * TEXT)).sized(own),
            ("join", Some(list)) => {
                let item = list.text_item(self.root).flatten();
                let texts = item.map_or(0, |item| own.saturating_mul(item));
                let between = match args.first() {
                    Some(separator) => separator.size().saturating_mul(own.saturating_sub(1)),
                    None => 0,
                };
                let size = texts.saturating_add(between);
                Value::of(Type::String, part(size, TEXT)).sized(size)
            }
            (
                "ip" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver"
                | "isSemver",
                _,
            ) if !args.is_empty() => {
                let ty = if name.starts_with("is") { Type::Bool } else { Type::Dynamic };
                Value::of(ty, part(first, TEXT))
            }
            ("isCanonical", _) => Value::of(Type::Bool, part(first, 2.0 * TEXT)),
            ("containsIP" | "containsCIDR", Some(_)) => {
                let compared = part(2 * ADDRESS_BYTES, TEXT);
                let text = match args.first() {
                    Some(arg) if arg.ty == Type::String => part(arg.size(), TEXT),
                    _ => 0,
                };
                let more = if name == "containsCIDR" { part(ADDRESS_BYTES, TEXT) + 1 } else { 0 };
                Value::of(Type::Bool, sum([compared, text, more]))
            }
            ("validate", Some(_)) => {
                let pattern = part(FORMAT_BYTES, PATTERN);
                Value::of(Type::Dynamic, part(first, TEXT).saturating_mul(pattern))
            }
            ("format", Some(_)) => Value::of(Type::String, part(own, TEXT)),
            ("bytes", None) => {
                let cost = part(first, TEXT);
                Value::of(Type::Bytes, cost).sized(first.saturating_mul(4))
            }
            ("string", None) => match args.first() {
                Some(arg) if arg.ty == Type::Bytes => {
                    Value::of(Type::String, part(first, TEXT)).sized(first)
                }
                _ => Value::of(Type::String, 1),
            },
            ("quote", _) => {
                let size = first.saturating_mul(2).saturating_add(2);
                Value::of(Type::String, part(first, TEXT)).sized(size)
            }
            _ => Value::of(result_type(name, args), 1),
        }
    }
}

/// The type of what costs nothing out of the ordinary.
fn result_type(name: &str, args: &[Value<'_>]) -> Type {
    match name {
        "size"
        | "int"
        | "uint"
        | "double"
        | operators::NEGATE
        | "sign"
        | "asInteger"
        | "compareTo" => Type::Number,
        "duration" | "timestamp" => Type::Time,
        operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
            args.first().map_or(Type::Dynamic, |arg| arg.ty)
        }
        operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE | "bool" | "hasValue" | "isURL" => {
            Type::Bool
        }
        name if name.starts_with("get") && args.is_empty() && name != "getQuery" => Type::Dynamic,
        name if name.starts_with("is") => Type::Bool,
        _ => Type::Dynamic,
    }
}

fn matching(text: u64, pattern: u64) -> u64 {
    // An empty text is matched as well.
    part(text.saturating_add(1), TEXT).saturating_mul(part(pattern, PATTERN))
}

fn add<'d>(one: &Value<'d>, other: &Value<'d>) -> Value<'d> {
    let size = one.size().saturating_add(other.size());
    let joined = part(size, TEXT);
    match (one.ty, other.ty) {
        (Type::List, _) | (_, Type::List) => {
            let mut list = Value::of(Type::List, 1).sized(size);
            list.take_items(one, other);
            list
        }
        (ty @ (Type::String | Type::Bytes), _) | (_, ty @ (Type::String | Type::Bytes)) => {
            Value::of(ty, joined).sized(size)
        }
        (Type::Dynamic, Type::Dynamic) => Value::of(Type::Dynamic, joined.max(1)).sized(size),
        (Type::Time, _) | (_, Type::Time) => Value::of(Type::Time, 1),
        _ => Value::of(Type::Number, 1),
    }
}

/// A text in which others stand for parts of it.
fn replaced<'d>(own: u64, part_size: u64, args: &[Value<'d>]) -> Value<'d> {
    let with = args.get(1).map_or(u64::MAX, Value::size);
    // How short the replaced text may be is known of a constant only.
    let least = match args.first() {
        Some(arg) if arg.cost == 0 => part_size,
        _ => 0,
    };
    let size = match least {
        0 => own.saturating_add(1).saturating_mul(with).saturating_add(own),
        least if with <= least => own,
        least => own.div_ceil(least).saturating_mul(with),
    };
    Value::of(Type::String, part(own, 2.0 * TEXT)).sized(size)
}
