//! Tables: objects as the rows that `kubectl get` prints.
//!
//! `builtin` and `pod` know the columns of the kinds that come with the server, `custom` those that
//! definitions ask for.

mod age;
mod builtin;
mod custom;
mod jsonpath;
mod pod;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(crate) use custom::Columns;

use super::{Status, kinds::Resource, query::Query};

/// One column, as clients are told of it.
#[derive(Debug, Clone, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    format: String,
    description: String,
    priority: i64,
}

/// What a row brings along of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Object,
}

/// How a client wants tables of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    resource: Arc<Resource>,
    api_version: &'static str,
    include: Include,
}

impl Table {
    /// `version` is that of the table itself.
    pub(crate) fn new(
        resource: &Arc<Resource>,
        api_version: &'static str,
        query: &Query,
    ) -> Result<Self, Status> {
        let include = match query.text("includeObject") {
            "None" => Include::Nothing,
            "" | "Metadata" => Include::Metadata,
            "Object" => Include::Object,
            other => {
                return Err(Status::bad_request(format!(
                    "Unable to convert to Table as requested: includeObject: Unsupported value: {}: supported values: \"\", \"Metadata\", \"None\", \"Object\"",
                    Value::from(other),
                )));
            }
        };
        Ok(Self { resource: resource.clone(), api_version, include })
    }

    /// The start of a table, up to its rows. `meta` is the inside of its metadata.
    pub(crate) fn head(&self, meta: &str, headers: bool) -> String {
        let columns = if headers { self.columns() } else { Value::Null };
        format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":{{{meta}}},\"columnDefinitions\":{columns},\"rows\":[",
            self.api_version
        )
    }

    /// An object as a table of one row.
    pub(crate) fn one(&self, json: &Bytes, headers: bool) -> Bytes {
        let object = parse(json);
        let revision = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let meta =
            revision.map_or(String::new(), |text| format!("\"resourceVersion\":{}", json!(text)));
        format!("{}{}]}}", self.head(&meta, headers), self.row_of(object)).into()
    }

    /// An object as a row.
    pub(crate) fn row(&self, json: &Bytes) -> Bytes {
        self.row_of(parse(json)).to_string().into()
    }

    fn row_of(&self, object: Value) -> Value {
        let now = Timestamp::now();
        let mut row = Map::new();
        let cells = match &self.resource.custom {
            Some(custom) => custom.columns.cells(&object, now),
            None => builtin::cells(&self.resource, &object, now),
        };
        row.insert("cells".into(), cells.into());
        if self.resource.is("pods")
            && let Some(conditions) = pod::conditions(&object)
        {
            row.insert("conditions".into(), conditions);
        }
        let shown = match self.include {
            Include::Nothing => Value::Null,
            Include::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": self.api_version,
                "metadata": object.get("metadata").cloned().unwrap_or_default(),
            }),
            Include::Object => object,
        };
        row.insert("object".into(), shown);
        Value::Object(row)
    }

    fn columns(&self) -> Value {
        match &self.resource.custom {
            Some(custom) => json!(custom.columns.definitions().collect::<Vec<_>>()),
            None => json!(builtin::columns(&self.resource)),
        }
    }
}

/// Everything in the store was JSON when it was written.
fn parse(json: &Bytes) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

#[cfg(test)]
mod tests;
