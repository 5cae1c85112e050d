//! Questions about access: kinds that are only created, answered at once and never stored.

mod access;
mod token;

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};
use serde_json::{Map, Value, json};

use super::{
    super::{
        Api, Body, Status,
        decode::{self, Input},
        kinds::{self, Resource},
        metadata::{self, Object},
        query::{Query, WriteOptions},
        rules, serve,
        write::{self, Target},
    },
    Caller, Rule, User,
};
use crate::schema::Cause;

/// Answers a review.
pub(crate) fn answer(
    api: &Api,
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    resource: &Resource,
    namespace: &str,
) -> Result<Response<Body>, Status> {
    let caller = Caller::of(parts);
    let (mut object, warnings) = read(parts, body, query, resource, namespace)?;
    let review = Value::Object(object.clone());
    let status = match resource.kind.as_str() {
        "SubjectAccessReview" => access::subject(api, &review)?,
        "LocalSubjectAccessReview" => access::local(api, &review, namespace)?,
        "SelfSubjectAccessReview" => access::own(api, &caller.user(), &review)?,
        "SelfSubjectRulesReview" => {
            let status = rules_of(api, &caller.user(), &review)?;
            object.insert("spec".into(), json!({}));
            status
        }
        "SelfSubjectReview" => {
            metadata::set(&mut object, "creationTimestamp", metadata::now());
            json!({"userInfo": user_info(&caller.user())})
        }
        "TokenReview" => token::review(api, &review)?,
        _ => return Err(Status::no_such_resource()),
    };
    object.insert("status".into(), status);
    Ok(respond(object, warnings))
}

/// Issues a token for a service account.
pub(crate) fn token(
    api: &Api,
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    account: &Target,
) -> Result<Response<Body>, Status> {
    let form = kinds::form("authentication.k8s.io/v1", "TokenRequest");
    let (mut object, warnings) = read(parts, body, query, &form, &account.namespace)?;
    token::request(api, account, &mut object)?;
    Ok(respond(object, warnings))
}

/// Reads and completes what was sent.
fn read(
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    resource: &Resource,
    namespace: &str,
) -> Result<(Object, Vec<String>), Status> {
    let options = WriteOptions::new(query, Caller::of(parts), "CreateOptions")?;
    let Input { mut object, doubts } = decode::body(parts, body, resource)?;
    write::settle(resource, namespace, &mut object)?;
    if !resource.namespaced {
        metadata::remove(&mut object, "namespace");
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata::remove(&mut object, field);
    }
    let warnings = rules::complete(&mut object, resource, doubts, options.fields)?;
    object.entry("metadata").or_insert_with(|| json!({}));
    Ok((object, warnings))
}

fn respond(object: Object, warnings: Vec<String>) -> Response<Body> {
    let mut response = serve::json(Bytes::from(Value::Object(object).to_string()));
    *response.status_mut() = StatusCode::CREATED;
    serve::warn(&mut response, &warnings);
    response
}

/// What a user may do in a namespace.
fn rules_of(api: &Api, user: &User, review: &Value) -> Result<Value, Status> {
    let namespace = kinds::text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    let index = api.policy.current(&api.store);
    let problems = index.visit(user, namespace, |_, rule| {
        if !rule.resources.is_empty() {
            let rule = Rule { non_resource_urls: Vec::new(), ..rule.clone() };
            resources.push(json!(rule));
        }
        if !rule.non_resource_urls.is_empty() {
            others.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
        std::ops::ControlFlow::Continue(())
    });
    let mut status =
        json!({"resourceRules": resources, "nonResourceRules": others, "incomplete": false});
    if !problems.is_empty() {
        status["evaluationError"] = super::aggregate(problems).into();
    }
    Ok(status)
}

/// A user as reviews tell it.
fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    let mut put = |name: &str, empty: bool, value: Value| {
        if !empty {
            info.insert(name.into(), value);
        }
    };
    put("username", user.name.is_empty(), user.name.as_str().into());
    put("uid", user.uid.is_empty(), user.uid.as_str().into());
    put("groups", user.groups.is_empty(), json!(user.groups));
    put("extra", user.extra.is_empty(), json!(user.extra));
    Value::Object(info)
}

/// 422, in the words for a kind whose name the server has forgotten by then.
fn refuse(resource_group: &str, kind: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(resource_group, kind, "", causes))
}
