//! What a CustomResourceDefinition may say in its schema, beyond being structural.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Value, json};

use super::cause::Cause;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What the levels above say about the ones below.
#[derive(Clone, Copy, Default)]
struct Above {
    in_meta: bool,
    /// Why there may be no defaults here.
    no_defaults: Option<&'static str>,
}

/// Checks a whole schema.
pub(crate) fn check(root: &JSONSchemaProps, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if root.nullable == Some(true) {
        causes.push(Cause::forbidden(
            format!("{path}.nullable"),
            "nullable cannot be true at the root",
        ));
    }
    visit(root, true, Above::default(), path, &mut causes);
    causes
}

fn visit(
    props: &JSONSchemaProps,
    is_root: bool,
    above: Above,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    check_supported(props, above, path, causes);
    if props.unique_items == Some(true) {
        let detail =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(format!("{path}.uniqueItems"), detail));
    }
    if let Some(additional) = &props.additional_properties {
        let has_properties =
            props.properties.as_ref().is_some_and(|properties| !properties.is_empty());
        if has_properties && *additional != JSONSchemaPropsOrBool::Bool(true) {
            let detail = "additionalProperties and properties are mutual exclusive";
            causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
        }
        if let JSONSchemaPropsOrBool::Schema(schema) = additional {
            let no_defaults = match above.in_meta {
                true => {
                    Some("must not be set inside additionalProperties applying to object metadata")
                }
                false => above.no_defaults,
            };
            visit(
                schema,
                false,
                Above { no_defaults, ..above },
                &format!("{path}.additionalProperties"),
                causes,
            );
        }
    }
    for (name, property) in props.properties.iter().flatten() {
        let mut below = above;
        if is_root || props.x_kubernetes_embedded_resource == Some(true) {
            let no_defaults = match name.as_str() {
                "metadata" => "must not be set in top-level metadata",
                "apiVersion" => "must not be set in top-level apiVersion",
                "kind" => "must not be set in top-level kind",
                _ => "",
            };
            below.in_meta |= !no_defaults.is_empty();
            if is_root && !no_defaults.is_empty() {
                below.no_defaults = Some(no_defaults);
            }
        }
        visit(property, false, below, &format!("{path}.properties[{name}]"), causes);
    }
    if let Some(branch) = props.not.as_deref() {
        visit(branch, false, above, &format!("{path}.not"), causes);
    }
    for (name, branches) in
        [("allOf", &props.all_of), ("oneOf", &props.one_of), ("anyOf", &props.any_of)]
    {
        for (index, branch) in branches.iter().flatten().enumerate() {
            visit(branch, false, above, &format!("{path}.{name}[{index}]"), causes);
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &props.items {
        visit(items, false, above, &format!("{path}.items"), causes);
    }
    check_extensions(props, path, causes);
}

fn check_supported(props: &JSONSchemaProps, above: Above, path: &str, causes: &mut Vec<Cause>) {
    let given = props.type_.as_deref().unwrap_or_default();
    if !given.is_empty() && !TYPES.contains(&given) {
        causes.push(Cause::not_supported(format!("{path}.type"), &json!(given), &TYPES));
    }
    if let Some(detail) = above.no_defaults.filter(|_| props.default.is_some()) {
        causes.push(Cause::forbidden(format!("{path}.default"), detail));
    }
    let tuple = matches!(&props.items, Some(JSONSchemaPropsOrArray::Schemas(schemas)) if !schemas.is_empty());
    let filled = |present: Option<bool>| present == Some(true);
    let id = props.id.as_ref().map(|id| !id.is_empty());
    for (present, name, detail) in [
        (filled(id), "id", "id is not supported"),
        (props.additional_items.is_some(), "additionalItems", "additionalItems is not supported"),
        (
            filled(props.pattern_properties.as_ref().map(|map| !map.is_empty())),
            "patternProperties",
            "patternProperties is not supported",
        ),
        (
            filled(props.definitions.as_ref().map(|map| !map.is_empty())),
            "definitions",
            "definitions is not supported",
        ),
        (props.dependencies.is_some(), "dependencies", "dependencies is not supported"),
        (props.ref_path.is_some(), "$ref", "$ref is not supported"),
        (given == "null", "type", "type cannot be set to null, use nullable as an alternative"),
        (tuple, "items", "items must be a schema object and not an array"),
        (
            above.in_meta && filled(props.x_kubernetes_embedded_resource),
            "x-kubernetes-embedded-resource",
            "must not be used inside of resource meta",
        ),
    ] {
        if present {
            causes.push(Cause::forbidden(format!("{path}.{name}"), detail));
        }
    }
}

fn check_extensions(props: &JSONSchemaProps, path: &str, causes: &mut Vec<Cause>) {
    if props.x_kubernetes_preserve_unknown_fields == Some(false) {
        let field = format!("{path}.x-kubernetes-preserve-unknown-fields");
        causes.push(Cause::invalid(field, &json!(false), "must be true or undefined"));
    }
    let given = props.type_.as_deref().unwrap_or_default();
    let mut needs_type = |wanted: &str, extension: &str| {
        if given != wanted {
            let detail = format!("must be {wanted} if {extension} is specified");
            causes.push(match given {
                "" => Cause::required(format!("{path}.type"), &detail),
                _ => Cause::invalid(format!("{path}.type"), &json!(given), &detail),
            });
        }
    };
    if let Some(map_type) = props.x_kubernetes_map_type.as_deref() {
        needs_type("object", "x-kubernetes-map-type");
        if !["atomic", "granular"].contains(&map_type) {
            let field = format!("{path}.x-kubernetes-map-type");
            causes.push(Cause::not_supported(field, &json!(map_type), &["atomic", "granular"]));
        }
    }
    let Some(list_type) = props.x_kubernetes_list_type.as_deref() else {
        if props.x_kubernetes_list_map_keys.as_ref().is_some_and(|keys| !keys.is_empty()) {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            causes.push(Cause::required(format!("{path}.x-kubernetes-list-type"), detail));
        }
        return;
    };
    if given == "array" && list_type == "set" {
        check_set_items(props, path, causes);
    } else if given != "array" {
        let detail = "must be array if x-kubernetes-list-type is specified";
        causes.push(match given {
            "" => Cause::required(format!("{path}.type"), detail),
            _ => Cause::invalid(format!("{path}.type"), &json!(given), detail),
        });
    }
    if !["atomic", "set", "map"].contains(&list_type) {
        let field = format!("{path}.x-kubernetes-list-type");
        causes.push(Cause::not_supported(field, &json!(list_type), &["atomic", "set", "map"]));
    }
    check_list_keys(props, list_type, path, causes);
}

/// Sets compare their elements as a whole, so these must be atomic.
fn check_set_items(props: &JSONSchemaProps, path: &str, causes: &mut Vec<Cause>) {
    let Some(JSONSchemaPropsOrArray::Schema(items)) = &props.items else { return };
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let shown = items.x_kubernetes_list_type.as_deref().map_or(Value::Null, |list| json!(list));
    match items.type_.as_deref() {
        Some("array")
            if items.x_kubernetes_list_type.as_deref().is_some_and(|list| list != "atomic") =>
        {
            causes.push(Cause::invalid(
                format!("{path}.items.x-kubernetes-list-type"),
                &shown,
                detail,
            ));
        }
        Some("object") if items.x_kubernetes_map_type.as_deref() != Some("atomic") => {
            causes.push(Cause::invalid(
                format!("{path}.items.x-kubernetes-map-type"),
                &shown,
                detail,
            ));
        }
        _ => {}
    }
}

fn check_list_keys(props: &JSONSchemaProps, list_type: &str, path: &str, causes: &mut Vec<Cause>) {
    let keys = props.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
    if list_type != "map" && !keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        causes.push(Cause::invalid(
            format!("{path}.x-kubernetes-list-type"),
            &json!(list_type),
            detail,
        ));
    }
    if list_type == "map" && keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        causes.push(Cause::required(format!("{path}.x-kubernetes-list-map-keys"), detail));
    }
    let items = match &props.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => items,
        None if list_type == "map" => {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            causes.push(Cause::required(format!("{path}.items"), detail));
            return;
        }
        _ => return,
    };
    if ["set", "map"].contains(&list_type) && items.nullable == Some(true) {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        causes.push(Cause::forbidden(format!("{path}.items.nullable"), &detail));
    }
    if list_type != "map" {
        return;
    }
    let given = items.type_.as_deref().unwrap_or_default();
    if given != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(Cause::invalid(format!("{path}.items.type"), &json!(given), detail));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{path}.items.properties[{key}]");
        let all_keys = format!("{path}.x-kubernetes-list-map-keys");
        match items.properties.as_ref().and_then(|properties| properties.get(key)) {
            Some(property) => check_key(property, items, key, &field, causes),
            None => causes.push(Cause::invalid(
                &all_keys,
                &json!(keys),
                "entries must all be names of item properties",
            )),
        }
        if keys[..index].contains(key) {
            causes.push(Cause::invalid(
                &all_keys,
                &json!(keys),
                "must not contain duplicate entries",
            ));
        }
    }
}

fn check_key(
    property: &JSONSchemaProps,
    items: &JSONSchemaProps,
    key: &String,
    field: &str,
    causes: &mut Vec<Cause>,
) {
    if matches!(property.type_.as_deref(), Some("array" | "object")) {
        let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
        causes.push(Cause::invalid(format!("{field}.type"), &json!(items.type_), detail));
    }
    if property.default.is_none()
        && !items.required.as_ref().is_some_and(|required| required.contains(key))
    {
        let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
        causes.push(Cause::required(format!("{field}.default"), detail));
    }
    if property.nullable == Some(true) {
        let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
        causes.push(Cause::forbidden(format!("{field}.nullable"), detail));
    }
}
