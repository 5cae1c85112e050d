//! The options of a kind for somebody who is about to choose, and which rule decided what.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use web::Cause;

use super::{
    App, KINDS, WORKSPACES,
    body::Body,
    envelope::Data,
    error::Problem,
    extract::{Caller, Named, Query},
    profile::Profile,
    wire::{
        explanation::Explanation,
        list_values::ListValues,
        option_list::{Choice, PodTemplateOptions},
    },
};
use crate::{
    decide::{
        filter::{Labels, Rules},
        options,
    },
    model::WorkspaceKind,
};

/// `POST /workspacekinds/{name}/podtemplate/options/listvalues`: for admins, or with a namespace
/// for who may make workspaces there.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
    Body(asked): Body<ListValues>,
) -> Result<Response, Problem> {
    match asked.namespace() {
        Some(namespace) => {
            app.allow(&caller, "create", WORKSPACES, Some(namespace), None).await?;
        }
        None => app.allow(&caller, "get", KINDS, None, Some(&name)).await?,
    }
    let kind = kind(&app, &name)?;
    let namespace = asked.namespace().and_then(|namespace| labels(&app, namespace));
    let choice = Choice { namespace, image: asked.image(), pod: asked.pod() };
    let causes = unknown(&kind, &choice, "context.imageConfig.id", "context.podConfig.id");
    if !causes.is_empty() {
        return Err(Problem::references(causes));
    }
    let counts = kind.status.as_ref().map(|status| &status.pod_template_options);
    let rules = Rules::new(&kind.spec.filter_rules);
    let options = &kind.spec.pod_template.options;
    let data = PodTemplateOptions::new(options, counts, &rules, &choice, Profile::V2026_08);
    Ok(Data { data }.into_response())
}

/// `GET /workspacekinds/{name}/filterrules/explain`: what the rules make of a choice, and which of
/// them. Our own.
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
    query: Query,
) -> Result<Response, Problem> {
    let namespace = query.namespace("namespace")?;
    app.allow(&caller, "get", KINDS, None, Some(&name)).await?;
    let kind = kind(&app, &name)?;
    let namespace = namespace.and_then(|namespace| labels(&app, namespace));
    let choice = Choice { namespace, image: query.get("imageConfig"), pod: query.get("podConfig") };
    let causes = unknown(&kind, &choice, "imageConfig", "podConfig");
    if !causes.is_empty() {
        return Err(Problem::query(causes));
    }
    Ok(Data { data: Explanation::new(&kind, &choice) }.into_response())
}

fn kind(app: &App, name: &str) -> Result<Arc<WorkspaceKind>, Problem> {
    app.caches.kinds.get(None, name).ok_or_else(Problem::not_found)
}

/// The labels of a namespace; none if it does not exist.
fn labels(app: &App, namespace: &str) -> Option<Labels> {
    let namespace = app.caches.namespaces.get(None, namespace)?;
    Some(namespace.metadata.labels.clone().unwrap_or_default())
}

/// The ids that the kind does not have.
fn unknown(kind: &WorkspaceKind, choice: &Choice<'_>, image: &str, pod: &str) -> Vec<Cause> {
    let name = kind.metadata.name.as_deref().unwrap_or_default();
    let options = &kind.spec.pod_template.options;
    let image = options::unknown(image, name, &options.image_config.values, choice.image);
    let pod = options::unknown(pod, name, &options.pod_config.values, choice.pod);
    image.into_iter().chain(pod).collect()
}
