//! Fills in what a schema has a default for.

use serde_json::Value;

use super::node::{Additional, Node};

/// Applies defaults below the root of an object, then removes nulls that the schema does not allow.
pub(crate) fn object(root: &Node, value: &mut Value) {
    fill(root, value);
    drop_nulls(Some(root), value);
}

fn fill(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in &node.properties {
                let Some(default) = &property.default else { continue };
                let missing =
                    map.get(name).is_none_or(|value| value.is_null() && !property.nullable);
                if missing {
                    map.insert(name.clone(), (**default).clone());
                }
            }
            for (name, value) in map.iter_mut() {
                match (node.properties.get(name), &node.additional) {
                    (Some(property), _) => fill(property, value),
                    (None, Additional::Schema(schema)) => fill_element(schema, value),
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(node) = node.items.as_deref() else { return };
            for item in items {
                fill_element(node, item);
            }
        }
        _ => {}
    }
}

fn fill_element(node: &Node, value: &mut Value) {
    if value.is_null()
        && !node.nullable
        && let Some(default) = &node.default
    {
        *value = (**default).clone();
    }
    fill(node, value);
}

/// A null that is neither allowed nor replaced by a default means that the field is absent.
fn drop_nulls(node: Option<&Node>, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|name, value| {
            let child = node.and_then(|node| node.child(name));
            let unwanted = value.is_null()
                && child.is_some_and(|child| !child.nullable && child.default.is_none());
            if !unwanted {
                drop_nulls(child, value);
            }
            !unwanted
        }),
        Value::Array(items) => {
            let node = node.and_then(|node| node.items.as_deref());
            for item in items {
                drop_nulls(node, item);
            }
        }
        _ => {}
    }
}
