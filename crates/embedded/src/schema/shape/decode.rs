//! Reading an object as its Go type: what does not fit is told in the words of Go's decoder, what
//! the type does not have is left out and named.

use std::fmt::{self, Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::{Field, Kind, Own, Shape, Type, at, named};
use crate::schema::{builtin::quantity, cause::quote};

/// Deeper values are refused by the parser; Go's takes more, but no object needs them.
const MAX_PATH: usize = 200;
/// How many doubts about one object are told.
const MAX_DOUBTS: usize = 100;

/// What was read.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The value, with only the fields that its type has.
    pub value: Value,
    /// Unknown and repeated fields, in the order in which they stand there.
    pub doubts: Vec<String>,
}

/// Why nothing was read.
#[derive(Debug)]
pub enum Unreadable {
    /// It is not JSON.
    Syntax(serde_json::Error),
    /// A value is not of its type; the text is Go's.
    Type(String),
}

/// Reads a struct.
///
/// # Errors
/// The input is not JSON, or does not fit the struct.
pub fn read<'de, D>(shape: &'static Shape, input: D) -> Result<Decoded, Unreadable>
where
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let mut state = State::new();
    let value = Seed { state: &mut state, expect: Expect::Struct(shape) }
        .deserialize(input)
        .map_err(Unreadable::Syntax)?;
    state.finish(value)
}

/// Reads anything, and finds repeated fields.
///
/// # Errors
/// The input is not JSON.
pub fn any<'de, D>(input: D) -> Result<Decoded, Unreadable>
where
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let mut state = State::new();
    let value = Seed { state: &mut state, expect: Expect::Any }
        .deserialize(input)
        .map_err(Unreadable::Syntax)?;
    state.finish(value)
}

/// Where the reader is and what it found.
struct State {
    path: String,
    /// The innermost struct, and the names of the fields down to here.
    owner: &'static str,
    fields: Vec<&'static str>,
    problem: Option<String>,
    doubts: Vec<String>,
    depth: usize,
}

impl State {
    fn new() -> Self {
        Self {
            path: String::new(),
            owner: "",
            fields: Vec::new(),
            problem: None,
            doubts: Vec::new(),
            depth: 0,
        }
    }

    fn finish(self, value: Value) -> Result<Decoded, Unreadable> {
        match self.problem {
            Some(problem) => Err(Unreadable::Type(problem)),
            None => Ok(Decoded { value, doubts: self.doubts }),
        }
    }

    /// Like Go, only the first problem is kept.
    fn fail(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }

    fn mismatch(&mut self, found: &str, wanted: &str) {
        let (owner, fields) = (self.owner, &self.fields);
        let text = if owner.is_empty() {
            format!("json: cannot unmarshal {found} into Go value of type {wanted}")
        } else {
            let fields = fields.join(".");
            format!(
                "json: cannot unmarshal {found} into Go struct field {owner}.{fields} of type {wanted}"
            )
        };
        self.fail(|| text);
    }

    fn doubt(&mut self, kind: &str, field: &str) {
        let path = match self.path.as_str() {
            "" => field.to_owned(),
            path => format!("{path}.{field}"),
        };
        let doubt = format!("{kind} field {}", quote(&path));
        if self.doubts.len() < MAX_DOUBTS && !self.doubts.contains(&doubt) {
            self.doubts.push(doubt);
        }
    }

    /// Goes one step down and comes back.
    fn below<T>(&mut self, step: Step<'_>, go: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        match step {
            Step::Index(index) => {
                // Writing to a string cannot fail.
                let _ = write!(self.path, "[{index}]");
            }
            Step::Key(key) => {
                if length > 0 {
                    self.path.push('.');
                }
                self.path.push_str(key);
            }
        }
        self.depth += 1;
        let result = go(self);
        self.depth -= 1;
        self.path.truncate(length);
        result
    }
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

