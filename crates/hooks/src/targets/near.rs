//! Calls to a service on this machine: without TLS, proxy or names to look up, the client can do with
//! a fraction of what one for the internet needs. The usual Flux v1 daemon is there.
//!
//! A connection is driven by whoever asks over it, so that a call wakes nobody but its caller.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::IpAddr,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use reqwest::Url;
use tokio::net::TcpStream;

use super::{Failure, http_client};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How many are.
const MOST_IDLE: usize = 1024;

type Body = Full<Bytes>;

/// See the module.
#[derive(Debug)]
pub(super) struct Near {
    uri: Uri,
    host: HeaderValue,
    /// Where it listens.
    at: (String, u16),
    idle: Mutex<VecDeque<(Instant, Line)>>,
}

/// An open connection.
#[derive(Debug)]
struct Line {
    sender: http1::SendRequest<Body>,
    /// Nothing once it has ended.
    connection: Option<http1::Connection<TokioIo<TcpStream>, Body>>,
}

impl Near {
    /// A client for this URL, if it is one of this machine.
    pub(super) fn new(url: &Url) -> Option<Self> {
        let host = url.host_str()?.trim_matches(['[', ']']);
        let here = host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if url.scheme() != "http" || !here {
            return None;
        }
        let named = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str()?),
            None => url.host_str()?.to_owned(),
        };
        Some(Self {
            uri: url.path().parse().ok()?,
            host: named.try_into().ok()?,
            at: (host.to_owned(), url.port_or_known_default()?),
            idle: Mutex::default(),
        })
    }

    /// Posts a body; gives that of a success. The caller has the patience.
    pub(super) async fn post(
        &self,
        headers: &HeaderMap,
        body: String,
        good: fn(u16) -> bool,
    ) -> Result<Bytes, Failure> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(headers);
        request.headers_mut().insert(header::HOST, self.host.clone());
        let broke = |_| Failure::transient("the connection broke");
        let (mut line, response) = loop {
            let (mut line, fresh) = match self.take() {
                Some(line) => (line, false),
                None => (self.connect().await?, true),
            };
            match line.send(request).await {
                Ok(response) => break (line, response),
                Err(mut failed) => match failed.take_message() {
                    // It was closed before anything was sent over it.
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(broke(failed.into_error())),
                },
            }
        };
        if !good(response.status().as_u16()) {
            return Err(http_client::refusal(response.status(), response.headers()));
        }
        let body = Limited::new(response.into_body(), http_client::MAX_ANSWER).collect();
        let body = line.until(body).await.map_err(|error| {
            let long = error.is::<LengthLimitError>();
            Failure::transient(if long { "the answer is too long" } else { "the connection broke" })
        })?;
        self.give_back(line);
        Ok(body.to_bytes())
    }

    async fn connect(&self) -> Result<Line, Failure> {
        let none = |_| Failure::transient("cannot connect");
        let (host, port) = &self.at;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(none)?;
        stream.set_nodelay(true).map_err(none)?;
        // Notices are small: copied into one piece they are sent sooner than in two.
        let (sender, connection) = http1::Builder::new()
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::transient("cannot connect"))?;
        Ok(Line { sender, connection: Some(connection) })
    }

    /// The connection that was used last and is still open.
    fn take(&self) -> Option<Line> {
        loop {
            let (since, mut line) = self.idle.lock().pop_back()?;
            if since.elapsed() < IDLE && line.ready() {
                return Some(line);
            }
        }
    }

    fn give_back(&self, mut line: Line) {
        if !line.ready() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        while idle.front().is_some_and(|(since, _)| now.duration_since(*since) > IDLE)
            || idle.len() >= MOST_IDLE
        {
            idle.pop_front();
        }
        idle.push_back((now, line));
    }
}

impl Line {
    /// Whether another request can be sent.
    fn ready(&mut self) -> bool {
        // Nobody waits: it is only looked at.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        let ended = self.connection.as_mut().is_some_and(|line| pin!(line).poll(cx).is_ready());
        if ended {
            // Whoever still waits is told by this.
            self.connection = None;
        }
    }

    async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let answer = self.sender.try_send_request(request);
        self.until(answer).await
    }

    /// Drives the connection until something has come over it.
    async fn until<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        poll_fn(|cx| {
            // Only the connection brings it further, and that is driven here.
            let mut quietly = Context::from_waker(Waker::noop());
            match what.as_mut().poll(&mut quietly) {
                Poll::Pending => self.drive(cx),
                done @ Poll::Ready(_) => return done,
            }
            what.as_mut().poll(&mut quietly)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers so many requests of each connection, then closes it.
    async fn daemon(listener: TcpListener, of_each: usize, answer: &'static [u8]) {
        while let Ok((mut stream, _)) = listener.accept().await {
            for _ in 0..of_each {
                let mut read = Vec::new();
                while !read.ends_with(b"{}") {
                    if stream.read_buf(&mut read).await.unwrap() == 0 {
                        return;
                    }
                }
                stream.write_all(answer).await.unwrap();
            }
        }
    }

    async fn near(of_each: usize, answer: &'static [u8]) -> (Near, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/notify", listener.local_addr().unwrap());
        let daemon = tokio::spawn(daemon(listener, of_each, answer));
        (Near::new(&url.parse().unwrap()).unwrap(), daemon)
    }

    async fn post(near: &Near) -> Result<Bytes, Failure> {
        near.post(&HeaderMap::new(), "{}".to_owned(), |status| status == 200).await
    }

    #[tokio::test]
    async fn one_connection_serves_many_calls() {
        let answer =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        // No second connection is accepted as long as there is the first.
        let (near, _daemon) = near(1000, answer).await;
        for _ in 0..100 {
            assert_eq!(post(&near).await.unwrap(), "abc");
        }
        assert_eq!(near.idle.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_is_not_used() {
        let (near, _daemon) = near(1, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        for _ in 0..20 {
            assert_eq!(post(&near).await.unwrap(), "");
            // The end of the connection is here before the next call, as it is in life.
            let closed = async {
                loop {
                    let line = near.idle.lock().pop_back();
                    let Some((since, mut line)) = line else { return };
                    if line.ready() {
                        near.idle.lock().push_back((since, line));
                        tokio::task::yield_now().await;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(60), closed).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_failure() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"[..],
            b"HTTP/1.1 2",
            b"",
            b"nonsense\r\n\r\n",
        ] {
            let (near, _daemon) = near(1, answer).await;
            assert_eq!(post(&near).await, Err(Failure::transient("the connection broke")));
            assert!(near.idle.lock().is_empty());
        }
    }

    #[test]
    fn only_this_machine_is_near() {
        let near = |url: &str| Near::new(&url.parse().unwrap()).is_some();
        for url in ["http://localhost:3030/api/flux", "http://127.0.0.1:1/", "http://[::1]:1/"] {
            assert!(near(url), "{url}");
        }
        for url in ["https://localhost/", "http://10.0.0.1/", "http://flux/", "http://localhost.x/"]
        {
            assert!(!near(url), "{url}");
        }
    }
}
