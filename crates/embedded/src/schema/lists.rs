//! Lists that are sets or maps: their elements must differ.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{
    cause::Cause,
    node::{Additional, ListType, Node},
    path::Path,
};

/// Checks all lists below `value`.
pub(crate) fn check(path: Path<'_>, node: &Node, value: &Value, causes: &mut Vec<Cause>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let Additional::Schema(schema) = &node.additional {
                    check(path.key(name), schema, value, causes);
                }
                if let Some(property) = node.properties.get(name) {
                    check(path.field(name), property, value, causes);
                }
            }
        }
        Value::Array(items) => {
            match &node.list {
                ListType::Atomic => {}
                ListType::Set => {
                    for index in repeated(items.iter()) {
                        causes.push(Cause::duplicate(path.index(index).to_field(), &items[index]));
                    }
                }
                ListType::Map(keys) => check_map(path, keys, items, causes),
            }
            let Some(node) = node.items.as_deref() else { return };
            for (index, item) in items.iter().enumerate() {
                check(path.index(index), node, item, causes);
            }
        }
        _ => {}
    }
}

fn check_map(path: Path<'_>, keys: &[String], items: &[Value], causes: &mut Vec<Cause>) {
    if let Some(index) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let detail = "must be an object for an array of list-type map";
        causes.push(Cause::invalid(path.index(index).to_field(), &items[index], detail));
        return;
    }
    let key_of = |item: &Value| -> Value {
        let fields = item.as_object().into_iter().flat_map(|map| {
            keys.iter().filter_map(|key| map.get(key).map(|value| (key.clone(), value.clone())))
        });
        Value::Object(fields.collect::<Map<_, _>>())
    };
    let found: Vec<Value> = items.iter().map(key_of).collect();
    for index in repeated(found.iter()) {
        causes.push(Cause::duplicate(path.index(index).to_field(), &found[index]));
    }
}

/// The positions at which a value is seen for the second time (not the third).
fn repeated<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut second = Vec::new();
    for (index, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            second.push(index);
        }
    }
    second
}
