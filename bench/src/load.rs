//! A lean load generator: connections that ask, read and drop, one request after the other.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use quartermaster_e2e::Tree;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// As much as is read at once.
const BUFFER: usize = 256 << 10;

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

impl Caller {
    fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Token(token) => vec![("authorization", format!("Bearer {token}"))],
            Self::Proxied => vec![
                ("kubeflow-userid", "root".to_owned()),
                ("kubeflow-groups", "system:masters".to_owned()),
            ],
        }
    }
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    pub(crate) bytes: u64,
    /// Time of each request, sorted.
    pub(crate) times: Vec<Duration>,
    /// What asking took of the processors, in all.
    pub(crate) cpu: Duration,
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
        Ok(Self { sender, host: address.to_string(), caller: caller.headers() })
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

/// Asks for one target over one connection, again and again. The request is written once and for all,
/// and of an answer no more is read than its status and its length: whoever asks shares the machine
/// with who answers, and should take little of it.
struct Asker {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Asker {
    async fn new(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let Target { address, path, encoding, .. } = target;
        let mut request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\naccept-encoding: {encoding}\r\n");
        let tag = target.tag.iter().map(|tag| ("if-none-match", tag.clone()));
        for (name, value) in target.caller.headers().into_iter().chain(tag) {
            write!(request, "{name}: {value}\r\n")?;
        }
        request.push_str("\r\n");
        Ok(Self { stream, request: request.into_bytes(), buffer: vec![0; BUFFER] })
    }

    /// Asks once, and gives the status and the length of the body.
    async fn ask(&mut self) -> Result<(u16, u64)> {
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        let (status, length, head) = loop {
            ensure!(filled < self.buffer.len(), "the head of an answer does not end");
            filled += self.read(filled).await?;
            if let Some(head) = read_head(&self.buffer[..filled])? {
                break head;
            }
        };
        let mut left = (head as u64 + length)
            .checked_sub(filled as u64)
            .context("an answer is longer than it says")?;
        while left > 0 {
            let read = self.read(0).await? as u64;
            left = left.checked_sub(read).context("an answer is longer than it says")?;
        }
        Ok((status, length))
    }

    async fn read(&mut self, from: usize) -> Result<usize> {
        let read = self.stream.read(&mut self.buffer[from..]).await?;
        ensure!(read > 0, "the server closed the connection");
        Ok(read)
    }
}

/// Status, length of the body and of the head, once that is whole.
fn read_head(bytes: &[u8]) -> Result<Option<(u16, u64, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(bytes)? else { return Ok(None) };
    let status = answer.code.context("an answer has no status")?;
    if status == StatusCode::NOT_MODIFIED.as_u16() {
        return Ok(Some((status, 0, head)));
    }
    let mut headers = answer.headers.iter();
    let length = headers.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer does not tell its length")?.value;
    Ok(Some((status, std::str::from_utf8(length)?.parse()?, head)))
}

/// Asks over so many connections for so long.
pub(crate) async fn run(target: &Target, connections: usize, time: Duration) -> Result<Outcome> {
    let cpu = || Tree::of(std::process::id()).cpu;
    let (start, before) = (Instant::now(), cpu());
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let mut asker = Asker::new(&target).await?;
            let mut outcome = Outcome::default();
            let wanted = match target.tag {
                Some(_) => StatusCode::NOT_MODIFIED,
                None => StatusCode::OK,
            };
            while start.elapsed() < time {
                let asked = Instant::now();
                let (status, length) = asker.ask().await.context("a request failed")?;
                ensure!(status == wanted.as_u16(), "{} answered {status}", target.path);
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
    all.cpu = cpu().saturating_sub(before);
    all.times.sort_unstable();
    Ok(all)
}
