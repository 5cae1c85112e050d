//! Values as expressions see them: borrowed from the object where that is possible.

use std::{cmp::Ordering, collections::HashMap, rc::Rc, sync::Arc};

use base64::Engine as _;
use kube_cel::cel;
use serde_json::{Map, Value};

use super::super::node::{Additional, Kind, Node};

/// A value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Rc<str>),
    Bytes(Rc<[u8]>),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
    /// A list of the object.
    Items(&'a [Value], Option<&'a Node>),
    /// An object or map of the object.
    Fields(&'a Map<String, Value>, Option<&'a Node>),
    Optional(Option<Rc<Val<'a>>>),
    Type(&'static str),
    /// Times, durations, quantities and other values that only functions look into.
    Other(Rc<cel::Value>),
}

impl<'a> Val<'a> {
    /// A part of an object, in the type that its schema gives it.
    pub(super) fn of(value: &'a Value, node: Option<&'a Node>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => {
                let kind = node.and_then(|node| node.kind);
                match (kind, number.as_i64(), number.as_f64().unwrap_or(f64::NAN)) {
                    (Some(Kind::Number), _, float) => Self::Double(float),
                    (_, Some(whole), _) => Self::Int(whole),
                    (Some(Kind::Integer), None, float) => Self::Int(float as i64),
                    (_, None, float) => Self::Double(float),
                }
            }
            Value::String(text) => {
                formatted(text, node).unwrap_or_else(|| Self::Text(text.as_str().into()))
            }
            Value::Array(items) => Self::Items(items, node.and_then(|node| node.items.as_deref())),
            Value::Object(map) => Self::Fields(map, node),
        }
    }

    /// The type's name, as errors show it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::UInt(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) | Self::Items(..) => "list",
            Self::Map(_) | Self::Fields(..) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Other(value) => match **value {
                cel::Value::Timestamp(_) => "google.protobuf.Timestamp",
                cel::Value::Duration(_) => "google.protobuf.Duration",
                _ => "dyn",
            },
        }
    }

    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// The elements of a list, or the keys of a map.
    pub(super) fn elements(&self) -> Option<Vec<Val<'a>>> {
        Some(match self {
            Self::List(items) => items.to_vec(),
            Self::Items(items, node) => items.iter().map(|item| Val::of(item, *node)).collect(),
            Self::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Fields(map, node) => {
                map.keys().map(|key| Val::text(shown_key(key, *node))).collect()
            }
            _ => return None,
        })
    }

    /// How many elements, characters, bytes or entries.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::Items(items, _) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::Fields(map, _) => map.len(),
            _ => return None,
        })
    }

    /// The entry of a map.
    pub(super) fn entry(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match (self, key) {
            (Self::Map(entries), key) => {
                entries.iter().find(|(other, _)| other.equals(key)).map(|(_, value)| value.clone())
            }
            (Self::Fields(map, node), Self::Text(key)) => {
                let (name, value) = match is_map(*node) {
                    true => map.get_key_value(&**key)?,
                    false => {
                        map.get_key_value(&unescape(key)).or_else(|| map.get_key_value(&**key))?
                    }
                };
                Some(Val::of(value, node.and_then(|node| node.child(name))))
            }
            _ => None,
        }
    }

    pub(super) fn equals(&self, other: &Val<'a>) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::Type(left), Self::Type(right)) => left == right,
            (Self::Other(left), Self::Other(right)) => left == right,
            (Self::Optional(left), Self::Optional(right)) => match (left, right) {
                (Some(left), Some(right)) => left.equals(right),
                (None, None) => true,
                _ => false,
            },
            (Self::Items(left, _), Self::Items(right, _)) => left == right,
            (Self::Fields(left, _), Self::Fields(right, _)) => left == right,
            (Self::List(_) | Self::Items(..), Self::List(_) | Self::Items(..)) => {
                let (Some(left), Some(right)) = (self.elements(), other.elements()) else {
                    return false;
                };
                left.len() == right.len()
                    && left.iter().zip(&right).all(|(left, right)| left.equals(right))
            }
            (Self::Map(_) | Self::Fields(..), Self::Map(_) | Self::Fields(..)) => {
                let Some(keys) = self.elements() else { return false };
                self.size() == other.size()
                    && keys.iter().all(|key| match (self.entry(key), other.entry(key)) {
                        (Some(left), Some(right)) => left.equals(&right),
                        _ => false,
                    })
            }
            _ => {
                self.is_number()
                    && other.is_number()
                    && self.compare(other) == Some(Ordering::Equal)
            }
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::UInt(_) | Self::Double(_))
    }

    /// The order of two values, if they have one.
    pub(super) fn compare(&self, other: &Val<'a>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(right)),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Bytes(left), Self::Bytes(right)) => Some(left.cmp(right)),
            (Self::Other(left), Self::Other(right)) => left.partial_cmp(right),
            (Self::Double(left), right) => left.partial_cmp(&right.as_double()?),
            (left, Self::Double(right)) => left.as_double()?.partial_cmp(right),
            (left, right) => Some(left.as_whole()?.cmp(&right.as_whole()?)),
        }
    }

    fn as_whole(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::UInt(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            Self::UInt(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// How much work it is to look at the whole value; stops counting at `limit`.
    pub(super) fn weight(&self, limit: u64) -> u64 {
        match self {
            Self::Text(text) => 1 + text.len() as u64 / 10,
            Self::Bytes(bytes) => 1 + bytes.len() as u64 / 10,
            Self::List(items) => sum(items.iter().map(|item| item.weight(limit)), limit),
            Self::Map(entries) => sum(
                entries.iter().map(|(key, value)| key.weight(limit) + value.weight(limit)),
                limit,
            ),
            Self::Items(items, _) => sum(items.iter().map(|item| json_weight(item, limit)), limit),
            Self::Fields(map, _) => sum(map.values().map(|value| json_weight(value, limit)), limit),
            Self::Optional(Some(value)) => value.weight(limit),
            _ => 1,
        }
    }

    /// The value for a library function.
    pub(super) fn to_cel(&self) -> cel::Value {
        match self {
            Self::Null | Self::Optional(_) => cel::Value::Null,
            Self::Bool(value) => cel::Value::Bool(*value),
            Self::Int(value) => cel::Value::Int(*value),
            Self::UInt(value) => cel::Value::UInt(*value),
            Self::Double(value) => cel::Value::Float(*value),
            Self::Text(text) => cel::Value::String(Arc::new(text.to_string())),
            Self::Type(name) => cel::Value::String(Arc::new((*name).to_owned())),
            Self::Bytes(bytes) => cel::Value::Bytes(Arc::new(bytes.to_vec())),
            Self::Other(value) => (**value).clone(),
            Self::List(_) | Self::Items(..) => {
                let items = self.elements().unwrap_or_default();
                cel::Value::List(Arc::new(items.iter().map(Val::to_cel).collect()))
            }
            Self::Map(_) | Self::Fields(..) => {
                let keys = self.elements().unwrap_or_default();
                let entries =
                    keys.iter().filter_map(|key| Some((key.to_key()?, self.entry(key)?.to_cel())));
                cel::Value::Map(cel::objects::Map {
                    map: Arc::new(entries.collect::<HashMap<_, _>>()),
                })
            }
        }
    }

    fn to_key(&self) -> Option<cel::objects::Key> {
        Some(match self {
            Self::Text(text) => cel::objects::Key::String(Arc::new(text.to_string())),
            Self::Int(value) => cel::objects::Key::Int(*value),
            Self::UInt(value) => cel::objects::Key::Uint(*value),
            Self::Bool(value) => cel::objects::Key::Bool(*value),
            _ => return None,
        })
    }

    /// What a library function returned.
    pub(super) fn from_cel(value: cel::Value) -> Self {
        match value {
            cel::Value::Null => Self::Null,
            cel::Value::Bool(value) => Self::Bool(value),
            cel::Value::Int(value) => Self::Int(value),
            cel::Value::UInt(value) => Self::UInt(value),
            cel::Value::Float(value) => Self::Double(value),
            cel::Value::String(text) => Self::text(text.as_str()),
            cel::Value::Bytes(bytes) => Self::Bytes(bytes.as_slice().into()),
            cel::Value::List(items) => Self::List(Rc::new(
                Arc::unwrap_or_clone(items).into_iter().map(Val::from_cel).collect(),
            )),
            cel::Value::Map(map) => {
                let entries = map
                    .map
                    .iter()
                    .map(|(key, value)| (from_key(key), Val::from_cel(value.clone())));
                Self::Map(Rc::new(entries.collect()))
            }
            other => Self::Other(Rc::new(other)),
        }
    }
}

fn from_key<'a>(key: &cel::objects::Key) -> Val<'a> {
    match key {
        cel::objects::Key::Int(value) => Val::Int(*value),
        cel::objects::Key::Uint(value) => Val::UInt(*value),
        cel::objects::Key::Bool(value) => Val::Bool(*value),
        cel::objects::Key::String(text) => Val::text(text.as_str()),
    }
}

fn sum(weights: impl Iterator<Item = u64>, limit: u64) -> u64 {
    let mut total = 1;
    for weight in weights {
        total += weight;
        if total > limit {
            break;
        }
    }
    total
}

fn json_weight(value: &Value, limit: u64) -> u64 {
    match value {
        Value::String(text) => 1 + text.len() as u64 / 10,
        Value::Array(items) => sum(items.iter().map(|item| json_weight(item, limit)), limit),
        Value::Object(map) => sum(map.values().map(|item| json_weight(item, limit)), limit),
        _ => 1,
    }
}

/// Texts whose format makes them something else.
fn formatted<'a>(text: &str, node: Option<&Node>) -> Option<Val<'a>> {
    let node = node.filter(|node| node.kind == Some(Kind::String))?;
    match node.format?.name {
        "byte" => {
            Some(Val::Bytes(base64::engine::general_purpose::STANDARD.decode(text).ok()?.into()))
        }
        "date-time" | "datetime" => super::functions::convert("timestamp", text),
        "date" => super::functions::convert("timestamp", &format!("{text}T00:00:00Z")),
        "duration" => super::functions::convert("duration", text),
        _ => None,
    }
}

fn is_map(node: Option<&Node>) -> bool {
    node.is_none_or(|node| !matches!(node.additional, Additional::Unset))
}

/// The words that a field may not be called in an expression.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

fn shown_key<'a>(key: &'a str, node: Option<&Node>) -> std::borrow::Cow<'a, str> {
    if is_map(node) {
        return key.into();
    }
    escape(key)
}

/// The name of a field in expressions.
pub(super) fn escape(name: &str) -> std::borrow::Cow<'_, str> {
    if RESERVED.contains(&name) {
        return format!("__{name}__").into();
    }
    if !name.contains("__") && !name.contains(['.', '-', '/']) {
        return name.into();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
        .into()
}

/// The field that a name in an expression stands for.
pub(super) fn unescape(name: &str) -> String {
    let word = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word.filter(|word| RESERVED.contains(word)) {
        return word.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("__") {
        let tail = &rest[at..];
        let replaced =
            [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")]
                .into_iter()
                .find(|(escaped, _)| tail.starts_with(escaped));
        let (escaped, plain) = replaced.unwrap_or(("__", "__"));
        out.push_str(&rest[..at]);
        out.push_str(plain);
        rest = &tail[escaped.len()..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a-b.c/d", "a__dash__b__dot__c__slash__d")]
    #[case("namespace", "__namespace__")]
    #[case("a__b", "a__underscores__b")]
    #[case("a_b", "a_b")]
    fn field_names_are_escaped_and_back(#[case] name: &str, #[case] escaped: &str) {
        assert_eq!(escape(name), escaped);
        assert_eq!(unescape(escaped), name);
    }
}