#[derive(Clone, Copy)]
enum Expect {
    Struct(&'static Shape),
    Type(&'static Type),
    Any,
}

impl Expect {
    fn of(ty: &'static Type) -> Self {
        match &ty.kind {
            Kind::Struct(index) => at(*index).map_or(Self::Any, Self::Struct),
            Kind::Own(Own::Any) => Self::Any,
            _ => Self::Type(ty),
        }
    }

    fn go_name(self) -> String {
        match self {
            Self::Struct(shape) => super::go_name(shape.name),
            Self::Type(ty) => ty.go_name.clone(),
            Self::Any => String::new(),
        }
    }
}

struct Seed<'a> {
    state: &'a mut State,
    expect: Expect,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.state.depth > MAX_PATH {
            return Err(D::Error::custom("exceeded max depth"));
        }
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_> {
    fn wrong(self, found: &str) -> Value {
        let wanted = self.expect.go_name();
        self.state.mismatch(found, &wanted);
        Value::Null
    }

    fn own(&self) -> Option<Own> {
        match self.expect {
            Expect::Type(Type { kind: Kind::Own(own), .. }) => Some(*own),
            _ => None,
        }
    }

    /// A value that a type reads by itself; its problems do not say where they are.
    fn own_problem(self, problem: String) -> Value {
        self.state.fail(|| problem);
        Value::Null
    }

    fn own_mismatch(self, found: &str, own: Own) -> Value {
        let wanted = match own {
            Own::IntOrString if found == "string" => "string",
            Own::IntOrString => "int32",
            Own::Quantity => return self.own_problem(quantity::PATTERN.to_owned()),
            Own::SchemaOrArray | Own::SchemaOrBool | Own::SchemaOrTexts => "v1.JSONSchemaProps",
            _ => "string",
        };
        self.state.mismatch(found, wanted);
        Value::Null
    }

    fn number(self, number: Number) -> Value {
        let text = number.to_string();
        match self.expect {
            Expect::Any => Value::Number(number),
            Expect::Type(ty) => match &ty.kind {
                Kind::Int64 if number.is_i64() => Value::Number(number),
                Kind::Int32 if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                    Value::Number(number)
                }
                Kind::Int64 | Kind::Int32 => self.wrong(&format!("number {text}")),
                Kind::Float => Value::Number(number),
                Kind::Own(Own::IntOrString)
                    if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
                {
                    Value::Number(number)
                }
                Kind::Own(Own::IntOrString) => {
                    self.own_mismatch(&format!("number {text}"), Own::IntOrString)
                }
                Kind::Own(Own::Quantity) => match quantity::canonical(&text) {
                    Some(canonical) => Value::String(canonical),
                    None => self.own_problem(quantity::PATTERN.to_owned()),
                },
                Kind::Own(own) => {
                    let own = *own;
                    self.own_mismatch("number", own)
                }
                _ => self.wrong("number"),
            },
            Expect::Struct(_) => self.wrong("number"),
        }
    }

    fn text(self, text: &str) -> Value {
        let Expect::Type(ty) = self.expect else {
            return if matches!(self.expect, Expect::Any) {
                Value::from(text)
            } else {
                self.wrong("string")
            };
        };
        match &ty.kind {
            Kind::Text | Kind::Own(Own::IntOrString) => Value::from(text),
            Kind::Bytes => match base64_problem(text) {
                None => Value::from(text.replace(['\r', '\n'], "")),
                Some(at) => self.own_problem(format!("illegal base64 data at input byte {at}")),
            },
            Kind::Own(Own::Quantity) => match quantity::canonical(text.trim()) {
                Some(canonical) => Value::String(canonical),
                None => self.own_problem(quantity::problem(text).to_owned()),
            },
            Kind::Own(own @ (Own::Time | Own::MicroTime)) => {
                match super::encode::time(text, *own) {
                    Some(time) => Value::String(time),
                    None => self.own_problem(time_problem(text, *own)),
                }
            }
            Kind::Own(own) => {
                let own = *own;
                self.own_mismatch("string", own)
            }
            _ => self.wrong("string"),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        let fits = match self.expect {
            Expect::Any => true,
            Expect::Type(ty) => {
                matches!(ty.kind, Kind::Flag | Kind::Own(Own::SchemaOrBool))
            }
            Expect::Struct(_) => false,
        };
        Ok(match self.own() {
            _ if fits => Value::Bool(flag),
            Some(own) => self.own_mismatch("bool", own),
            None => self.wrong("bool"),
        })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(self.number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(self.number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, |number| self.number(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(self.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = match self.expect {
            Expect::Any => Expect::Any,
            Expect::Type(Type { kind: Kind::List(inner), .. }) => Expect::of(inner),
            Expect::Type(Type { kind: Kind::Own(Own::SchemaOrArray), .. }) => schema(),
            Expect::Type(Type { kind: Kind::Own(Own::SchemaOrTexts), .. }) => Expect::Any,
            _ => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(match self.own() {
                    Some(own) => self.own_mismatch("array", own),
                    None => self.wrong("array"),
                });
            }
        };
        let mut values = Vec::new();
        let state = self.state;
        loop {
            let next = state.below(Step::Index(values.len()), |state| {
                items.next_element_seed(Seed { state, expect: inner })
            })?;
            match next {
                Some(value) => values.push(zero_for_null(value, inner)),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let state = self.state;
        match self.expect {
            Expect::Struct(shape) => read_struct(state, shape, members),
            Expect::Any => read_map(state, Expect::Any, members),
            Expect::Type(Type { kind: Kind::Map(inner), .. }) => {
                read_map(state, Expect::of(inner), members)
            }
            Expect::Type(Type {
                kind: Kind::Own(Own::SchemaOrArray | Own::SchemaOrBool | Own::SchemaOrTexts),
                ..
            }) => {
                // Such a type reads with a decoder of its own, which has no doubts.
                let before = state.doubts.len();
                let Expect::Struct(shape) = schema() else {
                    return read_map(state, Expect::Any, members);
                };
                let value = read_struct(state, shape, members);
                state.doubts.truncate(before);
                value
            }
            _ => {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                let seed = Seed { state, expect: self.expect };
                Ok(match seed.own() {
                    Some(own) => seed.own_mismatch("object", own),
                    None => seed.wrong("object"),
                })
            }
        }
    }
}

fn schema() -> Expect {
    named("apiextensions/v1.JSONSchemaProps").map_or(Expect::Any, Expect::Struct)
}

/// Go reads null inside of lists and maps as the zero of the type.
fn zero_for_null(value: Value, expect: Expect) -> Value {
    if !value.is_null() {
        return value;
    }
    match expect {
        Expect::Struct(_) => Value::Object(Map::new()),
        Expect::Type(Type { kind: Kind::Text | Kind::Bytes, .. }) => "".into(),
        Expect::Type(Type { kind: Kind::Flag, .. }) => false.into(),
        Expect::Type(Type { kind: Kind::Int32 | Kind::Int64 | Kind::Float, .. }) => 0.into(),
        Expect::Type(Type { kind: Kind::Own(Own::Quantity), .. }) => "0".into(),
        _ => Value::Null,
    }
}

fn read_struct<'de, A: MapAccess<'de>>(
    state: &mut State,
    shape: &'static Shape,
    mut members: A,
) -> Result<Value, A::Error> {
    let mut object = Map::new();
    while let Some(key) = members.next_key::<String>()? {
        let Some(field) = shape.field(&key) else {
            state.doubt("unknown", &key);
            members.next_value::<IgnoredAny>()?;
            continue;
        };
        if object.contains_key(&key) {
            state.doubt("duplicate", &key);
        }
        let value = read_field(state, shape, field, &mut members)?;
        object.insert(key, value);
    }
    Ok(Value::Object(object))
}

fn read_field<'de, A: MapAccess<'de>>(
    state: &mut State,
    shape: &'static Shape,
    field: &'static Field,
    members: &mut A,
) -> Result<Value, A::Error> {
    let owner = std::mem::replace(&mut state.owner, shape.short());
    state.fields.push(field.name);
    let value = state.below(Step::Key(field.name), |state| {
        members.next_value_seed(Seed { state, expect: Expect::of(&field.ty) })
    })?;
    state.fields.pop();
    state.owner = owner;
    Ok(value)
}

fn read_map<'de, A: MapAccess<'de>>(
    state: &mut State,
    inner: Expect,
    mut members: A,
) -> Result<Value, A::Error> {
    let mut object = Map::new();
    while let Some(key) = members.next_key::<String>()? {
        if object.contains_key(&key) {
            state.doubt("duplicate", &key);
        }
        let value = state.below(Step::Key(&key), |state| {
            members.next_value_seed(Seed { state, expect: inner })
        })?;
        object.insert(key, zero_for_null(value, inner));
    }
    Ok(Value::Object(object))
}

/// The byte at which a text ceases to be base64, as Go counts: new lines are skipped.
fn base64_problem(text: &str) -> Option<usize> {
    let clean = text.replace(['\r', '\n'], "");
    match STANDARD.decode(&clean) {
        Ok(_) => None,
        Err(base64::DecodeError::InvalidByte(at, _)) => Some(at),
        Err(base64::DecodeError::InvalidLastSymbol(at, _)) => Some(at),
        Err(_) => Some(clean.len() / 4 * 4),
    }
}

fn time_problem(text: &str, own: Own) -> String {
    let layout = match own {
        Own::MicroTime => "2006-01-02T15:04:05.000000Z07:00",
        _ => "2006-01-02T15:04:05Z07:00",
    };
    let shown = quote(text);
    format!("parsing time {shown} as {layout:?}: cannot parse {shown} as \"2006\"")
}
