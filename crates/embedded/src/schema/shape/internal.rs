//! Objects as the API server shows them in the differences of refused changes: by its own types,
//! whose fields are named as Go names them and are never left out.
//!
//! `internal.txt` holds these types, written as `types.txt` is.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{Kind, Own, Table, Type};

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("internal.txt")));

/// Fields of a pod that the server keeps elsewhere.
const OF_HOST: [&str; 5] =
    ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

/// A `PodSpec` or `PersistentVolumeClaimSpec` in many lines.
pub fn pretty(name: &str, value: &Value) -> String {
    show(name, value, true)
}

/// A `PodTemplateSpec` in one line.
pub fn compact(name: &str, value: &Value) -> String {
    show(name, value, false)
}

fn show(name: &str, value: &Value, lines: bool) -> String {
    let mut value = value.clone();
    match name {
        "PodSpec" => move_host(&mut value),
        "PodTemplateSpec" => {
            let Some(template) = value.as_object_mut() else { return String::new() };
            template.get_mut("spec").map(move_host);
            // The metadata is not a part of its own there.
            if let Some(Value::Object(metadata)) = template.remove("metadata") {
                template.extend(metadata);
            }
        }
        _ => {}
    }
    let mut writer = Writer { out: String::new(), lines };
    if let Some(&at) = TABLE.by_name.get(format!("core.{name}").as_str()) {
        writer.fields(at, &value, 0);
    }
    writer.out
}

/// What a pod shares with its host is a part of its security context.
fn move_host(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    let moved: Vec<_> =
        OF_HOST.iter().filter_map(|name| Some((*name, spec.remove(*name)?))).collect();
    if let Some(Value::Object(context)) = spec.get_mut("securityContext") {
        context.extend(moved.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
}

struct Writer {
    out: String,
    lines: bool,
}

impl Writer {
    fn line(&mut self, depth: usize) {
        if self.lines {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', depth));
        }
    }

    fn key(&mut self, key: &str) {
        self.out.push_str(&crate::schema::cause::compact_json(&key.into()));
        self.out.push_str(if self.lines { ": " } else { ":" });
    }

    fn fields(&mut self, at: usize, value: &Value, depth: usize) {
        let none = Map::new();
        let given = value.as_object().unwrap_or(&none);
        let find = |name: &str| {
            let known = given.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            known.map_or(&Value::Null, |(_, value)| value)
        };
        let Some(shape) = TABLE.shapes.get(at) else { return };
        let shown: Vec<_> = shape
            .fields
            .iter()
            .map(|field| (field, find(field.name)))
            .filter(|(field, value)| !(value.is_null() && (field.omit_empty || field.omit_zero)))
            .collect();
        if shown.is_empty() {
            self.out.push_str("{}");
            return;
        }
        self.out.push('{');
        for (index, (field, value)) in shown.into_iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.line(depth + 1);
            self.key(field.name);
            if field.pointer && value.is_null() {
                self.out.push_str("null");
            } else {
                self.write(&field.ty, value, depth + 1);
            }
        }
        self.line(depth);
        self.out.push('}');
    }

    fn write(&mut self, ty: &Type, value: &Value, depth: usize) {
        match (&ty.kind, value) {
            (Kind::Struct(at), value) => self.fields(*at, value, depth),
            (Kind::List(element), Value::Array(items)) if !items.is_empty() => {
                let items = items.iter().map(|item| (None, item));
                self.members(['[', ']'], items, element, depth);
            }
            (Kind::Map(element), Value::Object(map)) if !map.is_empty() => {
                let items = map.iter().map(|(key, item)| (Some(key.as_str()), item));
                self.members(['{', '}'], items, element, depth);
            }
            (Kind::Text, Value::Null) => self.out.push_str("\"\""),
            (Kind::Flag, Value::Null) => self.out.push_str("false"),
            (
                Kind::Int32 | Kind::Int64 | Kind::Float | Kind::Own(Own::IntOrString),
                Value::Null,
            ) => self.out.push('0'),
            (Kind::Own(Own::Quantity), Value::Null) => self.out.push_str("\"0\""),
            (_, value) => self.out.push_str(&crate::schema::cause::compact_json(value)),
        }
    }

    fn members<'a>(
        &mut self,
        [open, close]: [char; 2],
        items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
        ty: &Type,
        depth: usize,
    ) {
        self.out.push(open);
        for (index, (key, item)) in items.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.line(depth + 1);
            if let Some(key) = key {
                self.key(key);
            }
            self.write(ty, item, depth + 1);
        }
        self.line(depth);
        self.out.push(close);
    }
}
