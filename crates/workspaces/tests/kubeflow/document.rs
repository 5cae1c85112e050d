//! The served document against what is really answered: every answer of every test goes through
//! here.

use std::sync::LazyLock;

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value};
use workspaces::dialect::kubeflow::{Options, openapi};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi(&Options::default()));

/// Panics unless the document says that an operation can answer like this.
pub(crate) fn check(method: &Method, path: &str, status: StatusCode, headers: &HeaderMap) {
    let prefixes = ["/workspaces/backend/api/v1", "/workspaces/api/v1", "/api/v1"];
    let Some(path) = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)) else { return };
    // A path with a slash too much leads to another one, which is documented.
    if path.ends_with('/') {
        return;
    }
    let Some(operation) = operation(method, path) else { return };
    let responses = operation["responses"].as_object().unwrap();
    let said = responses.get(status.as_str());
    assert!(said.is_some(), "undocumented: {method} {path} gave {status}");
    let said = match said.unwrap()["$ref"].as_str() {
        Some(target) => DOCUMENT.pointer(target.trim_start_matches('#')).unwrap(),
        None => said.unwrap(),
    };
    let content = said["content"].as_object();
    let media_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap());
    assert_eq!(
        media_type.is_some(),
        content.is_some(),
        "{method} {path}: {status} with {media_type:?}"
    );
    if let (Some(media_type), Some(content)) = (media_type, content) {
        assert!(content.contains_key(media_type), "{method} {path}: {status} with {media_type}");
    }
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let paths: &Map<String, Value> = DOCUMENT["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(wanted, part)| wanted == part || wanted.starts_with('{'))
    };
    let name = method.as_str().to_ascii_lowercase();
    paths.iter().find(|(template, _)| fits(template))?.1.get(name)
}

/// Names of schemas are told apart by hand: a number at the end means that two types share one.
#[test]
fn no_two_schemas_share_a_name() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    let numbered = |name: &&String| {
        let plain = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
        plain != name.as_str() && schemas.contains_key(plain)
    };
    let numbered: Vec<&String> = schemas.keys().filter(numbered).collect();
    assert!(numbered.is_empty(), "use #[schemars(rename = …)] for one of each: {numbered:?}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn look(value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                    let pointer = target.trim_start_matches('#');
                    assert!(DOCUMENT.pointer(pointer).is_some(), "{target} leads nowhere");
                }
                fields.values().for_each(look);
            }
            Value::Array(items) => items.iter().for_each(look),
            _ => {}
        }
    }
    look(&DOCUMENT);
}

#[test]
fn operations_have_names_of_their_own() {
    let endpoints = workspaces::dialect::kubeflow::endpoints();
    let mut names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.id).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    // Those of the contract that generated clients know, for what is built so far.
    for name in ["getHealthcheck", "listAllWorkspaces", "createPVC", "listStorageClasses"] {
        assert!(names.contains(&name), "{name}");
    }
}
