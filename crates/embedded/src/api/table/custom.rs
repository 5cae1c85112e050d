//! The columns of custom resources: those of their definition, or their age.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, age, jsonpath::JsonPath};
use crate::api::kinds::text;

/// The columns that a version of a definition asks for.
#[derive(Debug)]
pub(crate) struct Columns(Vec<(Column, Option<JsonPath>)>);

impl Columns {
    /// Reads `additionalPrinterColumns` of a version.
    pub(crate) fn of(version: &Value) -> Self {
        let own = version.get("additionalPrinterColumns").and_then(Value::as_array);
        let age = [json!({
            "name": "Age",
            "type": "date",
            "jsonPath": ".metadata.creationTimestamp",
            "description": CREATED,
        })];
        let wanted = match own {
            Some(own) if !own.is_empty() => own.as_slice(),
            _ => &age,
        };
        let mut columns = vec![(
            Column {
                name: "Name".into(),
                kind: "string".into(),
                format: "name".into(),
                description: String::new(),
                priority: 0,
            },
            None,
        )];
        columns.extend(wanted.iter().map(column));
        Self(columns)
    }

    pub(super) fn definitions(&self) -> impl Iterator<Item = &Column> {
        self.0.iter().map(|(column, _)| column)
    }

    pub(super) fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut cells = vec![text(object, "/metadata/name").into()];
        cells.extend(self.0.iter().skip(1).map(|(column, path)| {
            let value = path.as_ref().and_then(|path| path.first(object));
            value.map_or(Value::Null, |value| cell(&column.kind, value, now))
        }));
        cells
    }
}

const CREATED: &str = "When the object was created.";

fn column(wanted: &Value) -> (Column, Option<JsonPath>) {
    let path = text(wanted, "/jsonPath");
    let parsed = JsonPath::parse(path);
    if parsed.is_none() {
        tracing::warn!(path, "a printer column has a path that is not supported, it stays empty");
    }
    let description = match text(wanted, "/description") {
        "" => format!("Custom resource definition column (in JSONPath format): {path}"),
        own => own.to_owned(),
    };
    let column = Column {
        name: text(wanted, "/name").to_owned(),
        kind: text(wanted, "/type").to_owned(),
        format: text(wanted, "/format").to_owned(),
        description,
        priority: wanted.get("priority").and_then(Value::as_i64).unwrap_or(0),
    };
    (column, parsed)
}

/// A value in a column of some type; what does not fit stays empty.
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", Value::Null) => "<no value>".into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            #[expect(clippy::cast_possible_truncation, reason = "this is what is wanted")]
            (None, Some(number)) => (number as i64).into(),
            _ => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(_)) => age::since(Some(value), now).into(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(columns: Value, object: &Value) -> Vec<Value> {
        let now = "2030-01-01T01:00:00Z".parse().unwrap();
        Columns::of(&json!({"additionalPrinterColumns": columns})).cells(object, now)
    }

    #[test]
    fn without_columns_there_are_name_and_age() {
        let object =
            json!({"metadata": {"name": "a", "creationTimestamp": "2030-01-01T00:00:00Z"}});
        assert_eq!(cells(Value::Null, &object), [json!("a"), json!("60m")]);
        assert_eq!(cells(json!([]), &object), [json!("a"), json!("60m")]);
    }

    #[test]
    fn values_are_shown_by_the_type_of_their_column() {
        let object = json!({"metadata": {"name": "a"}, "spec": {
            "text": "x", "count": 3, "part": 2.7, "yes": true, "list": [1, "b"], "map": {"a": 1},
            "null": null, "when": "2030-01-01T00:58:00Z", "never": "soon",
        }});
        for (kind, path, shown) in [
            ("string", ".spec.text", json!("x")),
            ("string", ".spec.count", json!("3")),
            ("string", ".spec.yes", json!("true")),
            ("string", ".spec.list", json!("[1,\"b\"]")),
            ("string", ".spec.map", json!("{\"a\":1}")),
            ("string", ".spec.null", json!("<no value>")),
            ("string", ".spec.none", Value::Null),
            ("integer", ".spec.count", json!(3)),
            ("integer", ".spec.part", json!(2)),
            ("integer", ".spec.text", Value::Null),
            ("number", ".spec.part", json!(2.7)),
            ("boolean", ".spec.yes", json!(true)),
            ("boolean", ".spec.text", Value::Null),
            ("date", ".spec.when", json!("2m")),
            ("date", ".spec.never", json!("<invalid>")),
            ("date", ".spec.null", Value::Null),
            ("string", "..text", Value::Null),
        ] {
            let columns = json!([{"name": "X", "type": kind, "jsonPath": path}]);
            assert_eq!(cells(columns, &object)[1], shown, "{kind} {path}");
        }
    }
}
