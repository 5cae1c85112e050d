//! What a workspace uses of the cluster, as far as the cluster measures that.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ApiResource, ListParams},
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    App, WORKSPACES,
    envelope::Data,
    error::Problem,
    extract::{Caller, Object},
    wire::resources::{PodMetrics, Resources, Unknown},
};
use crate::model::label;

const GROUP_VERSION: &str = "metrics.k8s.io/v1beta1";

/// How long an answer about the existence of the metrics API is believed.
const REMEMBERED: Duration = Duration::from_secs(60);

/// `GET /workspaces/{namespace}/{name}/podtemplate/resources`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
) -> Result<Response, Problem> {
    app.allow(&caller, "get", WORKSPACES, Some(&namespace), Some(&name)).await?;
    app.caches.workspaces.get(Some(&namespace), &name).ok_or_else(Problem::not_found)?;
    let unknown = |error| Ok(Data { data: Resources::Unknown { error } }.into_response());
    if !app.metrics.exist(&app.client).await? {
        return unknown(Unknown::MetricsApiNotAvailable);
    }
    let pods = app.caches.pods.indexed(&name);
    let pods: Vec<_> = pods.iter().filter(|pod| is_alive(pod, &namespace)).collect();
    if pods.is_empty() {
        return unknown(Unknown::WorkspaceNotRunning);
    }
    let Some(measured) = measured(&app.client, &namespace, &name).await? else {
        return unknown(Unknown::MetricsApiNotAvailable);
    };
    let data = Resources::of(pods.into_iter().map(|pod| &**pod), measured.iter());
    Ok(Data { data }.into_response())
}

fn is_alive(pod: &Pod, namespace: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.namespace.as_deref() == Some(namespace)
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// What is measured of the pods of a workspace; none if the API does not answer: it is served by an
/// extension of the cluster, which comes and goes.
async fn measured(
    client: &Client,
    namespace: &str,
    workspace: &str,
) -> Result<Option<Vec<PodMetrics>>, Problem> {
    let resource = ApiResource {
        group: "metrics.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: GROUP_VERSION.to_owned(),
        kind: "PodMetrics".to_owned(),
        plural: "pods".to_owned(),
    };
    let api: Api<cluster::Object> = Api::namespaced_with(client.clone(), namespace, &resource);
    let selector = format!("{}={workspace}", label::WORKSPACE_NAME);
    match api.list(&ListParams::default().labels(&selector)).await {
        Ok(list) => {
            let read = |sample: cluster::Object| serde_json::from_value(sample.into_value()).ok();
            Ok(Some(list.items.into_iter().filter_map(read).collect()))
        }
        Err(kube::Error::Api(status)) => {
            tracing::warn!(%status, "the metrics API does not answer");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the cluster has the metrics API: asked now and then.
#[derive(Debug, Default)]
pub(crate) struct MetricsApi(Mutex<Option<(Instant, bool)>>);

impl MetricsApi {
    async fn exist(&self, client: &Client) -> Result<bool, Problem> {
        let known = *self.0.lock();
        if let Some((at, exists)) = known
            && at.elapsed() < REMEMBERED
        {
            return Ok(exists);
        }
        let exists = match client.list_api_group_resources(GROUP_VERSION).await {
            Ok(list) => list.resources.iter().any(|resource| resource.name == "pods"),
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => false,
            // Registered, and away: that may be over in a moment.
            Err(kube::Error::Api(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        *self.0.lock() = Some((Instant::now(), exists));
        Ok(exists)
    }
}
