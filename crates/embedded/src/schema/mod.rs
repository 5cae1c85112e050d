//! What an API server does with the schemas of custom resources, and with the rules of its own kinds.
//!
//! Everything here is a pure function: no input or output, no clock, no shared state. Texts and
//! reasons are those of Kubernetes 1.34. Start reading at [`Schema`]; [`builtin`] holds
//! the rules of the kinds that have no schema.

pub mod builtin;
mod cause;
mod cel;
mod check;
mod correlate;
mod defaults;
mod definition;
mod diff;
mod embedded;
mod formats;
mod lists;
pub(crate) mod names;
mod node;
mod path;
mod pattern;
mod prune;
pub mod shape;
mod structural;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde::Deserialize as _;
use serde_json::Value;

pub use cause::{Cause, summary};
pub(crate) use cause::{compact_json, quote};
use check::At;
use node::{Additional, Builder, Node};
use path::Path;

/// The deepest schema and value that are looked at.
const MAX_DEPTH: usize = 200;

/// Failures after which the rules of a schema are not looked at.
const BLOCKING: [&str; 5] = [
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];

/// Where the fields of [`Schema::compile`]'s causes start.
const ROOT_FIELD: &str = "openAPIV3Schema";

/// A structural schema, ready for use.
#[derive(Debug)]
pub struct Schema {
    root: Node,
    has_embedded: bool,
}

impl Schema {
    /// Compiles the value of `spec.versions[].schema.openAPIV3Schema`.
    ///
    /// # Errors
    /// All the reasons for which an API server refuses the schema. Fields start with
    /// `openAPIV3Schema`; see [`Cause::under`].
    pub fn compile(open_api_v3_schema: &Value) -> Result<Self, Vec<Cause>> {
        if is_deeper(open_api_v3_schema, MAX_DEPTH) {
            let detail = format!("must not be nested deeper than {MAX_DEPTH} levels");
            return Err(vec![Cause::forbidden(ROOT_FIELD, &detail)]);
        }
        let props: JSONSchemaProps =
            JSONSchemaProps::deserialize(open_api_v3_schema).map_err(|error| {
                vec![Cause::invalid(ROOT_FIELD, &Value::String(String::new()), &error.to_string())]
            })?;
        let mut causes = structural::check(&props, ROOT_FIELD);
        let mut root = Builder::default().node(&props);
        if causes.is_empty() {
            check_defaults(&root, ROOT_FIELD, &mut causes);
        }
        causes.extend(definition::check(&props, ROOT_FIELD));
        if causes.is_empty() {
            let place = cel::Place { field: ROOT_FIELD, is_root: true, uncorrelated: None };
            cel::attach(&mut root, &props, &place, &mut causes);
        }
        let has_embedded = embedded::is_in(&root);
        if causes.is_empty() { Ok(Self { root, has_embedded }) } else { Err(causes) }
    }

    /// What the rules of a schema that compiles may cost too much. With `old`, the schema that it
    /// takes the place of, an expression by itself may go on costing what it did.
    pub(crate) fn check_cost(open_api_v3_schema: &Value, old: Option<&Value>) -> Vec<Cause> {
        let props = JSONSchemaProps::deserialize(open_api_v3_schema);
        let strict = old != Some(open_api_v3_schema);
        props.map_or(Vec::new(), |props| cel::check_cost(&props, ROOT_FIELD, strict))
    }

    /// Removes what the schema does not know; returns the paths of what was removed, in order.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::object(&self.root, object)
    }

    /// Fills in defaults, and drops nulls where the schema has no place for them.
    pub fn default(&self, object: &mut Value) {
        defaults::object(&self.root, object);
    }

    /// Everything that is wrong with an object; with the old one, what has not changed may stay.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        if is_deeper(new, MAX_DEPTH) {
            let detail = format!("must not be nested deeper than {MAX_DEPTH} levels");
            return vec![Cause::forbidden(cause::NO_FIELD, &detail)];
        }
        let at = At { path: Path::ROOT, old };
        let mut causes = check::ratcheted(at, &self.root, new).causes;
        let mut repeated = Vec::new();
        if let Some(old) = old {
            lists::check(Path::ROOT, &self.root, old, &mut repeated);
        }
        // Lists that had repeated elements before may go on having them.
        if repeated.is_empty() {
            lists::check(Path::ROOT, &self.root, new, &mut causes);
        }
        if self.root.has_rules {
            // Rules may rely on the shape of the object, so a wrong shape comes first.
            if causes.iter().any(|cause| BLOCKING.contains(&cause.reason.as_str())) {
                let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
                causes.push(Cause::invalid(cause::NO_FIELD, &Value::Null, detail));
            } else {
                causes.extend(cel::validate(&self.root, new, old));
            }
        }
        causes
    }
}

/// Defaults must themselves be pruned and valid.
fn check_defaults(node: &Node, path: &str, causes: &mut Vec<Cause>) {
    if let Some(default) = node.default.as_deref() {
        let field = format!("{path}.default");
        let mut pruned = default.clone();
        if !prune::part(node, &mut pruned).is_empty() {
            causes.push(Cause::invalid(&field, default, "must not have unknown fields"));
        }
        let base = Path::ROOT;
        let at = At { path: base.field(&field), old: None };
        causes.extend(check::plain(at, node, default).causes);
    }
    if let Some(items) = node.items.as_deref() {
        check_defaults(items, &format!("{path}.items"), causes);
    }
    for (name, property) in &node.properties {
        check_defaults(property, &format!("{path}.properties[{name}]"), causes);
    }
    if let Additional::Schema(schema) = &node.additional {
        check_defaults(schema, &format!("{path}.additionalProperties"), causes);
    }
}

/// Whether a value is nested deeper than `limit`; does not look deeper than that itself.
fn is_deeper(value: &Value, limit: usize) -> bool {
    match value {
        Value::Array(items) => limit == 0 || items.iter().any(|item| is_deeper(item, limit - 1)),
        Value::Object(map) => limit == 0 || map.values().any(|item| is_deeper(item, limit - 1)),
        _ => false,
    }
}
