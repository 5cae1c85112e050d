//! The quotas of a namespace. Our own.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::HeaderMap;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::{Api, api::ListParams};

use super::{
    App, QUOTAS,
    error::Problem,
    extract::{Caller, InNamespace},
    tagged::tagged,
    wire::quota::QuotaItem,
};

/// `GET /quotas/{namespace}`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.allow(&caller, "list", QUOTAS, Some(&namespace), None).await?;
    let api: Api<ResourceQuota> = Api::namespaced(app.client.clone(), &namespace);
    let quotas = api.list(&ListParams::default()).await.map_err(Problem::unless_readable)?.items;
    tagged(&headers, quotas.iter().map(QuotaItem::from).collect::<Vec<_>>())
}
