//! What is answered to a request for a receiver (contract §3.9): a status, never a word.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{Method, Request, Response, header};
use hyper::body::Incoming;

use crate::{
    listener::{Body, Handler},
    meters::Meters,
    receive::{self, Limits, Read, Reply, Stop, Table},
};

/// The longest body.
const MAX_BODY: usize = 3 << 20;
/// When senders shall come again to a receiver that is not ready.
const AGAIN: Duration = Duration::from_secs(60);

/// Receives webhooks for receivers.
pub(super) struct Desk {
    receiver: Arc<receive::Receiver>,
    /// Paths of those that are suspended or not ready.
    closed: ArcSwap<HashSet<String>>,
    body_bytes: usize,
}

impl Desk {
    pub(super) fn new(limits: Limits, meters: Arc<Meters>) -> Arc<Self> {
        let body_bytes = limits.body_bytes.min(MAX_BODY);
        let receiver = receive::Receiver::new(Table::default(), limits, meters);
        Arc::new(Self { receiver, closed: ArcSwap::default(), body_bytes })
    }

    /// Who works on requests.
    pub(super) fn receiver(&self) -> &Arc<receive::Receiver> {
        &self.receiver
    }

    /// Puts others in the place of what is served.
    pub(super) fn replace(&self, table: Table, closed: HashSet<String>) {
        self.receiver.replace(table);
        self.closed.store(Arc::new(closed));
    }

    async fn receive(&self, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let address = self.receiver.caller(peer, request.headers());
        let uri = request.uri().clone();
        let reply = match self.let_in(address, request).await {
            Ok(read) => self.receiver.take(read).await.0,
            Err(stop) => {
                self.receiver.turned_away(address, uri.path(), &stop);
                stop.reply
            }
        };
        silent(reply.into_response())
    }

    /// Reads a request that may come in.
    async fn let_in(&self, address: IpAddr, request: Request<Incoming>) -> Result<Read, Stop> {
        let start = Instant::now();
        self.receiver.welcome(address)?;
        let path = request.uri().path().to_owned();
        if !path.starts_with("/hook/") {
            return Err(self.receiver.lost(address));
        }
        if request.method() != Method::POST {
            return Err(Stop::quietly(Reply::post_only()));
        }
        let (head, incoming) = request.into_parts();
        // Before the lookup, as the controller does it.
        let read = self.receiver.body(&head.headers, incoming, self.body_bytes, None);
        let (body, share) = read.await?;
        let Some(route) = self.receiver.route(&path) else {
            return Err(match self.closed.load().contains(&path) {
                true => Stop::unknown("paused", Reply::retry(503, "not ready", AGAIN)),
                false => self.receiver.lost(address),
            });
        };
        let taken = route.endpoint().rate.take();
        taken.map_err(|wait| Stop::of(&route, "rate", Reply::retry(429, "too many", wait)))?;
        Ok(Read { address, route, headers: head.headers, body, client: None, start, share })
    }
}

impl Handler for Desk {
    async fn handle(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        self.receive(peer, request).await
    }

    fn exempt(&self, peer: IpAddr) -> bool {
        Handler::exempt(&*self.receiver, peer)
    }
}

/// An answer without a word.
fn silent(response: Response<Body>) -> Response<Body> {
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::X_CONTENT_TYPE_OPTIONS);
    Response::from_parts(head, Body::default())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::watch,
    };

    use super::*;
    use crate::{limits::Rate, listener};

    async fn sent(address: SocketAddr, path: &str, from: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-forwarded-for: {from}\r\n\
             content-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.to_lowercase()
    }

    #[tokio::test]
    async fn who_guesses_is_slowed_down() {
        let limits = Limits {
            failures: Rate { per_second: 0.001, burst: 2.0 },
            trusted_proxies: crate::limits::Network::loopback(),
            ..Limits::default()
        };
        let desk = Desk::new(limits, Arc::default());
        desk.replace(Table::default(), HashSet::from(["/hook/closed".to_owned()]));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(listener::serve(socket, listener::Limits::default(), None, desk, stopped));

        for status in ["404", "404", "429"] {
            let answer = sent(address, "/hook/unknown", "192.0.2.1").await;
            assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
        let closed = sent(address, "/hook/closed", "192.0.2.2").await;
        assert!(closed.starts_with("http/1.1 503") && closed.contains("retry-after"), "{closed}");
    }
}
