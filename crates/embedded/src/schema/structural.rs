//! The rules that make a schema structural: one spine of types, and value rules beside it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::{cause::Cause, pattern};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks a whole schema; the causes are sorted as the API server sorts them.
pub(crate) fn check(root: &JSONSchemaProps, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    check_spine(root, Level::Root, path, &mut causes);
    check_complete(root, root, (path, path), &mut causes);
    causes.sort_by_cached_key(|cause| format!("{}: {}", cause.field, cause.message));
    causes
}

fn text(value: Option<&str>) -> Value {
    Value::String(value.unwrap_or_default().to_owned())
}

fn is_type(props: &JSONSchemaProps, name: &str) -> bool {
    props.type_.as_deref() == Some(name)
}

fn items(props: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &props.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    }
}

fn additional(props: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &props.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(schema)) => Some(schema),
        _ => None,
    }
}

/// One level of the spine: everything that is not inside of a junctor.
fn check_spine(props: &JSONSchemaProps, level: Level, path: &str, causes: &mut Vec<Cause>) {
    if is_type(props, "array") && items(props).is_none() {
        causes.push(Cause::required(format!("{path}.items"), "must be specified"));
    }
    if let Some(items) = items(props) {
        check_spine(items, Level::Item, &format!("{path}.items"), causes);
    }
    for (name, property) in props.properties.iter().flatten() {
        check_spine(property, Level::Field, &format!("{path}.properties[{name}]"), causes);
    }
    if props.additional_properties.is_some() && level == Level::Root {
        causes.push(Cause::forbidden(
            format!("{path}.additionalProperties"),
            "must not be used at the root",
        ));
    }
    if let Some(schema) = additional(props) {
        check_spine(schema, Level::Field, &format!("{path}.additionalProperties"), causes);
    }
    check_extensions(props, path, causes);
    check_type(props, level, path, causes);
    check_meta_fields(props, level, path, causes);
    let skip_any = is_int_or_string(props.any_of.as_deref());
    let first = props.all_of.as_deref().and_then(<[_]>::first);
    let skip_all = first.is_some_and(|first| is_int_or_string(first.any_of.as_deref()));
    check_values(props, skip_any, skip_all, path, causes);
}

fn check_extensions(props: &JSONSchemaProps, path: &str, causes: &mut Vec<Cause>) {
    let on = |flag: Option<bool>| flag == Some(true);
    if on(props.x_kubernetes_int_or_string) {
        for (flag, name) in [
            (props.x_kubernetes_preserve_unknown_fields, "x-kubernetes-preserve-unknown-fields"),
            (props.x_kubernetes_embedded_resource, "x-kubernetes-embedded-resource"),
        ] {
            if on(flag) {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                causes.push(Cause::invalid(format!("{path}.{name}"), &Value::Bool(true), detail));
            }
        }
    }
    if on(props.x_kubernetes_embedded_resource) {
        if props.additional_properties.is_some() {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
        }
        let no_properties =
            props.properties.as_ref().is_none_or(std::collections::BTreeMap::is_empty);
        if !on(props.x_kubernetes_preserve_unknown_fields) && no_properties {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            causes.push(Cause::required(format!("{path}.properties"), detail));
        }
    }
}

fn check_type(props: &JSONSchemaProps, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let field = format!("{path}.type");
    let given = props.type_.as_deref().unwrap_or_default();
    let embedded = props.x_kubernetes_embedded_resource == Some(true);
    let free = props.x_kubernetes_int_or_string == Some(true)
        || props.x_kubernetes_preserve_unknown_fields == Some(true);
    if embedded && given != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        causes.push(match given {
            "" => Cause::required(&field, detail),
            _ => Cause::invalid(&field, &text(Some(given)), detail),
        });
    } else if given.is_empty() && !free {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.push(Cause::required(&field, detail));
    }
    if level == Level::Root && !given.is_empty() && given != "object" {
        causes.push(Cause::invalid(&field, &text(Some(given)), "must be object at the root"));
    }
}

/// `kind`, `apiVersion` and `metadata` of an object are not for a schema to shape.
fn check_meta_fields(props: &JSONSchemaProps, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let is_object = level == Level::Root || props.x_kubernetes_embedded_resource == Some(true);
    let property =
        |name: &str| props.properties.as_ref().and_then(|properties| properties.get(name));
    for name in ["kind", "apiVersion"] {
        if let Some(property) =
            property(name).filter(|property| is_object && !is_type(property, "string"))
        {
            let field = format!("{path}.properties[{name}].type");
            causes.push(Cause::invalid(field, &text(property.type_.as_deref()), "must be string"));
        }
    }
    let Some(metadata) = property("metadata") else { return };
    let field = format!("{path}.properties[metadata]");
    if is_object && !is_type(metadata, "object") {
        causes.push(Cause::invalid(
            format!("{field}.type"),
            &text(metadata.type_.as_deref()),
            "must be object",
        ));
    }
    if level == Level::Root {
        let mut rest = metadata.clone();
        rest.type_ = None;
        rest.default = None;
        let names_only = |name: &String| name == "name" || name == "generateName";
        if rest.properties.as_ref().is_some_and(|properties| properties.keys().all(names_only)) {
            rest.properties = None;
        }
        if rest != JSONSchemaProps::default() {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            causes.push(Cause::forbidden(field, detail));
        }
    }
}

/// Whether the branches are exactly those that spell out `x-kubernetes-int-or-string`.
fn is_int_or_string(branches: Option<&[JSONSchemaProps]>) -> bool {
    let Some([first, second]) = branches else { return false };
    let only_type =
        |name: &str| JSONSchemaProps { type_: Some(name.to_owned()), ..JSONSchemaProps::default() };
    *first == only_type("integer") && *second == only_type("string")
}

