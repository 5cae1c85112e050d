//! Definitions of custom resources: accepted, given their conditions, and made kinds.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Api,
    kinds::{Custom, NameRule, Registry, Resource, table_name, text},
    metadata::{self, Object},
    status::Status,
    subresource,
    table::Columns,
};
use crate::schema::{Cause, Schema, names};

pub(crate) const TABLE: &str = "customresourcedefinitions.apiextensions.k8s.io";
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

impl Api {
    /// Keeps writes of definitions in order: each sees the names of those before.
    pub(crate) async fn guard(
        &self,
        resource: &Resource,
    ) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if resource.is(TABLE) { Some(self.definitions.lock().await) } else { None }
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn strings(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Completes and checks a definition, and writes its status.
pub(crate) fn accept(
    object: &mut Object,
    old: Option<&Object>,
    registry: &Registry,
) -> Result<(), Status> {
    let mut definition = Value::Object(std::mem::take(object));
    complete(&mut definition);
    let causes = check(&definition, old);
    let name = text(&definition, "/metadata/name").to_owned();
    if !causes.is_empty() {
        return Err(Status::invalid(GROUP, "CustomResourceDefinition", &name, causes));
    }
    write_status(&mut definition, registry);
    if let Value::Object(completed) = definition {
        *object = completed;
    }
    Ok(())
}

/// Fills in the names that follow from others.
fn complete(definition: &mut Value) {
    let kind = text(definition, "/spec/names/kind").to_owned();
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let fill = |map: &mut Map<String, Value>, name: &str, value: Value| {
        let slot = map.entry(name).or_insert(Value::Null);
        if slot.is_null() || slot == &json!("") {
            *slot = value;
        }
    };
    fill(spec, "conversion", json!({"strategy": "None"}));
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut)
        && !kind.is_empty()
    {
        fill(names, "singular", kind.to_lowercase().into());
        fill(names, "listKind", format!("{kind}List").into());
    }
}

fn check(definition: &Value, old: Option<&Object>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let name = text(definition, "/metadata/name");
    for (field, pointer) in [
        ("spec.group", "/spec/group"),
        ("spec.names.plural", "/spec/names/plural"),
        ("spec.names.kind", "/spec/names/kind"),
        ("spec.names.singular", "/spec/names/singular"),
        ("spec.names.listKind", "/spec/names/listKind"),
    ] {
        if text(definition, pointer).is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    let invalid = |field: &str, value: &str, problems: Vec<String>| -> Vec<Cause> {
        problems.iter().map(|problem| Cause::invalid(field, &value.into(), problem)).collect()
    };
    if !group.is_empty() {
        causes.extend(invalid("spec.group", group, names::subdomain(group)));
        if !group.contains('.') {
            let problem = "should be a domain with at least one dot".to_owned();
            causes.extend(invalid("spec.group", group, vec![problem]));
        }
    }
    if !plural.is_empty() {
        causes.extend(invalid(
            "spec.names.plural",
            plural,
            NameRule::Label1035.problems(plural, false),
        ));
    }
    if name != format!("{plural}.{group}") {
        let problem = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &name.into(), problem));
    }
    let scope = text(definition, "/spec/scope");
    if scope.is_empty() {
        causes.push(Cause::required("spec.scope", ""));
    } else if !matches!(scope, "Cluster" | "Namespaced") {
        causes.push(Cause {
            reason: "FieldValueNotSupported".into(),
            message: format!(
                "Unsupported value: {scope:?}: supported values: \"Cluster\", \"Namespaced\""
            ),
            field: "spec.scope".into(),
        });
    }
    let before = old.map(|old| Value::Object(old.clone()));
    check_versions(definition, before.as_ref(), &mut causes);
    if list(definition, "/spec/versions").next().is_none() {
        // What is stored follows from the versions, and is checked as well.
        let problem = "must have at least one stored version";
        causes.push(Cause::invalid("status.storedVersions", &Value::Null, problem));
    }
    if let Some(old) = &before {
        for (field, pointer) in [
            ("spec.group", "/spec/group"),
            ("spec.names.plural", "/spec/names/plural"),
            ("spec.names.kind", "/spec/names/kind"),
            ("spec.scope", "/spec/scope"),
        ] {
            let now = text(definition, pointer);
            if now != text(old, pointer) && is_established(old) {
                causes.push(Cause::invalid(field, &now.into(), "field is immutable"));
            }
        }
    }
    causes
}

