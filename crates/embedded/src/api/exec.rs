//! The exec subresource of pods, over WebSocket (`v5.channel.k8s.io`, `v4.channel.k8s.io`). Whoever
//! runs the pods runs the command.
//!
//! The first byte of a message is its channel: standard input, output and error, then the `Status`
//! at the end; with version 5, channel 255 closes the one that follows. There are no terminals. A
//! command ends with its connection.

use std::{io, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, Stream, StreamExt, TryStreamExt, future::BoxFuture};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tower::Service;

use super::{Api, ApiService, Body, Status, User, logs, query::Query, write::Target};

/// Commands at a time.
pub(super) const MOST: usize = 64;
/// The longest message that is read, and what is read of an output at a time.
const LONGEST_MESSAGE: usize = 1 << 20;
const PIECE: usize = 32 << 10;
/// Pieces that wait for a slow client; the rest waits in the pipes of the command.
const WAITING: usize = 8;
/// How long a client may take to close a connection on which all was said.
const LEAVE: Duration = Duration::from_secs(5);
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const END: u8 = 3;
const CLOSE: u8 = 255;

/// A command that runs in a container.
pub struct Execution {
    /// Its standard input.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error.
    pub errors: Box<dyn AsyncRead + Send + Unpin>,
    /// Its exit code. Dropped before that, it ends the command.
    pub ended: BoxFuture<'static, io::Result<i32>>,
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").finish_non_exhaustive()
    }
}

/// Whoever runs commands in the containers of pods.
pub trait ExecSource: Send + Sync {
    /// Starts a command in a container of a pod (the Pod as JSON); an error is in words.
    fn start<'a>(
        &'a self,
        pod: &'a Value,
        container: &'a str,
        command: Vec<String>,
    ) -> BoxFuture<'a, Result<Execution, String>>;
}

/// Answers with a switch of protocols, and serves the command from then on.
pub(super) fn answer(
    api: &Arc<Api>,
    parts: &Parts,
    query: &Query,
    target: &Target,
) -> Result<Response<Body>, Status> {
    let entry = api.store.get(&target.resource.table, &target.key());
    let pod = Value::Object(entry.ok_or_else(|| target.not_found())?.object());
    let phase = super::kinds::text(&pod, "/status/phase");
    if matches!(phase, "Succeeded" | "Failed") {
        let text =
            format!("cannot exec into a container in a completed pod; current phase is {phase}");
        return Err(Status::bad_request(text));
    }
    let container = logs::container(&pod, query.text("container"))?;
    let command: Vec<String> = query.all("command").into_iter().map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    if query.flag("tty")? {
        return Err(Status::not_implemented("commands have no terminal here: leave out -t"));
    }
    let wanted = Wanted {
        input: query.flag("stdin")?,
        output: query.flag("stdout")?,
        errors: query.flag("stderr")?,
    };
    let source = api.exec.read().clone();
    let source = source.ok_or_else(|| Status::unavailable("no node runs commands in pods"))?;
    let (upgrade, protocol, response) = switch(parts)?;
    let slot = api.executions.clone().try_acquire_owned();
    let slot = slot.map_err(|_| Status::unavailable("too many commands run in pods"))?;
    let stop = api.stop.clone();
    tokio::spawn(async move {
        let serve = async {
            let Ok(upgraded) = upgrade.await else { return };
            let mut config = WebSocketConfig::default();
            config.max_message_size = Some(LONGEST_MESSAGE);
            config.max_frame_size = Some(LONGEST_MESSAGE);
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
            let started = source.start(&pod, &container, command).await;
            serve(socket, started, wanted, protocol == PROTOCOLS[0]).await;
        };
        tokio::select! {
            () = serve => {}
            () = stop.cancelled() => {}
        }
        drop(slot);
    });
    Ok(response)
}

/// What the client wants to see of the command.
#[derive(Clone, Copy)]
struct Wanted {
    input: bool,
    output: bool,
    errors: bool,
}

