//! OpenAPI v3: what clients check fields and explain kinds with. Built-in kinds are described by the
//! types of `k8s-openapi`, custom ones by their definitions. Documents are made when they are asked
//! for: that is seldom, and they are large. Of version 2 there is an empty document.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use k8s_openapi::{
    api::{
        apps::v1 as apps, authentication::v1 as authentication, authorization::v1 as authorization,
        batch::v1 as batch, coordination::v1 as coordination, core::v1 as core,
        discovery::v1 as discovery, rbac::v1 as rbac, storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    apimachinery::pkg::apis::meta::v1 as meta,
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    Api, Body, crds,
    kinds::{Registry, Resource, text},
    serve,
};

const SCHEMAS: &str = "#/components/schemas/";
const KINDS: &str = "x-kubernetes-group-version-kind";
/// How the API server describes the fields of every object.
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The older form of the documents, which old clients look for. It describes nothing: those ask it
/// about kinds that the newer one does not know, which are none.
pub(crate) fn version_2(headers: &HeaderMap) -> Response<Body> {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    // What is asked for is no media type that Go could read.
    const ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !accept.contains(PROTOBUF) {
        let info = json!({"title": "Kubernetes", "version": "v1.34.4"});
        let document = json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}});
        return serve::json(Bytes::from(document.to_string()));
    }
    // swagger: "2.0", info: {title: "Kubernetes", version: "v1.34.4"}
    let document = b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.34.4";
    let mut response = Response::new(Body::from(Bytes::from_static(document)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(ANSWER));
    response
}

/// The list of documents, or one of them; `None` if there is no such path.
pub(crate) fn answer(api: &Api, registry: &Registry, path: &[&str]) -> Option<Value> {
    match path {
        [] => Some(index(registry)),
        ["api", version] => document(api, registry, "", version),
        ["apis", group, version] => document(api, registry, group, version),
        _ => None,
    }
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for resource in registry.iter() {
        let path = match resource.group.as_str() {
            "" => format!("api/{}", resource.version),
            group => format!("apis/{group}/{}", resource.version),
        };
        let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
        paths.insert(path, url);
    }
    json!({"paths": paths})
}

fn document(api: &Api, registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served: Vec<_> = registry
        .iter()
        .filter(|resource| resource.group == group && resource.version == version)
        .collect();
    if served.is_empty() {
        return None;
    }
    let mut generator = SchemaSettings::openapi3().into_generator();
    let (mut own, mut paths, mut names) = (Map::new(), Map::new(), Vec::new());
    for resource in served {
        let name = built_in(&mut generator, resource).unwrap_or_else(|| custom_name(resource));
        if resource.custom.is_some() {
            own.insert(name.clone(), custom(api, resource, &mut generator));
        }
        operations(resource, &name, &mut paths);
        names.push((name, resource));
    }
    let mut schemas = generator.take_definitions(true);
    schemas.extend(own);
    for (name, resource) in names {
        let schema = schemas.entry(name).or_insert_with(|| json!({"type": "object"}));
        finish(schema, resource);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.34.4"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// Says which kind a schema is of. Metadata may be left out, whatever the types say.
fn finish(schema: &mut Value, resource: &Resource) {
    schema[KINDS] = json!([kind(resource)]);
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != "metadata");
    }
    if schema.get("required") == Some(&json!([]))
        && let Some(schema) = schema.as_object_mut()
    {
        schema.remove("required");
    }
}

fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

/// What can be done, with the parameters that clients look for.
fn operations(resource: &Resource, schema: &str, paths: &mut Map<String, Value>) {
    let start = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = &resource.plural;
    let collection = if resource.namespaced {
        format!("{start}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{start}/{plural}")
    };
    let text = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let object = json!({"$ref": format!("{SCHEMAS}{schema}")});
    let content = json!({"application/json": {"schema": object}});
    let operation = |action: &str| {
        let mut operation = json!({
            "x-kubernetes-action": action,
            KINDS: kind(resource),
            "responses": {"200": {"description": "OK", "content": content}},
        });
        if matches!(action, "post" | "put" | "patch") {
            operation["parameters"] =
                json!([text("dryRun"), text("fieldManager"), text("fieldValidation")]);
            operation["requestBody"] = json!({"required": true, "content": match action {
                "patch" => json!({
                    "application/json-patch+json": {},
                    "application/merge-patch+json": {},
                }),
                _ => content.clone(),
            }});
        }
        operation
    };
    if resource.review {
        paths.insert(collection, json!({"post": operation("post")}));
        return;
    }
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "get": operation("get"),
            "put": operation("put"),
            "patch": operation("patch"),
            "delete": operation("delete"),
        }),
    );
    paths.insert(collection, json!({"get": operation("list"), "post": operation("post")}));
}

