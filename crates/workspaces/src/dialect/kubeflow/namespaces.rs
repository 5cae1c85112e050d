//! Health, who I am, which namespaces there are.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::Serialize;
use web::Kind;

use super::{
    App, KINDS, NAMESPACES, WORKSPACES,
    envelope::{Data, json},
    error::Problem,
    extract::Caller,
};

/// The version of the contract's document, not of this program.
const API_VERSION: &str = "1.0.0";

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    status: &'static str,
    system_info: SystemInfo,
}

#[derive(Serialize, JsonSchema)]
struct SystemInfo {
    version: &'static str,
}

/// Healthy once there is something to answer from, and as long as the cluster answers.
pub(crate) async fn healthcheck(State(app): State<Arc<App>>) -> Response {
    let trouble = app.health.as_ref().and_then(super::Health::trouble);
    let (code, status) = match app.caches.is_ready() && trouble.is_none() {
        true => (StatusCode::OK, "Healthy"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy"),
    };
    json(code, &Health { status, system_info: SystemInfo { version: API_VERSION } })
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    user_id: String,
    cluster_admin: bool,
}

/// Who the caller is; an admin is who may make kinds.
pub(crate) async fn user(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Data<User>, Problem> {
    let cluster_admin = may(app.allow(&caller, "create", KINDS, None, None).await)?;
    Ok(Data { data: User { user_id: caller.0.user, cluster_admin } })
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Namespace {
    name: String,
}

/// All namespaces; for callers who may not list them, those whose workspaces they may list.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> Result<Data<Vec<Namespace>>, Problem> {
    let all = may(app.allow(&caller, "list", NAMESPACES, None, None).await)?;
    let mut data = Vec::new();
    for namespace in app.caches.namespaces.list(None) {
        let name = namespace.name_any();
        if all || may(app.allow(&caller, "list", WORKSPACES, Some(&name), None).await)? {
            data.push(Namespace { name });
        }
    }
    Ok(Data { data })
}

/// A refusal as an answer to a question; other failures stay failures.
fn may(verdict: Result<(), Problem>) -> Result<bool, Problem> {
    match verdict {
        Ok(()) => Ok(true),
        Err(problem) if problem.kind() == Kind::Forbidden => Ok(false),
        Err(problem) => Err(problem),
    }
}
