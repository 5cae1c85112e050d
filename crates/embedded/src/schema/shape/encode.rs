//! What Go's encoder makes of an object: empty fields left out or written, as their type says.

use serde_json::{Map, Value};

use super::{Field, Kind, Own, Shape, Type, at};

/// Brings an object into the form in which its kind is written.
pub fn write(shape: &Shape, value: &mut Value) {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(object) = value else { return };
    for field in &shape.fields {
        let slot = object.get_mut(field.name).filter(|value| !value.is_null());
        match slot {
            Some(value) => {
                inner(&field.ty, value);
                if (field.omit_empty || field.omit_zero)
                    && !field.pointer
                    && is_empty(&field.ty, value)
                {
                    object.remove(field.name);
                }
            }
            None => match absent(field) {
                Some(value) => {
                    object.insert(field.name.to_owned(), value);
                }
                None => {
                    object.remove(field.name);
                }
            },
        }
    }
}

fn inner(ty: &Type, value: &mut Value) {
    match (&ty.kind, value) {
        (Kind::Struct(index), value) => {
            if let Some(shape) = at(*index) {
                write(shape, value);
            }
        }
        (Kind::List(element), Value::Array(items)) => {
            items.iter_mut().for_each(|item| inner(element, item));
        }
        (Kind::Map(element), Value::Object(members)) => {
            members.values_mut().for_each(|member| inner(element, member));
        }
        _ => {}
    }
}

/// Structs are never empty for Go, and most types that write themselves are structs.
fn is_empty(ty: &Type, value: &Value) -> bool {
    match (&ty.kind, value) {
        (Kind::Struct(_) | Kind::Own(_), _) => false,
        (_, Value::Null | Value::Bool(false)) => true,
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(members)) => members.is_empty(),
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// What is written for a field that is not there.
fn absent(field: &Field) -> Option<Value> {
    if let Kind::Struct(index) = &field.ty.kind
        && !field.pointer
        && !field.omit_zero
    {
        let mut value = Value::Object(Map::new());
        write(at(*index)?, &mut value);
        return Some(value);
    }
    let is_struct = matches!(
        field.ty.kind,
        Kind::Own(Own::Time | Own::MicroTime | Own::Quantity | Own::IntOrString)
    );
    if field.omit_zero || (field.omit_empty && (field.pointer || !is_struct)) {
        return None;
    }
    Some(match field.ty.kind {
        _ if field.pointer => Value::Null,
        Kind::Text => "".into(),
        Kind::Flag => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::Float => 0.into(),
        Kind::Own(Own::Quantity) => "0".into(),
        Kind::Own(Own::IntOrString) => 0.into(),
        _ => Value::Null,
    })
}

/// A time in the form in which it is written; none if it is not one.
pub(super) fn time(text: &str, own: Own) -> Option<String> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let form = match own {
        Own::MicroTime => "%Y-%m-%dT%H:%M:%S.%6fZ",
        _ => "%Y-%m-%dT%H:%M:%SZ",
    };
    Some(time.strftime(form).to_string())
}
