//! The log of a workspace's container.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, Stream, StreamExt, stream};
use http::{HeaderValue, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, api::LogParams};

use super::{
    App, WORKSPACES,
    compress::SMALLEST,
    error::Problem,
    extract::{Caller, Object, Query, boolean},
    workspaces::cached,
};
use crate::{
    decide::names::check_label,
    model::{PodTemplatePod, Workspace},
};

/// The most that one answer holds.
const LIMIT: usize = 100 * 1024 * 1024;
/// The most lines that one answer holds.
const MOST_LINES: i64 = 100_000;
const DEFAULT_LINES: i64 = 1000;
const PIECE: usize = 16 * 1024;
const MAIN: &str = "main";

const NOT_RUNNING: &str = "workspace pod is not running";
const NO_CONTAINER: &str = "container not found in workspace pod";
const NOT_STARTED: &str = "container has not started yet";
const NO_PREVIOUS: &str = "no logs found for the previous container instance";

/// What is asked for.
struct Wanted {
    container: Option<String>,
    lines: i64,
    since: Option<Timestamp>,
    previous: bool,
}

/// `GET /workspaces/{namespace}/{name}/podtemplate/logs/batch`
pub(crate) async fn batch(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    query: Query,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&query)?;
    app.allow(&caller, "get", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let workspace = cached(&app, &namespace, &name)?;
    let (pod, container) = choose(&workspace, wanted.container.as_deref())?;
    let api: Api<Pod> = Api::namespaced(app.client.clone(), &namespace);
    let live = api.get_opt(&pod).await?.ok_or_else(|| Problem::malformed(NOT_RUNNING))?;
    check_container(&live, &container, wanted.previous)?;
    let log = api.log_stream(&pod, &wanted.params(container)).await?;
    respond(Box::pin(pieces(log))).await
}

impl Wanted {
    /// All that is wrong is said at once.
    fn read(query: &Query) -> Result<Self, Problem> {
        let mut causes = Vec::new();
        let container = query.get("container").map(str::to_owned);
        causes.extend(container.iter().flat_map(|name| check_label("container", name)));
        let positive = |text: &str| text.parse().ok().filter(|lines: &i64| *lines > 0);
        let rule = "must be a positive integer";
        let lines = query.parse("tailLines", rule, positive, &mut causes);
        let rule = "must be a valid RFC3339 timestamp";
        let since = query.parse("sinceTime", rule, |text| text.parse().ok(), &mut causes);
        let previous = query.parse("previous", "must be a boolean", boolean, &mut causes);
        if !causes.is_empty() {
            return Err(Problem::query(causes));
        }
        Ok(Self {
            container,
            lines: lines.unwrap_or(DEFAULT_LINES).min(MOST_LINES),
            since,
            previous: previous.unwrap_or(false),
        })
    }

    fn params(&self, container: String) -> LogParams {
        LogParams {
            container: Some(container),
            limit_bytes: i64::try_from(LIMIT).ok(),
            previous: self.previous,
            since_time: self.since,
            tail_lines: Some(self.lines),
            timestamps: true,
            ..LogParams::default()
        }
    }
}

/// The pod and the container, as the workspace's status knows them.
fn choose(workspace: &Workspace, wanted: Option<&str>) -> Result<(String, String), Problem> {
    let pod = workspace.status.as_ref().map(|status| &status.pod_template_pod);
    let pod = pod.filter(|pod| !pod.name.is_empty());
    let pod = pod.ok_or_else(|| Problem::malformed(NOT_RUNNING))?;
    if wanted.is_none() && pod.containers.is_empty() {
        return Err(Problem::malformed(NOT_STARTED));
    }
    let container = wanted.unwrap_or(MAIN);
    if !has(pod, container) {
        return Err(Problem::malformed(NO_CONTAINER));
    }
    Ok((pod.name.clone(), container.to_owned()))
}

fn has(pod: &PodTemplatePod, container: &str) -> bool {
    let mut all = pod.containers.iter().chain(&pod.init_containers);
    all.any(|known| known.name == container)
}

fn check_container(pod: &Pod, container: &str, previous: bool) -> Result<(), Problem> {
    let status = status(pod, container).ok_or_else(|| Problem::malformed(NOT_STARTED))?;
    let ended_before = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    let waiting = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    match previous {
        true if !ended_before => Err(Problem::malformed(NO_PREVIOUS)),
        false if waiting => Err(Problem::malformed(NOT_STARTED)),
        _ => Ok(()),
    }
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses);
    all.flatten().find(|status| status.name == container)
}

/// Reads as fast as the client does, one piece at a time.
fn pieces(log: impl AsyncRead) -> impl Stream<Item = io::Result<Bytes>> {
    let start = (Box::pin(log), LIMIT);
    stream::unfold(start, |(mut log, left)| async move {
        let mut piece = vec![0; PIECE.min(left)];
        match log.read(&mut piece).await {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Bytes::from(piece)), (log, left - read)))
            }
            Err(error) => Some((Err(error), (log, 0))),
        }
    })
}

/// A log that is too short to be compressed goes out whole, so that its size is known.
async fn respond(
    mut log: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
) -> Result<Response, Problem> {
    let mut head = Vec::new();
    while head.len() < SMALLEST {
        match log.next().await {
            Some(piece) => head.extend_from_slice(&piece.map_err(web::Error::internal)?),
            None => return Ok(plain(Body::from(head))),
        }
    }
    // The status is out: a failure from here on can only end the body.
    let rest = log.inspect(|piece| {
        if let Err(error) = piece {
            tracing::warn!(%error, "a log broke off");
        }
    });
    Ok(plain(Body::from_stream(stream::iter([Ok(Bytes::from(head))]).chain(rest))))
}

fn plain(body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))], body).into_response()
}
