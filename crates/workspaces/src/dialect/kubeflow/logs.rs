//! The log of a workspace's container: what there is, or what comes.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, api::LogParams};

use super::{
    App, WORKSPACES,
    compress::{Live, SMALLEST},
    conditions::accepts_events,
    error::Problem,
    extract::{Caller, Object, Query},
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
/// How long nothing is said before a client is told that the server is there.
const QUIET: Duration = Duration::from_secs(15);
const MAIN: &str = "main";

const NOT_RUNNING: &str = "workspace pod is not running";
const NO_CONTAINER: &str = "container not found in workspace pod";
const NOT_STARTED: &str = "container has not started yet";
const NO_PREVIOUS: &str = "no logs found for the previous container instance";

/// What is asked for.
struct Wanted {
    container: Option<String>,
    lines: i64,
    /// More lines were asked for than anybody gets.
    cut: bool,
    since: Option<Timestamp>,
    previous: bool,
    follow: bool,
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
    let log = open(&app, &namespace, &name, &wanted, false).await?;
    let mut response = respond(Box::pin(pieces(log, LIMIT))).await?;
    wanted.note_cut(&mut response);
    Ok(response)
}

/// `GET /workspaces/{namespace}/{name}/podtemplate/logs/stream`: the log, and then what is added to
/// it, for as long as the client reads. As server-sent events if it accepts them, one per line,
/// whose ids are the times of the lines.
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    caller: Caller,
    Object { namespace, name }: Object,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut wanted = Wanted::read(&query)?;
    let follow = wanted.follow;
    let events = accepts_events(&headers);
    let seen = headers.get("last-event-id").filter(|_| events);
    let seen = seen.and_then(|id| id.to_str().ok()?.parse::<Timestamp>().ok());
    wanted.since = seen.or(wanted.since);
    app.allow(&caller, "get", WORKSPACES, Some(&namespace), Some(&name)).await?;
    let log = open(&app, &namespace, &name, &wanted, follow).await?;
    let limit = if follow { usize::MAX } else { LIMIT };
    let mut response = match events {
        false => plain(Body::from_stream(pieces(log, limit))),
        true => {
            let mut response = Response::new(Body::from_stream(lines(log, seen)));
            let kind = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
    };
    response.extensions_mut().insert(Live);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    wanted.note_cut(&mut response);
    Ok(response)
}

/// The log itself, after all that may be in its way.
async fn open(
    app: &App,
    namespace: &str,
    name: &str,
    wanted: &Wanted,
    follow: bool,
) -> Result<impl AsyncBufRead + use<>, Problem> {
    let workspace = cached(app, namespace, name)?;
    let (pod, container) = choose(&workspace, wanted.container.as_deref())?;
    let api: Api<Pod> = Api::namespaced(app.client.clone(), namespace);
    let live = api.get_opt(&pod).await?.ok_or_else(|| Problem::malformed(NOT_RUNNING))?;
    check_container(&live, &container, wanted.previous)?;
    let mut params = wanted.params(container);
    if follow {
        params = LogParams { follow, limit_bytes: None, ..params };
    }
    Ok(api.log_stream(&pod, &params).await?)
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
        let previous = query.flag("previous", &mut causes);
        let follow = query.get("follow").is_none() || query.flag("follow", &mut causes);
        if !causes.is_empty() {
            return Err(Problem::query(causes));
        }
        Ok(Self {
            container,
            lines: lines.unwrap_or(DEFAULT_LINES).min(MOST_LINES),
            cut: lines.is_some_and(|lines| lines > MOST_LINES),
            since,
            previous,
            follow,
        })
    }

    fn note_cut(&self, response: &mut Response) {
        if self.cut {
            let value = HeaderValue::from_static("true");
            response.headers_mut().insert("x-log-truncated", value);
        }
    }

    fn params(&self, container: String) -> LogParams {
        LogParams {
            container: Some(container),
            limit_bytes: i64::try_from(LIMIT).ok(),
            previous: self.previous,
            // The cluster takes whole seconds: earlier lines rather than lost ones.
            since_time: self.since.and_then(|at| Timestamp::from_second(at.as_second()).ok()),
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
fn pieces(log: impl AsyncRead, most: usize) -> impl Stream<Item = io::Result<Bytes>> {
    let start = (Box::pin(log), most);
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

/// The lines as server-sent events, without those up to the time that the client has seen. A line
/// without an end comes in pieces.
fn lines(log: impl AsyncBufRead, seen: Option<Timestamp>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(Box::pin(log)), move |log| async move {
        let mut log = log?;
        loop {
            let mut line = Vec::new();
            let mut piece = (&mut log).take(PIECE as u64);
            let read = piece.read_until(b'\n', &mut line);
            match tokio::time::timeout(QUIET, read).await {
                Ok(Ok(0)) => return None,
                Ok(Ok(_)) => match event(&line, seen) {
                    Some(event) => return Some((Ok(event), Some(log))),
                    None => continue,
                },
                Ok(Err(error)) => return Some((Err(error), None)),
                Err(_) => {
                    let mut said = event(&line, None).unwrap_or_default().to_vec();
                    said.extend_from_slice(b":\n\n");
                    return Some((Ok(said.into()), Some(log)));
                }
            }
        }
    })
}

/// A line that starts with its time, as every line of the log does.
fn event(line: &[u8], seen: Option<Timestamp>) -> Option<Bytes> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return None;
    }
    let (time, _) = line.split_once(' ').unwrap_or((line, ""));
    let at = time.parse::<Timestamp>().ok();
    if let (Some(at), Some(seen)) = (at, seen)
        && at <= seen
    {
        return None;
    }
    let id = if at.is_some() { format!("id: {time}\n") } else { String::new() };
    // A lone carriage return would end the line for a client.
    Some(format!("{id}data: {}\n\n", line.replace('\r', " ")).into())
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