fn check_versions(definition: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let versions: Vec<&Value> = list(definition, "/spec/versions").collect();
    let storage = versions.iter().filter(|one| one.get("storage") == Some(&json!(true))).count();
    if storage != 1 {
        let shown = definition.pointer("/spec/versions").cloned().unwrap_or(Value::Null);
        let problem = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &shown, problem));
    }
    // The API server checks a schema that all versions share only once, under a name of its own.
    let schemas: Vec<_> =
        versions.iter().map(|version| version.pointer("/schema/openAPIV3Schema")).collect();
    let shared = schemas.windows(2).all(|pair| pair[0] == pair[1]);
    for (index, version) in versions.iter().enumerate() {
        let name = text(version, "/name");
        let field = format!("spec.versions[{index}].name");
        for problem in NameRule::Label1035.problems(name, false) {
            causes.push(Cause::invalid(&field, &name.into(), &problem));
        }
        let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
        match version.pointer("/schema/openAPIV3Schema") {
            None | Some(Value::Null) => {
                causes.push(Cause::required(&field, ""));
            }
            Some(_) if shared && index > 0 => {}
            Some(schema) => {
                let before = old.and_then(|old| {
                    list(old, "/spec/versions")
                        .find(|other| text(other, "/name") == name)?
                        .pointer("/schema/openAPIV3Schema")
                });
                let problems = match Schema::compile(schema) {
                    Ok(_) => Schema::check_cost(schema, before),
                    Err(problems) => problems,
                };
                if !problems.is_empty() {
                    let prefix = if shared {
                        "spec.validation.".to_owned()
                    } else {
                        format!("spec.versions[{index}].schema.")
                    };
                    causes.extend(problems.into_iter().map(|cause| cause.under(&prefix)));
                }
            }
        }
    }
}

