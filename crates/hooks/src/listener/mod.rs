//! The public listener: strangers connect here, so everything is bounded before a byte is believed.
//!
//! The connections are served by hyper with its own parser limits; what hyper does not bound is
//! bounded here: how many there are, how long a head may take, how long one may idle. When there
//! are too many, the one that has idled longest makes room.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs},
    sync::watch,
};
use tokio_util::task::TaskTracker;
use web::listener::Tls;

use self::{
    connections::{Connection, Connections},
    io_phase::Watched,
};
use crate::decide::x509::Names;

mod connections;
mod io_phase;

/// The body type of every answer.
pub type Body = Full<bytes::Bytes>;

/// What is bounded per connection and over all of them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// All connections.
    pub connections: usize,
    /// Connections of one address that is not exempt.
    pub per_address: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// How long a head may take.
    pub header_time: Duration,
    /// How long a connection may do nothing.
    pub idle_time: Duration,
    /// How long requests may take to finish once the program wants to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_address: 64,
            header_bytes: 64 * 1024,
            headers: 100,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            grace: Duration::from_secs(15),
        }
    }
}

/// Whose certificate the sender of a request has, among its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Client(pub(crate) Arc<Names>);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of a peer.
    fn handle(
        self: Arc<Self>,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Whether the limit per address does not apply to this peer.
    fn exempt(&self, peer: IpAddr) -> bool;
}

/// How many connections may wait to be accepted. A sender that finds no place tries again only after
/// a second.
const BACKLOG: u32 = 4096;

/// Listens at the first of these addresses that can be had.
pub async fn bind(addresses: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for address in tokio::net::lookup_host(addresses).await? {
        outcome = listen(address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As every server does: connections that ended lately do not keep the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` turns true, then finishes what is in flight, at most for the grace time.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    limits: Limits,
    tls: Option<Tls>,
    handler: Arc<H>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Connections::new(&limits);
    let tasks = TaskTracker::new();
    let mut server = http1::Builder::new();
    server
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .header_read_timeout(None)
        // Answers are small: copied into one piece they are sent sooner than in two.
        .writev(false)
        // A sender that hangs up after it has sent must not undo its request.
        .half_close(true);
    let reaper = tokio::spawn(Arc::clone(&connections).reap(limits.header_time, limits.idle_time));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = peer.ip().to_canonical();
                match connections.admit(peer, handler.exempt(peer)) {
                    Some(connection) => {
                        // Small answers must not wait for the acknowledgement of the ones before.
                        let _ = stream.set_nodelay(true);
                        let (server, stop) = (server.clone(), stop.clone());
                        let (tls, handler) = (tls.clone(), Arc::clone(&handler));
                        let patience = limits.header_time;
                        tasks.spawn(async move {
                            let Some(tls) = tls else {
                                connected(stream, connection, server, handler, stop, None).await;
                                return;
                            };
                            let accepted = tokio::select! {
                                accepted = tls.accept(stream, patience) => accepted,
                                // Its place is somebody else's.
                                () = connection.state.closed() => None,
                            };
                            let Some(stream) = accepted else { return };
                            // Verified, if there is one.
                            let shown = stream.get_ref().1.peer_certificates();
                            let names = shown.and_then(|all| Names::read(all.first()?));
                            let client = names.map(|names| Client(Arc::new(names)));
                            connected(stream, connection, server, handler, stop, client).await;
                        });
                    }
                    // Nobody could read it.
                    None if tls.is_some() => {}
                    None => drop(tasks.spawn(refuse(stream))),
                }
            }
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.grace, tasks.wait()).await.is_err() {
        tracing::warn!("requests were still running at the end of the grace time");
    }
    reaper.abort();
}

/// An accept that failed because the peer gave up is nothing; one that failed for want of file
/// descriptors would fail again at once.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Tells a peer with too many connections so.
async fn refuse(mut stream: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        // Closing with bytes unread would cut the answer off.
        while stream.read(&mut [0; 1024]).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

async fn connected<H: Handler, S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: Connection,
    server: http1::Builder,
    handler: Arc<H>,
    mut stop: watch::Receiver<bool>,
    client: Option<Client>,
) {
    let state = Arc::clone(&connection.state);
    let peer = connection.peer;
    let service = service_fn(|mut request: Request<Incoming>| {
        let (state, handler) = (Arc::clone(&state), Arc::clone(&handler));
        if let Some(client) = &client {
            request.extensions_mut().insert(client.clone());
        }
        async move {
            state.busy();
            let response = handler.handle(peer, request).await;
            state.idle();
            Ok::<_, Infallible>(response)
        }
    });
    let io = Watched { io: TokioIo::new(stream), state: Arc::clone(&state) };
    let mut serving = pin!(server.serve_connection(io, service));
    let mut stopping = false;
    loop {
        tokio::select! {
            // Errors are the peer's: bytes that are no HTTP, or a connection cut. hyper has
            // answered what can be answered.
            _ = serving.as_mut() => return,
            () = state.closed() => return,
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Handler for Nobody {
        async fn handle(self: Arc<Self>, _: IpAddr, _: Request<Incoming>) -> Response<Body> {
            Response::default()
        }

        fn exempt(&self, _: IpAddr) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn who_does_not_shake_hands_makes_room() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        let tls = Tls::of_pem(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let hour = Duration::from_secs(3600);
        let limits =
            Limits { connections: 1, header_time: hour, idle_time: hour, ..Limits::default() };
        tokio::spawn(serve(socket, limits, Some(tls), Arc::new(Nobody), stopped));
        let mut first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), first.read(&mut [0; 16])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
}
