//! The OpenAPI document in the words of Swagger 2.0, for clients that know nothing newer.
//!
//! What Swagger cannot say is left out: a schema gets wider, never wrong.

use serde_json::{Map, Value, json};

/// What a schema of Swagger may hold.
const WORDS: [&str; 24] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "properties",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
];

/// How the API is reached, and who says who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swagger {
    /// Host and port.
    pub host: String,
    /// The path below which all routes are.
    pub base_path: String,
    /// `http` or `https`.
    pub scheme: String,
}

/// Says an OpenAPI document again.
pub(crate) fn convert(openapi: &Value, at: &Swagger) -> Value {
    let mut paths = Map::new();
    for (path, item) in members(&openapi["paths"]) {
        let operations = members(item);
        let operations =
            operations.map(|(method, said)| (method.clone(), operation(openapi, said)));
        paths.insert(path.clone(), operations.collect::<Map<_, _>>().into());
    }
    let definitions = members(&openapi["components"]["schemas"]);
    let definitions: Map<_, _> =
        definitions.map(|(name, said)| (name.clone(), schema(said))).collect();
    json!({
        "swagger": "2.0",
        "info": openapi["info"],
        "host": at.host,
        "basePath": at.base_path,
        "schemes": [at.scheme],
        "securityDefinitions": {
            "UserIdHeader": openapi["components"]["securitySchemes"]["UserIdHeader"],
        },
        "security": [{"UserIdHeader": []}],
        "paths": paths,
        "definitions": definitions,
    })
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn operation(openapi: &Value, said: &Value) -> Value {
    let mut operation = Map::new();
    for key in ["operationId", "summary", "tags", "security"] {
        if let Some(value) = said.get(key) {
            operation.insert(key.to_owned(), value.clone());
        }
    }
    let mut parameters: Vec<Value> =
        said["parameters"].as_array().into_iter().flatten().map(parameter).collect();
    let body = &said["requestBody"]["content"];
    if let Some((_, content)) = members(body).next() {
        let media_types: Vec<&String> = members(body).map(|(media_type, _)| media_type).collect();
        operation.insert("consumes".to_owned(), json!(media_types));
        parameters.push(json!({
            "name": "body", "in": "body", "required": true, "schema": schema(&content["schema"]),
        }));
    }
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    let mut responses = Map::new();
    let mut produces = Vec::new();
    for (status, said) in members(&said["responses"]) {
        let said = resolve(openapi, said);
        for (media_type, _) in members(&said["content"]) {
            if !produces.contains(&media_type) {
                produces.push(media_type);
            }
        }
        responses.insert(status.clone(), response(said));
    }
    operation.insert("produces".to_owned(), json!(produces));
    operation.insert("responses".to_owned(), responses.into());
    operation.into()
}

/// What a reference leads to, or the thing itself.
fn resolve<'a>(openapi: &'a Value, said: &'a Value) -> &'a Value {
    let target = said["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| openapi.pointer(pointer)).unwrap_or(said)
}

fn parameter(said: &Value) -> Value {
    let mut parameter = schema(&said["schema"]);
    for (key, value) in members(said).filter(|(key, _)| *key != "schema") {
        parameter[key] = value.clone();
    }
    parameter
}

fn response(said: &Value) -> Value {
    let mut response = json!({"description": said["description"]});
    if let Some((_, content)) = members(&said["content"]).next() {
        response["schema"] = schema(&content["schema"]);
    }
    for (name, header) in members(&said["headers"]) {
        response["headers"][name] = schema(&header["schema"]);
    }
    response
}

fn schema(said: &Value) -> Value {
    let Value::Object(said) = said else { return json!({}) };
    let mut said = said.clone();
    let mut nullable = false;
    if let Some(Value::Array(types)) = said.get_mut("type") {
        nullable = types.iter().any(|word| word == "null");
        types.retain(|word| word != "null");
        match types.as_slice() {
            [only] => {
                let only = only.clone();
                said.insert("type".to_owned(), only);
            }
            _ => drop(said.remove("type")),
        }
    }
    // Something or null is all that alternatives are understood for.
    if let Some(Value::Array(mut shapes)) = said.remove("anyOf") {
        let before = shapes.len();
        shapes.retain(|shape| shape["type"] != "null");
        nullable |= shapes.len() < before;
        if shapes.len() == 1 {
            said.insert("allOf".to_owned(), shapes.into());
        }
    }
    if let Some(only) = said.remove("const") {
        said.insert("enum".to_owned(), json!([only]));
    }
    let mut written = Map::new();
    for (key, value) in said {
        let value = match (key.as_str(), value) {
            ("$ref", Value::String(target)) => {
                json!(target.replace("#/components/schemas/", "#/definitions/"))
            }
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, said)| (name.clone(), schema(said))).collect()
            }
            ("items" | "additionalProperties", value @ Value::Object(_)) => schema(&value),
            ("allOf", Value::Array(shapes)) => shapes.iter().map(schema).collect(),
            (_, value) => value,
        };
        if key.starts_with("x-") || WORDS.contains(&key.as_str()) {
            written.insert(key, value);
        }
    }
    if nullable {
        written.insert("x-nullable".to_owned(), true.into());
    }
    written.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_swagger_cannot_say_is_left_out() {
        let said = json!({
            "type": ["object", "null"],
            "properties": {
                "a": {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]},
                "b": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "c": {"const": "x", "examples": ["x"]},
                "d": true,
                "e": {"type": ["string", "integer"]},
            },
            "patternProperties": {"^x": {}},
            "x-kubernetes-list-type": "atomic",
        });
        assert_eq!(
            schema(&said),
            json!({
                "type": "object",
                "x-nullable": true,
                "properties": {
                    "a": {"allOf": [{"$ref": "#/definitions/A"}], "x-nullable": true},
                    "b": {},
                    "c": {"enum": ["x"]},
                    "d": {},
                    "e": {},
                },
                "x-kubernetes-list-type": "atomic",
            })
        );
    }
}