/// `org.kubeflow.v1beta1.Workspace`.
fn custom_name(resource: &Resource) -> String {
    let group: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

/// The schema of a definition, with what every object has.
fn custom(api: &Api, resource: &Resource, generator: &mut SchemaGenerator) -> Value {
    let definition = api.store.get(crds::TABLE, &resource.table);
    let definition = Value::Object(definition.map(|entry| entry.object()).unwrap_or_default());
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let version = versions.into_iter().flatten().find(|one| text(one, "/name") == resource.version);
    let mut schema = version
        .and_then(|version| version.pointer("/schema/openAPIV3Schema").cloned())
        .unwrap_or_else(|| json!({"type": "object"}));
    let metadata = reference::<meta::ObjectMeta>(generator);
    let described = |description: &str| json!({"description": description, "type": "string"});
    let metadata = json!({
        "description": METADATA,
        "allOf": [{"$ref": format!("{SCHEMAS}{metadata}")}],
    });
    let own =
        [("apiVersion", described(API_VERSION)), ("kind", described(KIND)), ("metadata", metadata)];
    if let Some(Value::Object(properties)) =
        schema.as_object_mut().map(|schema| schema.entry("properties").or_insert_with(|| json!({})))
    {
        properties.extend(own.map(|(name, schema)| (name.to_owned(), schema)));
    }
    schema
}

/// Puts the schema of a type, and of all that it is made of, among the definitions.
fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> String {
    let _reference = generator.subschema_for::<T>();
    T::schema_name().into_owned()
}

/// The name of the schema of a built-in kind, which is among the definitions then.
#[rustfmt::skip]
fn built_in(generator: &mut SchemaGenerator, resource: &Resource) -> Option<String> {
    let name = match &*resource.table {
        "clusterrolebindings.rbac.authorization.k8s.io" => reference::<rbac::ClusterRoleBinding>(generator),
        "clusterroles.rbac.authorization.k8s.io" => reference::<rbac::ClusterRole>(generator),
        "configmaps" => reference::<core::ConfigMap>(generator),
        "customresourcedefinitions.apiextensions.k8s.io" => reference::<apiextensions::CustomResourceDefinition>(generator),
        "endpointslices.discovery.k8s.io" => reference::<discovery::EndpointSlice>(generator),
        "events" => reference::<core::Event>(generator),
        "jobs.batch" => reference::<batch::Job>(generator),
        "leases.coordination.k8s.io" => reference::<coordination::Lease>(generator),
        "localsubjectaccessreviews.authorization.k8s.io" => reference::<authorization::LocalSubjectAccessReview>(generator),
        "namespaces" => reference::<core::Namespace>(generator),
        "nodes" => reference::<core::Node>(generator),
        "persistentvolumeclaims" => reference::<core::PersistentVolumeClaim>(generator),
        "persistentvolumes" => reference::<core::PersistentVolume>(generator),
        "pods" => reference::<core::Pod>(generator),
        "resourcequotas" => reference::<core::ResourceQuota>(generator),
        "rolebindings.rbac.authorization.k8s.io" => reference::<rbac::RoleBinding>(generator),
        "roles.rbac.authorization.k8s.io" => reference::<rbac::Role>(generator),
        "secrets" => reference::<core::Secret>(generator),
        "selfsubjectaccessreviews.authorization.k8s.io" => reference::<authorization::SelfSubjectAccessReview>(generator),
        "selfsubjectreviews.authentication.k8s.io" => reference::<authentication::SelfSubjectReview>(generator),
        "selfsubjectrulesreviews.authorization.k8s.io" => reference::<authorization::SelfSubjectRulesReview>(generator),
        "serviceaccounts" => reference::<core::ServiceAccount>(generator),
        "services" => reference::<core::Service>(generator),
        "statefulsets.apps" => reference::<apps::StatefulSet>(generator),
        "storageclasses.storage.k8s.io" => reference::<storage::StorageClass>(generator),
        "subjectaccessreviews.authorization.k8s.io" => reference::<authorization::SubjectAccessReview>(generator),
        "tokenreviews.authentication.k8s.io" => reference::<authentication::TokenReview>(generator),
        _ => return None,
    };
    Some(name)
}
