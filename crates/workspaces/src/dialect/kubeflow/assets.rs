//! The pictures of a kind: bytes of a ConfigMap that its owner has released for this.
//!
//! A picture may be SVG and so may carry script. It is served so that no script in it runs and
//! nothing else is loaded, also for somebody who opens it by itself.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use sha2::{Digest, Sha256};
use web::{Cause, Error};

use super::{
    App, KINDS, WORKSPACES,
    conditions::has_version,
    error::Problem,
    extract::{Caller, Named, Query},
    wire::hex,
};
use crate::{
    decide::{names::NOT_FOUND, request::is_true},
    model::{AssetConfigMap, KindSpawner, label},
};

/// The largest picture.
const MOST: usize = 1024 * 1024;

const SANDBOX: HeaderValue =
    HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// The address holds the hash of the content, so what is behind it never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// `GET /workspacekinds/{name}/assets/icon`
pub(crate) async fn icon(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    picture(&app, &caller, &name, &query, &headers, Which::Icon).await
}

/// `GET /workspacekinds/{name}/assets/logo`
pub(crate) async fn logo(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(name): Named,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    picture(&app, &caller, &name, &query, &headers, Which::Logo).await
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Icon,
    Logo,
}

impl Which {
    fn source(self, spawner: &KindSpawner) -> (Option<&AssetConfigMap>, &'static str) {
        match self {
            Self::Icon => (spawner.icon.config_map.as_ref(), "spec.spawner.icon.configMap"),
            Self::Logo => (spawner.logo.config_map.as_ref(), "spec.spawner.logo.configMap"),
        }
    }
}

/// For who may see the kind, or with `namespace` for who may list workspaces there.
async fn picture(
    app: &App,
    caller: &Caller,
    name: &str,
    query: &Query,
    headers: &HeaderMap,
    which: Which,
) -> Result<Response, Problem> {
    match query.namespace("namespace")? {
        Some(namespace) => app.allow(caller, "list", WORKSPACES, Some(namespace), None).await?,
        None => app.allow(caller, "get", KINDS, None, Some(name)).await?,
    }
    let kind = app.caches.kinds.get(None, name).ok_or_else(Problem::not_found)?;
    // A picture that is elsewhere is not ours to serve.
    let (source, field) = which.source(&kind.spec.spawner);
    let source = source.ok_or_else(Problem::not_found)?;
    let api: Api<ConfigMap> = Api::namespaced(app.client.clone(), &source.namespace);
    let bytes = content(api.get_opt(&source.name).await?, source)
        .map_err(|why| Problem::missing(Cause::internal(NOT_FOUND, field, why)))?;
    respond(bytes, query.get("sha256"), headers)
}

/// The bytes at the key; `data` comes first. A ConfigMap without the label is as good as none, so
/// that nobody who can write kinds can read what they please.
fn content(found: Option<ConfigMap>, source: &AssetConfigMap) -> Result<Bytes, String> {
    let AssetConfigMap { namespace, name, key, .. } = source;
    let map = found
        .filter(|map| is_true(map.metadata.labels.as_ref(), label::IMAGE_SOURCE))
        .ok_or_else(|| {
            let label = label::IMAGE_SOURCE;
            format!("ConfigMap {namespace}/{name} not found, or without label {label}=true")
        })?;
    let text = map.data.and_then(|mut data| data.remove(key)).map(Bytes::from);
    let binary = || Some(Bytes::from(map.binary_data?.remove(key)?.0));
    let bytes = text
        .or_else(binary)
        .ok_or_else(|| format!("key {key:?} not found in ConfigMap {namespace}/{name}"))?;
    if bytes.len() > MOST {
        return Err(format!("key {key:?} of ConfigMap {namespace}/{name} is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn respond(bytes: Bytes, wanted: Option<&str>, headers: &HeaderMap) -> Result<Response, Problem> {
    let hash = hex(&Sha256::digest(&bytes));
    let cache = if wanted == Some(&hash) { FOR_EVER } else { ASK_AGAIN };
    let tag = format!("W/\"{hash}\"");
    let mut response = match has_version(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => {
            let svg = HeaderValue::from_static("image/svg+xml");
            ([(header::CONTENT_TYPE, svg)], bytes).into_response()
        }
    };
    let tag = HeaderValue::try_from(tag).map_err(Error::internal)?;
    let set: [(HeaderName, HeaderValue); 4] = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, SANDBOX),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    ];
    response.headers_mut().extend(set);
    Ok(response)
}
