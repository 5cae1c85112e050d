//! The shapes of the built-in kinds: which fields they have, of which types, and which of them are
//! left out when they are empty.
//!
//! Built-in kinds have no schema to be checked by; what their decoder takes and their encoder writes
//! follows from their Go types alone. `types.txt` holds these, written by reflection over the
//! packages of Kubernetes (`testenv/types`). A line without indent names a type, the lines below are its
//! fields: name, flags (`o` omitempty, `z` omitzero, `p` pointer, `-` none), type, number in
//! protobuf (after that of a part whose fields JSON has in its parent; `-` none). Types are
//! written `[]T` (list), `{}T` (map), `!T` (read by a method of its own), `NAME=T` (named).

mod decode;
mod encode;
mod internal;
pub mod protobuf;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::LazyLock};

pub use decode::{Decoded, Unreadable, any, read};
pub use encode::write;
pub use internal::{compact, pretty};

const TYPES: &str = include_str!("types.txt");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(TYPES));

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `string`.
    Text,
    /// `bool`.
    Flag,
    /// `int`, `int64`.
    Int64,
    /// `int32`.
    Int32,
    /// `float64`.
    Float,
    /// `[]byte`, base64 on the wire.
    Bytes,
    /// A list.
    List(Box<Type>),
    /// An object of any keys.
    Map(Box<Type>),
    /// A struct of the table.
    Struct(usize),
    /// A type that reads itself.
    Own(Own),
}

/// Types with a reader of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// A time, to the second.
    Time,
    /// A time, to the microsecond.
    MicroTime,
    /// A quantity.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// A schema or a list of schemas.
    SchemaOrArray,
    /// A schema or a truth value.
    SchemaOrBool,
    /// A schema or a list of texts.
    SchemaOrTexts,
    /// Anything.
    Any,
}

/// A type and what Go calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// What it is.
    pub kind: Kind,
    go_name: String,
}

/// A field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Whether it is left out when it is empty.
    pub omit_empty: bool,
    omit_zero: bool,
    pointer: bool,
    /// What it holds.
    pub ty: Type,
    /// Its number in protobuf, after those of the parts that JSON does not show.
    number: Vec<u32>,
}

/// A struct.
#[derive(Debug)]
pub struct Shape {
    /// Package and name, such as `meta/v1.ObjectMeta`; the core group has no package.
    pub name: &'static str,
    /// Its fields, in the order of their declaration.
    pub fields: Vec<Field>,
}

impl Shape {
    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The name without its package.
    fn short(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

struct Table {
    shapes: Vec<Shape>,
    by_name: HashMap<&'static str, usize>,
}

impl Table {
    fn parse(text: &'static str) -> Self {
        let names = text.lines().filter(|line| !line.starts_with(' '));
        let by_name: HashMap<_, _> = names.enumerate().map(|(at, name)| (name, at)).collect();
        let mut shapes: Vec<Shape> = Vec::with_capacity(by_name.len());
        for line in text.lines() {
            let Some(field) = line.strip_prefix(' ') else {
                shapes.push(Shape { name: line, fields: Vec::new() });
                continue;
            };
            let mut parts = field.split(' ');
            let mut next = || parts.next().unwrap_or_default();
            let (name, flags, ty, number) = (next(), next(), next(), next());
            if let Some(shape) = shapes.last_mut() {
                shape.fields.push(Field {
                    name,
                    omit_empty: flags.contains('o'),
                    omit_zero: flags.contains('z'),
                    pointer: flags.contains('p'),
                    ty: Type::parse(ty, &by_name),
                    number: number.split('.').filter_map(|one| one.parse().ok()).collect(),
                });
            }
        }
        Self { shapes, by_name }
    }
}

/// `meta/v1.Time` as Go prints it: without the path of the package.
fn go_name(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

impl Type {
    fn parse(text: &str, by_name: &HashMap<&str, usize>) -> Self {
        if let Some(inner) = text.strip_prefix("[]") {
            let inner = Self::parse(inner, by_name);
            let go_name = format!("[]{}", inner.go_name);
            return Self { kind: Kind::List(Box::new(inner)), go_name };
        }
        if let Some(inner) = text.strip_prefix("{}") {
            let inner = Self::parse(inner, by_name);
            let go_name = format!("map[string]{}", inner.go_name);
            return Self { kind: Kind::Map(Box::new(inner)), go_name };
        }
        if let Some(name) = text.strip_prefix('!') {
            return Self { kind: Kind::Own(Own::named(name)), go_name: go_name(name) };
        }
        if let Some((name, inner)) = text.split_once('=') {
            let inner = Self::parse(inner, by_name);
            return Self { kind: inner.kind, go_name: go_name(name) };
        }
        let kind = match text {
            "string" => Kind::Text,
            "bool" => Kind::Flag,
            "int" | "int64" => Kind::Int64,
            "int32" => Kind::Int32,
            "float64" => Kind::Float,
            "bytes" => Kind::Bytes,
            // A test holds every name of the table to this.
            name => by_name.get(name).map_or(Kind::Own(Own::Any), |&at| Kind::Struct(at)),
        };
        let go_name = if text == "bytes" { "[]uint8".to_owned() } else { go_name(text) };
        Self { kind, go_name }
    }
}

impl Own {
    fn named(name: &str) -> Self {
        match name {
            "meta/v1.Time" => Self::Time,
            "meta/v1.MicroTime" => Self::MicroTime,
            "resource.Quantity" => Self::Quantity,
            "intstr.IntOrString" => Self::IntOrString,
            "apiextensions/v1.JSONSchemaPropsOrArray" => Self::SchemaOrArray,
            "apiextensions/v1.JSONSchemaPropsOrBool" => Self::SchemaOrBool,
            "apiextensions/v1.JSONSchemaPropsOrStringArray" => Self::SchemaOrTexts,
            _ => Self::Any,
        }
    }
}

/// The shape of a built-in kind of a group, such as `Role` of `rbac.authorization.k8s.io`.
pub fn of_kind(group: &str, kind: &str) -> Option<&'static Shape> {
    match group.split('.').next().unwrap_or_default() {
        "" => named(&format!("v1.{kind}")),
        package => named(&format!("{package}/v1.{kind}")),
    }
}

/// A struct by its name in the table.
pub fn named(name: &str) -> Option<&'static Shape> {
    let table = &*TABLE;
    table.by_name.get(name).and_then(|&at| table.shapes.get(at))
}

/// The struct of a [`Kind::Struct`].
pub fn at(index: usize) -> Option<&'static Shape> {
    TABLE.shapes.get(index)
}