fn has(parts: &Parts, name: header::HeaderName, word: &str) -> bool {
    let values = parts.headers.get_all(name);
    let mut words =
        values.iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    words.any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// The upgrade of a request for a WebSocket, the protocol, and the answer.
fn switch(parts: &Parts) -> Result<(OnUpgrade, &'static str, Response<Body>), Status> {
    let bad = || Status::bad_request("Upgrade request required");
    // kubectl asks that way again when it was refused, and shows what it then is told.
    if parts.method != Method::GET || has(parts, header::UPGRADE, "SPDY/3.1") {
        return Err(Status::bad_request("commands in pods are run over WebSocket here"));
    }
    if !has(parts, header::UPGRADE, "websocket") || !has(parts, header::CONNECTION, "upgrade") {
        return Err(bad());
    }
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(bad)?;
    let offered = |protocol: &&&str| has(parts, header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let protocol = PROTOCOLS.iter().find(offered);
    let protocol = *protocol.ok_or_else(|| {
        Status::bad_request(format!("only the protocols {} are served", PROTOCOLS.join(", ")))
    })?;
    let upgrade = parts.extensions.get::<OnUpgrade>().cloned().ok_or_else(bad)?;
    let mut response = Response::new(Body::from(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok((upgrade, protocol, response))
}

/// Carries the streams of a command until it ends or its client is gone.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    started: Result<Execution, String>,
    wanted: Wanted,
    closes: bool,
) {
    let (mut sink, mut stream) = socket.split();
    let Execution { input, output, errors, ended } = match started {
        Ok(execution) => execution,
        Err(why) => {
            let text = format!("error executing command in container: {why}");
            let _ = sink.send(piece(END, &failure("InternalError", &text, json!({})))).await;
            let _ = sink.send(over()).await;
            return leave(&mut stream).await;
        }
    };
    let (sender, mut pieces) = mpsc::channel::<Message>(WAITING);
    let run = async move {
        let shown = |wanted: bool| wanted.then(|| sender.clone());
        let (output, errors) = tokio::join!(
            copy(output, OUTPUT, shown(wanted.output)),
            copy(errors, ERRORS, shown(wanted.errors)),
        );
        output.and(errors)?;
        let end = piece(END, &end_of(ended.await));
        // Without a receiver nobody wants to know.
        let _ = sender.send(end).await;
        Ok::<_, io::Error>(())
    };
    let write = async {
        while let Some(message) = pieces.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(over()).await;
    };
    let read = async {
        let mut input = wanted.input.then_some(input);
        while let Some(Ok(message)) = stream.next().await {
            let Message::Binary(bytes) = message else {
                if message.is_close() { return } else { continue }
            };
            let channel = bytes.first().copied();
            if channel == Some(CLOSE) && closes && bytes.get(1) == Some(&INPUT) {
                input = None;
            } else if channel == Some(INPUT)
                && let Some(open) = &mut input
                && (open.write_all(&bytes[1..]).await.is_err() || open.flush().await.is_err())
            {
                // A command may close its input and go on.
                input = None;
            }
        }
    };
    tokio::select! {
        // All that was written is sent before the connection ends.
        _ = async { tokio::join!(run, write) } => leave(&mut stream).await,
        () = read => {}
    }
}

/// Lets a client read to the end: one that cannot send its input any more gives up at once.
async fn leave(stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) {
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            if message.is_close() {
                return;
            }
        }
    };
    let _slow = tokio::time::timeout(LEAVE, read).await;
}

/// Sends what comes, or only takes it away.
async fn copy(
    mut from: Box<dyn AsyncRead + Send + Unpin>,
    channel: u8,
    to: Option<mpsc::Sender<Message>>,
) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    loop {
        bytes.reserve(PIECE);
        bytes.put_u8(channel);
        if from.read_buf(&mut (&mut bytes).limit(PIECE - 1)).await? == 0 {
            return Ok(());
        }
        let message = Message::Binary(bytes.split().freeze());
        if let Some(to) = &to
            && to.send(message).await.is_err()
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

/// The end of a connection: Go's clients take one without a code for a failure.
fn over() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn piece(channel: u8, status: &Value) -> Message {
    let mut bytes = vec![channel];
    bytes.extend(status.to_string().into_bytes());
    Message::Binary(bytes.into())
}

fn end_of(ended: io::Result<i32>) -> Value {
    match ended {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => {
            let text = format!("command terminated with non-zero exit code: exit status {code}");
            let causes = json!({"causes": [{"reason": "ExitCode", "message": code.to_string()}]});
            failure("NonZeroExitCode", &text, causes)
        }
        Err(error) => failure("InternalError", &error.to_string(), json!({})),
    }
}

fn failure(reason: &str, message: &str, details: Value) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "details": details,
    })
}

/// Whether a request wants another protocol and came without a connection to speak it on.
pub(super) fn needs_connection(parts: &Parts) -> bool {
    has(parts, header::UPGRADE, "websocket") && parts.extensions.get::<OnUpgrade>().is_none()
}

/// Asks over a connection within this process, which can change its protocol as any other.
pub(super) async fn over_connection(service: ApiService, parts: Parts) -> Response<Body> {
    match connect(service, parts).await {
        Ok(response) => response,
        Err(error) => Status::internal(error).into_response(),
    }
}

async fn connect(service: ApiService, mut parts: Parts) -> hyper::Result<Response<Body>> {
    let (ours, theirs) = tokio::io::duplex(PIECE * 2);
    let user = parts.extensions.get::<User>().cloned();
    let serve = service_fn(move |mut request: Request<Incoming>| {
        if let Some(user) = user.clone() {
            request.extensions_mut().insert(user);
        }
        service.clone().call(request)
    });
    let server = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(theirs), serve)
        .with_upgrades();
    tokio::spawn(server);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(ours));
    let (mut sender, connection) = handshake.await?;
    tokio::spawn(connection.with_upgrades());
    if let Some(path) = parts.uri.path_and_query().cloned() {
        parts.uri = path.into();
    }
    parts.headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    let response = sender.send_request(Request::from_parts(parts, Empty::<Bytes>::new())).await?;
    Ok(response.map(|body| Body::stream(body.into_data_stream().map_err(io::Error::other))))
}

/// Room for [`MOST`] commands.
pub(super) fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MOST))
}
