//! Binding and serving HTTP/1.1, over TLS if wanted and there also HTTP/2, with limits per connection.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{
    drain::Drain,
    io::{Busy, Impatient, Stage},
    tls::{self, Tls},
};
use crate::Handler;

/// The other end of a connection, in the extensions of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Request line and headers together; more is answered with 431, and so are more than 100
    /// headers: hyper has room for these at hand, and would get more anew for every request.
    pub header_bytes: usize,
    /// Time for the head of a request from its first byte, and for the handshake of TLS.
    pub header_time: Duration,
    /// Time between an answer and the head of the next request.
    pub idle_time: Duration,
    /// Time without progress in sending to a client that does not read.
    pub write_stall: Duration,
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 128 << 10,
            header_time: Duration::from_secs(32),
            idle_time: Duration::from_secs(90),
            write_stall: Duration::from_secs(32),
            connections: 4096,
        }
    }
}

/// Requests at once on one connection of HTTP/2.
const STREAMS: u32 = 100;

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "the address {0} is in use: another program listens there, perhaps another `quartermaster \
         up`; stop it or choose another address"
    )]
    InUse(SocketAddr),
    /// The system forbids it.
    #[error("this user may not listen on {0}: ports below 1024 belong to root, choose another")]
    Forbidden(SocketAddr),
    /// The machine has no such address.
    #[error("this machine does not have the address {0}")]
    NotHere(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Takes an address. Port 0 takes any free port; see [`Listener::address`].
pub async fn bind(address: SocketAddr) -> Result<Listener, BindError> {
    let explain = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Forbidden(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotHere(address),
        _ => BindError::Io { address, source },
    };
    let socket = TcpListener::bind(address).await.map_err(explain)?;
    let address = socket.local_addr().map_err(explain)?;
    Ok(Listener { socket, address, tls: None })
}

/// An address that is taken and not yet served: clients wait in the system's queue.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Listener {
    /// The address that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Speaks TLS only. The handshake has as long as the head of a request.
    #[must_use]
    pub fn with_tls(mut self, tls: impl Into<Tls>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// Serves until the drain stops. Connections end after their current answer, or with the grace.
    pub async fn serve(self, handler: impl Into<Handler>, limits: Limits, drain: Drain) {
        let handler = handler.into();
        let places = Arc::new(Semaphore::new(limits.connections));
        let mut stopping = std::pin::pin!(drain.stopping());
        loop {
            let next = async {
                // A closed semaphore cannot be: nobody closes it.
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (accept(&self.socket).await, place)
            };
            let ((stream, peer), place) = tokio::select! {
                biased;
                () = &mut stopping => return,
                next = next => next,
            };
            let (handler, tls) = (handler.clone(), self.tls.clone());
            let ending = drain.clone();
            drain.spawn(async move {
                // Small answers must not wait for the acknowledgement of the ones before.
                let _ = stream.set_nodelay(true);
                match tls {
                    None => connection(stream, peer, handler, limits, ending).await,
                    Some(tls) => {
                        let stream = tokio::select! {
                            biased;
                            () = ending.stopping() => None,
                            stream = tls.accept(stream, limits.header_time) => stream,
                        };
                        match stream {
                            Some(stream) if tls::speaks_http2(&stream) => {
                                connection2(stream, peer, handler, limits, ending).await;
                            }
                            Some(stream) => {
                                connection(stream, peer, handler, limits, ending).await;
                            }
                            None => {}
                        }
                    }
                }
                drop(place);
            });
        }
    }
}

/// Accepts the next connection. Errors are of that connection, or pass (out of descriptors).
async fn accept(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection<S>(stream: S, peer: SocketAddr, handler: Handler, limits: Limits, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stage = Arc::new(Stage::default());
    let told = Arc::clone(&stage);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (told, busy) = (Arc::clone(&told), told.busy());
        let held = Arc::clone(&busy);
        // An answer may begin, and end, while the body still comes.
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(Held { body, _busy: held }),
        });
        let handler = handler.clone();
        async move {
            let answer = answer(&handler, peer, request).await;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                told.has_no_heads();
            }
            drop(busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let idles = Arc::clone(&stage);
    let stream = Impatient::new(stream, stage, limits.header_time, limits.write_stall);
    let connection = http1::Builder::new()
        // There are clocks around it.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        () = async {
            tokio::select! {
                () = drain.stopping() => {}
                () = idles.idles(limits.idle_time) => {}
            }
        } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}

/// A body that keeps its request busy for as long as somebody holds it.
struct Held {
    body: Incoming,
    _busy: Arc<Busy>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The same over HTTP/2, whose requests share a connection.
async fn connection2<S>(stream: S, peer: SocketAddr, handler: Handler, limits: Limits, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(answer(&handler, peer, request.map(Body::new)).await) }
    });
    // The protocol has frames of its own instead of heads, and says itself when nothing comes.
    let stage = Arc::new(Stage::default());
    stage.has_no_heads();
    let stream = Impatient::new(stream, stage, limits.header_time, limits.write_stall);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        // A client that is gone is noticed.
        .keep_alive_interval(limits.idle_time)
        .keep_alive_timeout(limits.header_time)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        () = drain.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}

fn answer(
    handler: &Handler,
    peer: SocketAddr,
    mut request: http::Request<Body>,
) -> impl Future<Output = Response> + Send {
    request.extensions_mut().insert(Peer(peer));
    handler.answer(request)
}
