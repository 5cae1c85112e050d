//! Verbs: from a request to a response.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use serde_json::Value;

use super::{
    Api, Body, Status,
    access::{Caller, review},
    decode,
    delete::DeleteOptions,
    discovery, exec,
    forms::Part,
    kinds::Resource,
    logs, openapi,
    patch::Patch,
    query::{ListOptions, Query, WriteOptions},
    read,
    route::{self, Route},
    subresource,
    view::{self, View},
    watch,
    write::{Target, Written},
};

/// The largest body that is read, as in the API server.
const BODY_BYTES: usize = 3 << 20;

pub(crate) async fn read_body<B>(body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: std::fmt::Display,
{
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(Status::too_large(BODY_BYTES));
    }
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Status::bad_request(format!("unable to read the body of the request: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > BODY_BYTES {
            return Err(Status::too_large(BODY_BYTES));
        }
        if bytes.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

pub(crate) async fn answer(
    api: &Arc<Api>,
    parts: &Parts,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let registry = api.kinds();
    let query = Query::parse(parts.uri.query());
    match route::route(&registry, parts.uri.path()) {
        Route::Discovery(path) => {
            if parts.method != Method::GET {
                return Ok(no_page());
            }
            if path == ["openapi", "v2"] {
                return Ok(openapi::version_2(&parts.headers));
            }
            Ok(discovery::answer(api, &registry, &path).map_or_else(no_page, json))
        }
        Route::Collection { resource, namespace } => {
            drop(registry);
            collection(api, parts, body, &query, &resource, &namespace).await
        }
        Route::Object { resource, namespace, name, sub } => {
            drop(registry);
            let target = Target { resource, namespace, name };
            match sub.as_str() {
                "" => object(api, parts, body, &query, &target, Part::Main).await,
                "status" if target.resource.has_status => {
                    object(api, parts, body, &query, &target, Part::Status).await
                }
                "finalize" if target.resource.is("namespaces") => match parts.method {
                    Method::PUT => object(api, parts, body, &query, &target, Part::Finalize).await,
                    _ => Err(Status::method_not_allowed()),
                },
                "binding" if target.resource.is("pods") => {
                    subresource::bind(api, parts, body, &query, &target).await
                }
                "eviction" if target.resource.is("pods") => {
                    subresource::evict(api, parts, body, &query, &target).await
                }
                "scale" if target.resource.scale.is_some() => {
                    subresource::scale(api, parts, body, &query, &target).await
                }
                "log" if target.resource.is("pods") => match parts.method {
                    Method::GET => pod_log(api, &query, &target).await,
                    _ => Err(Status::method_not_allowed()),
                },
                "token"
                    if target.resource.is("serviceaccounts") && parts.method == Method::POST =>
                {
                    review::token(api, parts, body, &query, &target)
                }
                "exec" if target.resource.is("pods") => match parts.method {
                    Method::GET | Method::POST => exec::answer(api, parts, &query, &target),
                    _ => Err(Status::method_not_allowed()),
                },
                "attach" | "portforward" | "proxy" if target.resource.is("pods") => {
                    Err(Status::not_implemented(format!(
                        "{sub} of pods is not served here: pods are processes of this machine, `kubectl logs` and `kubectl describe` tell of them"
                    )))
                }
                _ if target.resource.custom.is_some() => Err(target.not_found()),
                _ => Err(Status::no_such_resource()),
            }
        }
        Route::NoResource => Err(Status::no_such_resource()),
        Route::Nothing => Ok(no_page()),
    }
}

async fn collection(
    api: &Arc<Api>,
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    resource: &Arc<Resource>,
    namespace: &str,
) -> Result<Response<Body>, Status> {
    let view = View::new(resource, &parts.headers, query)?;
    match parts.method {
        Method::POST if resource.review && resource.namespaced != namespace.is_empty() => {
            review::answer(api, parts, body, query, resource, namespace)
        }
        _ if resource.review && resource.namespaced && namespace.is_empty() => {
            Err(Status::no_such_resource())
        }
        _ if resource.review => Err(Status::method_not_allowed()),
        Method::GET => {
            let options = ListOptions::new(query)?;
            if options.watch {
                watch::open(api, resource, namespace, None, options, view).await
            } else {
                read::list(api, resource, namespace, options, &view).await
            }
        }
        _ if resource.namespaced && namespace.is_empty() && resource.custom.is_some() => {
            Ok(no_page())
        }
        Method::POST if resource.namespaced && namespace.is_empty() => {
            Err(Status::method_not_allowed())
        }
        Method::POST => {
            let options = WriteOptions::new(query, Caller::of(parts), "CreateOptions")?;
            let object = decode::body(parts, body, &**resource)?;
            let _guard = api.guard(resource).await;
            api.create(resource, namespace, object, options)
                .await
                .map(|written| answer_written(written, &view))
        }
        Method::DELETE if resource.namespaced && namespace.is_empty() => {
            Err(Status::method_not_allowed())
        }
        Method::DELETE => {
            let list = ListOptions::new(query)?;
            let options = DeleteOptions::new(query, Caller::of(parts), parts, body)?;
            read::delete_all(api, resource, namespace, list, &options, &view).await
        }
        _ => Err(Status::method_not_allowed()),
    }
}

async fn object(
    api: &Arc<Api>,
    parts: &Parts,
    body: &Bytes,
    query: &Query,
    target: &Target,
    part: Part,
) -> Result<Response<Body>, Status> {
    let resource = &target.resource;
    let view = View::new(resource, &parts.headers, query)?;
    match parts.method {
        Method::GET => {
            if query.flag("watch")? {
                let options = ListOptions::new(query)?;
                let name = Some(target.name.clone());
                return watch::open(api, resource, &target.namespace, name, options, view).await;
            }
            let wanted = query.text("resourceVersion");
            read::await_revision(api, wanted).await?;
            let entry = api.store.get(&resource.table, &target.key());
            let entry = entry.ok_or_else(|| target.not_found())?;
            Ok(json(view.entry(&entry)))
        }
        Method::PUT => {
            let options = WriteOptions::new(query, Caller::of(parts), "UpdateOptions")?;
            let object = decode::body(parts, body, &**resource)?;
            let _guard = api.guard(resource).await;
            api.replace(target, part, object, options)
                .await
                .map(|written| answer_written(written, &view))
        }
        Method::PATCH => {
            let media_type = decode::media_type(parts);
            Patch::check(media_type, resource.custom.is_some())?;
            let options = WriteOptions::new(query, Caller::of(parts), "PatchOptions")?;
            let patch = Patch::parse(media_type, body)?;
            let _guard = api.guard(resource).await;
            api.patch(target, part, &patch, options)
                .await
                .map(|written| answer_written(written, &view))
        }
        Method::DELETE if part == Part::Main => {
            let options = DeleteOptions::new(query, Caller::of(parts), parts, body)?;
            let deleted = api.delete(target, &options).await?;
            Ok(json(deleted.body(resource, &target.name)))
        }
        _ => Err(Status::method_not_allowed()),
    }
}

async fn pod_log(api: &Arc<Api>, query: &Query, target: &Target) -> Result<Response<Body>, Status> {
    let entry = api.store.get(&target.resource.table, &target.key());
    let pod = Value::Object(entry.ok_or_else(|| target.not_found())?.object());
    let (container, options) = logs::request(&pod, query)?;
    let source = api.logs.read().clone();
    let source = source.ok_or_else(|| Status::unavailable("no node serves the logs of pods"))?;
    let stream = source.open(&pod, &container, options).await?;
    let mut response = Response::new(Body::stream(stream));
    let text = header::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

fn answer_written(written: Written, view: &View) -> Response<Body> {
    let mut response = json(view.object(written.body));
    if written.created {
        *response.status_mut() = StatusCode::CREATED;
    }
    warn(&mut response, &written.warnings);
    response
}

/// Adds warnings to an answer.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = header::HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// A JSON answer.
pub(crate) fn json(body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A JSON answer in YAML; others, and the events of watches, stay as they are.
pub(crate) async fn in_yaml(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let json =
        parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !json || body.is_stream() {
        return Response::from_parts(parts, body);
    }
    // Bodies that are no streams cannot fail.
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let value = serde_json::from_slice::<Value>(&bytes).ok();
    match value.and_then(|value| serde_saphyr::to_string(&value).ok()) {
        Some(yaml) => {
            let kind = header::HeaderValue::from_static(view::YAML);
            parts.headers.insert(header::CONTENT_TYPE, kind);
            Response::from_parts(parts, Body::from(Bytes::from(yaml)))
        }
        None => Response::from_parts(parts, Body::from(bytes)),
    }
}

/// What the API server says of a path that it does not know at all.
fn no_page() -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(b"404 page not found\n")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