/// The names that a definition gets, and why not all of them, if so.
fn accept_names(
    definition: &Value,
    registry: &Registry,
) -> (Value, Option<(&'static str, String)>) {
    let group = text(definition, "/spec/group");
    let table = table_name(text(definition, "/spec/names/plural"), group);
    let others: Vec<&Arc<Resource>> =
        registry.iter().filter(|other| other.group == group && !other.is(&table)).collect();
    let is_resource = |name: &str| {
        others.iter().any(|other| {
            other.plural == name
                || other.singular == name
                || other.short_names.iter().any(|short| short == name)
        })
    };
    let is_kind =
        |name: &str| others.iter().any(|other| other.kind == name || other.list_kind == name);
    let mut accepted = definition.pointer("/status/acceptedNames").cloned().unwrap_or(json!({}));
    let mut conflict = None;
    for (field, reason, kinds) in [
        ("plural", "PluralConflict", false),
        ("singular", "SingularConflict", false),
        ("shortNames", "ShortNamesConflict", false),
        ("kind", "KindConflict", true),
        ("listKind", "ListKindConflict", true),
    ] {
        let Some(wanted) = definition.pointer(&format!("/spec/names/{field}")) else { continue };
        let names = match wanted {
            Value::String(name) => vec![name.clone()],
            list => list
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        };
        match names.iter().find(|name| if kinds { is_kind(name) } else { is_resource(name) }) {
            // Like the API server, the last conflict is the one that is told.
            Some(taken) => conflict = Some((reason, format!("{taken:?} is already in use"))),
            None => accepted[field] = wanted.clone(),
        }
    }
    if let Some(categories) = definition.pointer("/spec/names/categories") {
        accepted["categories"] = categories.clone();
    }
    for field in ["plural", "kind"] {
        if accepted.get(field).is_none() {
            accepted[field] = "".into();
        }
    }
    (accepted, conflict)
}

fn write_status(definition: &mut Value, registry: &Registry) {
    let (accepted, conflict) = accept_names(definition, registry);
    let mut status =
        definition.get("status").cloned().filter(Value::is_object).unwrap_or(json!({}));
    match &conflict {
        None => {
            set_condition(
                &mut status,
                "NamesAccepted",
                "True",
                "NoConflicts",
                "no conflicts found",
            );
            let message = "the initial names have been accepted";
            set_condition(&mut status, "Established", "True", "InitialNamesAccepted", message);
        }
        Some((reason, message)) => {
            set_condition(&mut status, "NamesAccepted", "False", reason, message);
            // Names that were accepted once stay accepted.
            if !has_condition(&status, "Established") {
                let message = "not all names are accepted";
                set_condition(&mut status, "Established", "False", "NotAccepted", message);
            }
        }
    }
    status["acceptedNames"] = accepted;
    let mut versions = strings(&status, "/storedVersions");
    for version in list(definition, "/spec/versions") {
        let name = text(version, "/name").to_owned();
        if version.get("storage") == Some(&json!(true)) && !versions.contains(&name) {
            versions.push(name);
        }
    }
    status["storedVersions"] = json!(versions);
    definition["status"] = status;
}

/// Begins the end of a definition: it stays until its objects are gone.
pub(crate) fn mark_terminating(definition: &mut Object) {
    metadata::set(definition, "deletionTimestamp", metadata::now());
    let mut finalizers: Vec<String> =
        metadata::finalizers(definition).into_iter().map(str::to_owned).collect();
    if !finalizers.iter().any(|one| one == CLEANUP) {
        finalizers.push(CLEANUP.into());
        metadata::set(definition, "finalizers", finalizers);
    }
    let message =
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    terminating(definition, "InstanceDeletionPending", message);
}

/// Says in the status of a definition that its objects are being deleted.
pub(crate) fn deletes_instances(definition: &mut Object) {
    let message = "CustomResource deletion is in progress";
    terminating(definition, "InstanceDeletionInProgress", message);
}

fn terminating(definition: &mut Object, reason: &str, message: &str) {
    let mut status =
        definition.get("status").cloned().filter(Value::is_object).unwrap_or(json!({}));
    set_condition(&mut status, "Terminating", "True", reason, message);
    definition.insert("status".into(), status);
}

fn has_condition(status: &Value, kind: &str) -> bool {
    list(status, "/conditions")
        .any(|one| text(one, "/type") == kind && text(one, "/status") == "True")
}

fn set_condition(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str) {
    let mut conditions: Vec<Value> = list(status, "/conditions").cloned().collect();
    let mut condition = json!({
        "type": kind, "status": value, "reason": reason, "message": message,
        "lastTransitionTime": metadata::now(),
    });
    match conditions.iter_mut().find(|one| text(one, "/type") == kind) {
        Some(existing) => {
            if text(existing, "/status") == value {
                condition["lastTransitionTime"] = existing["lastTransitionTime"].clone();
            }
            *existing = condition;
        }
        None => conditions.push(condition),
    }
    status["conditions"] = json!(conditions);
}

pub(crate) fn is_established(definition: &Value) -> bool {
    definition.get("status").is_some_and(|status| has_condition(status, "Established"))
}

/// Makes the kinds of a definition what is stored of it, in place of those that it made before;
/// watches of a definition that is gone end.
pub(crate) fn settle(registry: &mut Registry, table: &str, definition: Option<Object>) {
    let definition = Value::Object(definition.unwrap_or_default());
    let uid = text(&definition, "/metadata/uid");
    let before = registry.find_table(table).and_then(|before| before.custom.as_ref());
    let gone = match before {
        Some(before) if before.definition == uid => before.gone.clone(),
        Some(another) => {
            another.gone.cancel();
            CancellationToken::new()
        }
        None => CancellationToken::new(),
    };
    registry.remove_definition(table);
    // Names that are accepted once stay accepted.
    if is_established(&definition) {
        registry.extend(kinds_of(&definition, &gone));
    }
}

/// The kinds that a definition makes.
fn kinds_of(definition: &Value, gone: &CancellationToken) -> Vec<Resource> {
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let table = table_name(plural, group);
    let uid = text(definition, "/metadata/uid");
    let versions: Vec<&Value> = list(definition, "/spec/versions").collect();
    let stored = versions
        .iter()
        .find(|version| version.get("storage") == Some(&json!(true)))
        .map(|version| text(version, "/name").to_owned())
        .unwrap_or_default();
    let served = versions.iter().filter(|version| version.get("served") == Some(&json!(true)));
    served
        .map(|version| Resource {
            group: group.to_owned(),
            version: text(version, "/name").to_owned(),
            kind: text(definition, "/spec/names/kind").to_owned(),
            list_kind: text(definition, "/spec/names/listKind").to_owned(),
            plural: plural.to_owned(),
            singular: text(definition, "/spec/names/singular").to_owned(),
            short_names: strings(definition, "/spec/names/shortNames"),
            categories: strings(definition, "/spec/names/categories"),
            namespaced: text(definition, "/spec/scope") == "Namespaced",
            table: table.clone(),
            stored_version: stored.clone(),
            names: NameRule::Subdomain,
            has_status: version.pointer("/subresources/status").is_some_and(Value::is_object),
            counts: true,
            answers_deleted: false,
            blind_update: false,
            create_on_update: false,
            review: false,
            scale: subresource::custom_scale(version),
            custom: Some(Custom {
                schema: compiled(version, &table),
                definition: uid.to_owned(),
                columns: Arc::new(Columns::of(version)),
                selectable: strings_of(version, "/selectableFields", "/jsonPath"),
                terminating: !text(definition, "/metadata/deletionTimestamp").is_empty(),
                gone: gone.clone(),
            }),
        })
        .collect()
}

fn strings_of(value: &Value, pointer: &str, member: &str) -> Vec<String> {
    list(value, pointer).map(|one| text(one, member).trim_start_matches('.').to_owned()).collect()
}

fn compiled(version: &Value, table: &str) -> Option<Arc<Schema>> {
    let schema = version.pointer("/schema/openAPIV3Schema")?;
    match Schema::compile(schema) {
        Ok(schema) => Some(Arc::new(schema)),
        Err(causes) => {
            tracing::error!(table, ?causes, "a stored definition has a schema that cannot be used");
            None
        }
    }
}
