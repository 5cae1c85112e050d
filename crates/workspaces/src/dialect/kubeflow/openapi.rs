//! The contract as an OpenAPI 3.1 document, made from the table of routes and the types of bodies.
//!
//! Types look different to who reads and to who writes them (what may be left out, what is refused),
//! so each direction has its own schemas; those that are the same are told once.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    doc::{Answer, Body, Content, Doc, Parameter, Value as Kind},
    envelope::Failure,
    route::{BASE, Route},
};

/// What the name of a schema gets that only request bodies have in this form.
const INPUT: &str = "Input";
const SCHEMAS: &str = "/components/schemas";

/// The document of a table; `user_header` is how a proxy says who calls.
pub(crate) fn document(routes: &[Route], user_header: &str) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in routes {
        let path = route.path.strip_prefix(BASE).unwrap_or(&route.path);
        let mut item = Map::new();
        for (method, doc) in &route.operations {
            let name = method.as_str().to_ascii_lowercase();
            item.insert(name, operation(&mut schemas, method, path, doc));
        }
        paths.insert(path.to_owned(), item.into());
    }
    let failure = schemas.written.subschema_for::<Failure<'static>>();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kubeflow Notebooks API",
            "version": "1.0.0",
            "description": "Workspaces, the kinds they are made of, and what they mount.",
        },
        "servers": [{"url": BASE}],
        "security": [{"UserIdHeader": []}, {"Bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "UserIdHeader": {"type": "apiKey", "in": "header", "name": user_header},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
            "responses": failures(&failure.to_value()),
        },
    });
    schemas.add_to(document)
}

fn operation(schemas: &mut Schemas, method: &Method, path: &str, doc: &Doc) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".to_owned(), doc.id.into());
    operation.insert("summary".to_owned(), doc.summary.into());
    operation.insert("tags".to_owned(), json!([tag(path)]));
    if doc.open {
        operation.insert("security".to_owned(), json!([]));
    }
    let parameters = parameters(path, doc);
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(body) = doc.body {
        operation.insert("requestBody".to_owned(), request_body(schemas, body));
    }
    let mut responses = BTreeMap::new();
    for answer in &doc.answers {
        let response = response(schemas, answer, doc.tagged);
        let known = responses.entry(answer.status.to_string()).or_insert_with(|| json!({}));
        merge(known, response);
    }
    for status in doc.failures(method, path) {
        let shared = json!({"$ref": format!("#/components/responses/{status}")});
        responses.insert(status.to_string(), shared);
    }
    operation.insert("responses".to_owned(), json!(responses));
    operation.into()
}

/// One status with answers of several media types.
fn merge(known: &mut Value, more: Value) {
    match (known, more) {
        (Value::Object(known), Value::Object(more)) => {
            for (key, value) in more {
                merge(known.entry(key).or_insert(Value::Null), value);
            }
        }
        (known, more) => *known = more,
    }
}

/// The noun that a path begins with.
fn tag(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

fn parameters(path: &str, doc: &Doc) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = names.map(in_path).collect();
    all.extend(doc.query.iter().map(in_query));
    if !doc.open {
        let schema = json!({"type": "string", "enum": ["2025-07", "2026-08"]});
        let about = "The generation of the API to answer in";
        all.push(json!({
            "name": "X-Api-Profile", "in": "header", "description": about, "schema": schema,
        }));
    }
    let text = json!({"type": "string"});
    let header = |name: &str, about: &str| json!({"name": name, "in": "header", "description": about, "schema": text});
    if doc.tagged {
        all.push(header("If-None-Match", "Answer 304 if this `ETag` is still the right one"));
    }
    if doc.matched {
        all.push(header("If-Match", "Do it only if this `ETag` is still the right one"));
    }
    all
}

fn in_path(name: &str) -> Value {
    let schema = match name {
        "namespace" => label(),
        _ => json!({
            "type": "string",
            "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            "minLength": 1,
            "maxLength": 253,
        }),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn label() -> Value {
    let pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
    json!({"type": "string", "pattern": pattern, "minLength": 1, "maxLength": 63})
}

fn in_query(Parameter { name, about, value }: &Parameter) -> Value {
    let schema = match value {
        Kind::Label => label(),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Integer(most) => {
            json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": most})
        }
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Text => json!({"type": "string"}),
    };
    json!({"name": name, "in": "query", "description": about, "schema": schema})
}

fn request_body(schemas: &mut Schemas, body: Body) -> Value {
    let Body { media_types, schema, wrapped } = body;
    let schema = schema(&mut schemas.read).to_value();
    let schema = match wrapped {
        true => json!({
            "type": "object",
            "properties": {"data": schema},
            "required": ["data"],
            "additionalProperties": false,
        }),
        false => schema,
    };
    let content: Map<String, Value> = media_types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({"schema": schema})))
        .collect();
    json!({"required": true, "content": content})
}

