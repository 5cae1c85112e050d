//! A lean load generator: connections that ask, read and drop, one request after the other.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// What to ask for, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) caller: Caller,
    pub(crate) encoding: &'static str,
    /// The version that the client has already.
    pub(crate) tag: Option<String>,
}

/// How a caller is known.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// By the token of a data directory.
    Token(String),
    /// By what a proxy in front says: an administrator.
    Proxied,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    pub(crate) bytes: u64,
    /// Time of each request, sorted.
    pub(crate) times: Vec<Duration>,
}

/// One connection.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    caller: Vec<(&'static str, String)>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, caller: &Caller) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let caller = match caller {
            Caller::Token(token) => vec![("authorization", format!("Bearer {token}"))],
            Caller::Proxied => vec![
                ("kubeflow-userid", "root".to_owned()),
                ("kubeflow-groups", "system:masters".to_owned()),
            ],
        };
        Ok(Self { sender, host: address.to_string(), caller })
    }

    /// Sends a request, reads the answer to its end and gives its status and length.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        encoding: &str,
        body: Option<String>,
    ) -> Result<(StatusCode, u64)> {
        let mut request = self.request(method, path, encoding);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        self.ask(request.body(body)?).await
    }

    /// Asks for a target.
    async fn get(&mut self, target: &Target) -> Result<(StatusCode, u64)> {
        let mut request = self.request("GET", &target.path, target.encoding);
        if let Some(tag) = &target.tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        self.ask(request.body(Full::default())?).await
    }

    fn request(&self, method: &str, path: &str, encoding: &str) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::ACCEPT_ENCODING, encoding);
        self.caller.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, u64)> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok((status, length))
    }
}

/// Asks over so many connections for so long.
pub(crate) async fn run(target: &Target, connections: usize, time: Duration) -> Result<Outcome> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(target.address, &target.caller).await?;
            let mut outcome = Outcome::default();
            while start.elapsed() < time {
                let asked = Instant::now();
                let (status, length) = connection.get(&target).await.context("a request failed")?;
                let wanted = match target.tag {
                    Some(_) => StatusCode::NOT_MODIFIED,
                    None => StatusCode::OK,
                };
                ensure!(status == wanted, "{} answered {status}", target.path);
                outcome.times.push(asked.elapsed());
                outcome.bytes += length;
            }
            anyhow::Ok(outcome)
        });
    }
    let mut all = Outcome::default();
    while let Some(outcome) = tasks.join_next().await {
        let outcome = outcome??;
        all.times.extend(outcome.times);
        all.bytes += outcome.bytes;
    }
    all.took = start.elapsed();
    all.times.sort_unstable();
    Ok(all)
}