fn check_values(
    props: &JSONSchemaProps,
    skip_any: bool,
    skip_all: bool,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    if !skip_any {
        for (index, branch) in props.any_of.iter().flatten().enumerate() {
            check_nested(branch, false, &format!("{path}.anyOf[{index}]"), causes);
        }
    }
    for (index, branch) in props.all_of.iter().flatten().enumerate() {
        check_nested(branch, skip_all && index == 0, &format!("{path}.allOf[{index}]"), causes);
    }
    for (index, branch) in props.one_of.iter().flatten().enumerate() {
        check_nested(branch, false, &format!("{path}.oneOf[{index}]"), causes);
    }
    if let Some(branch) = props.not.as_deref() {
        check_nested(branch, false, &format!("{path}.not"), causes);
    }
    if let Some(pattern) = props.pattern.as_deref().filter(|pattern| !pattern.is_empty())
        && let Err(error) = pattern::compile(pattern)
    {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default();
        let detail = format!(
            "must be a valid regular expression, but isn't: error parsing regexp: {reason}"
        );
        causes.push(Cause::invalid(format!("{path}.pattern"), &text(Some(pattern)), &detail));
    }
}

/// One level inside of a junctor: only value rules, nothing that shapes the object.
fn check_nested(props: &JSONSchemaProps, skip_any: bool, path: &str, causes: &mut Vec<Cause>) {
    check_values(props, skip_any, false, path, causes);
    if let Some(items) = items(props) {
        check_nested(items, false, &format!("{path}.items"), causes);
    }
    for (name, property) in props.properties.iter().flatten() {
        check_nested(property, false, &format!("{path}.properties[{name}]"), causes);
    }
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let on = |flag: Option<bool>| flag == Some(true);
    let keys = props.x_kubernetes_list_map_keys.as_ref().is_some_and(|keys| !keys.is_empty());
    let rules = props.x_kubernetes_validations.as_ref().is_some_and(|rules| !rules.is_empty());
    let has_metadata =
        props.properties.as_ref().is_some_and(|properties| properties.contains_key("metadata"));
    for (present, name, rule) in [
        (filled(&props.type_), "type", "must be empty to be structural"),
        (
            props.additional_properties.is_some(),
            "additionalProperties",
            "must be undefined to be structural",
        ),
        (
            props.default.as_ref().is_some_and(|json| !json.0.is_null()),
            "default",
            "must be undefined to be structural",
        ),
        (filled(&props.title), "title", "must be empty to be structural"),
        (filled(&props.description), "description", "must be empty to be structural"),
        (on(props.nullable), "nullable", "must be false to be structural"),
        (
            on(props.x_kubernetes_preserve_unknown_fields),
            "x-kubernetes-preserve-unknown-fields",
            "must be false to be structural",
        ),
        (
            on(props.x_kubernetes_embedded_resource),
            "x-kubernetes-embedded-resource",
            "must be false to be structural",
        ),
        (
            on(props.x_kubernetes_int_or_string),
            "x-kubernetes-int-or-string",
            "must be false to be structural",
        ),
        (keys, "x-kubernetes-list-map-keys", "must be empty to be structural"),
        (
            props.x_kubernetes_list_type.is_some(),
            "x-kubernetes-list-type",
            "must be undefined to be structural",
        ),
        (
            props.x_kubernetes_map_type.is_some(),
            "x-kubernetes-map-type",
            "must be undefined to be structural",
        ),
        (rules, "x-kubernetes-validations", "must be empty to be structural"),
        (has_metadata, "properties[metadata]", "must not be specified in a nested context"),
    ] {
        if present {
            causes.push(Cause::forbidden(format!("{path}.{name}"), rule));
        }
    }
}

/// Whatever a junctor mentions must also be on the spine.
fn check_complete(
    branch: &JSONSchemaProps,
    spine: &JSONSchemaProps,
    paths: (&str, &str),
    causes: &mut Vec<Cause>,
) {
    let (spine_path, branch_path) = paths;
    let mut nested = |inner: &JSONSchemaProps, name: String| {
        let inner_path = format!("{branch_path}.{name}");
        check_complete_nested(inner, spine, (spine_path, &inner_path), causes);
    };
    if let Some(inner) = branch.not.as_deref() {
        nested(inner, "not".to_owned());
    }
    for (name, branches) in
        [("allOf", &branch.all_of), ("anyOf", &branch.any_of), ("oneOf", &branch.one_of)]
    {
        for (index, inner) in branches.iter().flatten().enumerate() {
            nested(inner, format!("{name}[{index}]"));
        }
    }
}

fn check_complete_nested(
    branch: &JSONSchemaProps,
    spine: &JSONSchemaProps,
    paths: (&str, &str),
    causes: &mut Vec<Cause>,
) {
    check_complete(branch, spine, paths, causes);
    let mut below = |inner: &JSONSchemaProps, on_spine: Option<&JSONSchemaProps>, name: &str| {
        let (spine_path, branch_path) =
            (format!("{}.{name}", paths.0), format!("{}.{name}", paths.1));
        match on_spine {
            Some(spine) => check_complete_nested(inner, spine, (&spine_path, &branch_path), causes),
            None => causes.push(Cause::required(
                spine_path,
                &format!("because it is defined in {branch_path}"),
            )),
        }
    };
    if let Some(inner) = items(branch) {
        below(inner, items(spine), "items");
    }
    for (name, inner) in branch.properties.iter().flatten() {
        let on_spine = spine.properties.as_ref().and_then(|properties| properties.get(name));
        below(inner, on_spine, &format!("properties[{name}]"));
    }
}