fn response(schemas: &mut Schemas, answer: &Answer, tagged: bool) -> Value {
    let status = StatusCode::from_u16(answer.status).ok();
    let description = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
    let mut response = json!({"description": description});
    let content = match &answer.content {
        Content::Nothing => None,
        Content::Data(shapes) => {
            let mut shapes: Vec<Value> =
                shapes.iter().map(|shape| shape(&mut schemas.written).to_value()).collect();
            let data = match shapes.len() {
                1 => shapes.remove(0),
                _ => json!({"anyOf": shapes}),
            };
            let schema =
                json!({"type": "object", "properties": {"data": data}, "required": ["data"]});
            Some(("application/json", schema))
        }
        Content::Bare(shape) => Some(("application/json", shape(&mut schemas.written).to_value())),
        Content::Text(media_type) => Some((*media_type, json!({"type": "string"}))),
    };
    if let Some((media_type, schema)) = content {
        response["content"] = json!({media_type: {"schema": schema}});
    }
    let text = json!({"schema": {"type": "string"}});
    if answer.located {
        response["headers"]["Location"] = text.clone();
    }
    if tagged && answer.status < 400 {
        response["headers"]["ETag"] = text;
    }
    response
}

/// The failures that operations share, by status.
fn failures(schema: &Value) -> Value {
    let statuses = [400, 401, 403, 404, 409, 412, 413, 415, 422, 500, 503, 507];
    let one = |status: u16| {
        let code = StatusCode::from_u16(status).ok();
        let reason = code.and_then(|code| code.canonical_reason()).unwrap_or_default();
        let content = json!({"application/json": {"schema": schema}});
        (status.to_string(), json!({"description": reason, "content": content}))
    };
    statuses.into_iter().map(one).collect::<Map<_, _>>().into()
}

/// The schemas of both directions.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = SCHEMAS.into();
                settings.meta_schema = None;
            })
        };
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }

    /// Adds all schemas. Those of request bodies that differ from what is written under the same
    /// name get a name of their own, and so do those that refer to them.
    fn add_to(mut self, mut document: Value) -> Value {
        let mut all = self.written.take_definitions(true);
        let read = self.read.take_definitions(true);
        let mut own: Vec<&String> = Vec::new();
        loop {
            let differs = |name: &String, schema: &Value| {
                let other = all.get(name).is_some_and(|written| written != schema);
                other || own.iter().any(|own| refers_to(schema, own))
            };
            let mut new = read.iter().filter(|(name, _)| !own.contains(name));
            let Some((name, _)) = new.find(|(name, schema)| differs(name, schema)) else { break };
            own.push(name);
        }
        let rename = |value: &mut Value| {
            for name in &own {
                redirect(value, name);
            }
        };
        for (name, schema) in &read {
            let mut schema = schema.clone();
            rename(&mut schema);
            let name = if own.contains(&name) { format!("{name}{INPUT}") } else { name.clone() };
            all.insert(name, schema);
        }
        for item in document["paths"].as_object_mut().into_iter().flatten() {
            for operation in item.1.as_object_mut().into_iter().flatten() {
                if let Some(body) = operation.1.get_mut("requestBody") {
                    rename(body);
                }
            }
        }
        document["components"]["schemas"] = all.into();
        document
    }
}

fn reference(name: &str) -> String {
    format!("#{SCHEMAS}/{name}")
}

fn refers_to(schema: &Value, name: &str) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.get("$ref").is_some_and(|target| *target == reference(name))
                || fields.values().any(|field| refers_to(field, name))
        }
        Value::Array(items) => items.iter().any(|item| refers_to(item, name)),
        _ => false,
    }
}

/// Lets references to a schema lead to its form in request bodies.
fn redirect(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(fields) => {
            if let Some(target) = fields.get_mut("$ref")
                && *target == reference(name)
            {
                *target = reference(&format!("{name}{INPUT}")).into();
            }
            fields.values_mut().for_each(|field| redirect(field, name));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, name)),
        _ => {}
    }
}
