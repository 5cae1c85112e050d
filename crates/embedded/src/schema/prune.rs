//! Removes what a schema does not know, and says what that was.

use serde_json::{Map, Value};

use super::{
    node::{Additional, Node},
    path::Path,
};

/// The fields that every object has, whatever its schema says.
const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes unknown fields below the root of an object; returns their paths in order.
pub(crate) fn object(root: &Node, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    Pruner { unknown: &mut unknown, in_root: true }.visit(Path::ROOT, Some(root), value);
    unknown.sort();
    unknown
}

/// Removes unknown fields of a value that is not an object of its own.
pub(crate) fn part(node: &Node, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    Pruner { unknown: &mut unknown, in_root: false }.visit(Path::ROOT, Some(node), value);
    unknown
}

struct Pruner<'a> {
    unknown: &'a mut Vec<String>,
    in_root: bool,
}

impl Pruner<'_> {
    fn visit(&mut self, path: Path<'_>, node: Option<&Node>, value: &mut Value) {
        let in_root = std::mem::take(&mut self.in_root);
        match (node, value) {
            (Some(node), value) if node.preserve => {
                self.visit_preserved(path, node, in_root, value)
            }
            (Some(node), Value::Object(map)) => self.visit_object(path, node, in_root, map),
            (None, Value::Object(map)) => {
                for (key, _) in std::mem::take(map) {
                    self.unknown.push(path.field(&key).to_dotted());
                }
            }
            (node, Value::Array(items)) => {
                let items_node = node.and_then(|node| node.items.as_deref());
                for (index, item) in items.iter_mut().enumerate() {
                    self.visit(path.index(index), items_node, item);
                }
            }
            _ => {}
        }
    }

    fn visit_object(
        &mut self,
        path: Path<'_>,
        node: &Node,
        in_root: bool,
        map: &mut Map<String, Value>,
    ) {
        let keeps_meta = in_root || node.embedded;
        map.retain(|key, value| {
            let child = path.field(key);
            if keeps_meta && META_FIELDS.contains(&key.as_str()) {
                return true;
            }
            match (node.properties.get(key), &node.additional) {
                (Some(property), _) => self.visit(child, Some(property), value),
                (None, Additional::Schema(schema)) => self.visit(child, Some(schema), value),
                (None, Additional::Any | Additional::None) => self.visit(child, None, value),
                (None, Additional::Unset) => {
                    self.unknown.push(child.to_dotted());
                    return false;
                }
            }
            true
        });
    }

    /// Unknown fields stay here, but known ones may hold unknown fields of their own.
    fn visit_preserved(&mut self, path: Path<'_>, node: &Node, in_root: bool, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    if (in_root || node.embedded) && META_FIELDS.contains(&key.as_str()) {
                        continue;
                    }
                    match (node.properties.get(key), &node.additional) {
                        (Some(property), _) => self.visit(path.field(key), Some(property), value),
                        (None, Additional::Schema(schema)) => {
                            self.visit(path.field(key), Some(schema), value)
                        }
                        (None, Additional::Any | Additional::None) => {
                            self.visit(path.field(key), None, value)
                        }
                        (None, Additional::Unset) => {}
                    }
                }
            }
            Value::Array(items) => {
                let Some(node) = node.items.as_deref() else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    self.visit_preserved(path.index(index), node, false, item);
                }
            }
            _ => {}
        }
    }
}
