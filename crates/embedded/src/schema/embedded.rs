//! The whole objects inside of an object, where `x-kubernetes-embedded-resource` says so.

use serde_json::{Map, Value};

use super::{
    Schema,
    node::{Additional, Node},
    path::Path,
};

/// Is given the path of an object, and the object.
pub(crate) type Visitor<'a> = dyn FnMut(&str, &mut Map<String, Value>) -> Result<(), String> + 'a;

impl Schema {
    /// Whether objects may have others in them.
    pub(crate) fn has_embedded(&self) -> bool {
        self.has_embedded
    }

    /// Visits the objects in an object, the outer ones first, until one of them fails.
    ///
    /// # Errors
    /// What the visitor says.
    pub(crate) fn visit_embedded(
        &self,
        value: &mut Value,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), String> {
        visit(Path::ROOT, &self.root, value, visitor)
    }
}

/// Whether a level of a schema, or one below, is that of a whole object.
pub(super) fn is_in(node: &Node) -> bool {
    let below = |node: &Node| node.embedded || is_in(node);
    node.properties.values().any(below)
        || node.items.as_deref().is_some_and(below)
        || matches!(&node.additional, Additional::Schema(schema) if below(schema))
}

fn visit(
    path: Path<'_>,
    node: &Node,
    value: &mut Value,
    visitor: &mut Visitor<'_>,
) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            if node.embedded {
                visitor(&path.to_dotted(), map)?;
            }
            for (name, value) in map.iter_mut() {
                match (node.properties.get(name), &node.additional) {
                    (Some(property), _) => visit(path.field(name), property, value, visitor)?,
                    (None, Additional::Schema(schema)) => {
                        visit(path.key(name), schema, value, visitor)?;
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(node) = node.items.as_deref() else { return Ok(()) };
            for (index, item) in items.iter_mut().enumerate() {
                visit(path.index(index), node, item, visitor)?;
            }
        }
        _ => {}
    }
    Ok(())
}
