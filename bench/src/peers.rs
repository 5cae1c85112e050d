//! Servers that know one answer and nothing else, beside ours: what the machine takes to carry the
//! same bytes over the same connections, asked by the same load generator in the same run.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use http::{Response, header};
use http_body_util::Full;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use quartermaster_e2e::{Tree, Up};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::{
    Size,
    load::{self, Caller, Target},
    report::{Report, Section, columns, ms, percentile, rate},
    say,
};

const ONE_ANSWER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/one_answer.go");

/// Loads each server in turn with the same requests.
pub(crate) async fn measure(
    up: &Up,
    address: SocketAddr,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let time = Duration::from_secs(size.seconds.div_ceil(2));
    let scratch = tempfile::tempdir()?;
    let go = build_go(ONE_ANSWER, scratch.path()).await;
    let mut rows = Vec::new();
    for (name, path) in [
        ("get one", "/workspaces/ns-0/w-0"),
        ("list one namespace", "/workspaces/ns-0"),
        ("list all", "/workspaces"),
    ] {
        let answer = up.get(path).await.expect(200).text;
        let own = std::env::current_exe()?;
        let mut servers =
            vec![Peer::start("hyper", Command::new(own).arg("--one-answer"), &answer).await?];
        if let Some(go) = &go {
            servers.push(Peer::start("Go net/http", &mut Command::new(go), &answer).await?);
        }
        for connections in [8, 64] {
            say(&format!("{name} beside others, connections: {connections}"));
            let target = |address| Target {
                address,
                path: format!("/api/v1{path}"),
                caller: Caller::Token(up.endpoints.token.clone()),
                encoding: "identity",
                tag: None,
            };
            let ours = Figures::of(up.endpoints.pid, &target(address), connections, time).await?;
            rows.push(ours.row(name, connections, "quartermaster", &ours));
            for peer in &servers {
                let theirs =
                    Figures::of(peer.pid()?, &target(peer.address), connections, time).await?;
                rows.push(theirs.row(name, connections, peer.name, &ours));
            }
        }
    }
    let left_out = if go.is_some() { "" } else { " There is no Go here: its rows are left out." };
    report.add(Section {
        title: "Lists beside servers that know one answer".to_owned(),
        note: format!(
            "The same bytes from a bare hyper server and from Go's net/http, which do nothing but send \
             them: no routes, no identity, no rights, no caches, no counts. They tell what this machine \
             can carry; DESIGN's figures are of another. `ratio` is the rate of quartermaster to \
             theirs; `asking` is the CPU of the load generator.{left_out}"
        ),
        columns: columns(["what", "connections", "server", "ratio", "answers", "p50", "p99", "CPU each", "asking"]),
        rows,
    });
    Ok(())
}

/// What one server did.
struct Figures {
    answers: usize,
    took: Duration,
    half: Duration,
    most: Duration,
    cpu: Duration,
    asking: Duration,
}

impl Figures {
    async fn of(pid: u32, target: &Target, connections: usize, time: Duration) -> Result<Self> {
        let before = Tree::of(pid).cpu;
        let outcome = load::run(target, connections, time).await?;
        let cpu = Tree::of(pid).cpu.saturating_sub(before);
        let answers = outcome.times.len();
        let each = u32::try_from(answers.max(1))?;
        Ok(Self {
            answers,
            took: outcome.took,
            half: percentile(&outcome.times, 50),
            most: percentile(&outcome.times, 99),
            cpu: cpu / each,
            asking: outcome.cpu / each,
        })
    }

    fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let answers = self.answers as f64;
        answers / self.took.as_secs_f64()
    }

    fn row(&self, name: &str, connections: usize, server: &str, ours: &Self) -> Vec<String> {
        vec![
            name.to_owned(),
            connections.to_string(),
            server.to_owned(),
            format!("{:.2}", ours.per_second() / self.per_second()),
            rate(self.answers, self.took),
            ms(self.half),
            ms(self.most),
            format!("{} µs", self.cpu.as_micros()),
            format!("{} µs", self.asking.as_micros()),
        ]
    }
}

/// A running peer. Ends with this.
pub(crate) struct Peer {
    name: &'static str,
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Gives it its answer, and reads where it is.
    pub(crate) async fn start(
        name: &'static str,
        command: &mut Command,
        answer: &str,
    ) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut input = process.stdin.take().context("a peer has an input")?;
        input.write_all(answer.as_bytes()).await?;
        drop(input);
        let output = process.stdout.take().context("a peer has an output")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let line = line.with_context(|| format!("{name} does not say where it is"))?;
        Ok(Self { name, process, address: line.trim().parse()? })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.id().context("a peer is gone")
    }
}

/// Builds a server in Go, where there is one.
pub(crate) async fn build_go(source: &str, scratch: &Path) -> Option<PathBuf> {
    let binary = scratch.join("server");
    let mut go = Command::new("go");
    let built = go.arg("build").arg("-o").arg(&binary).arg(source).current_dir(scratch).status();
    match built.await {
        Ok(status) if status.success() => Some(binary),
        outcome => {
            say(&format!("the server in Go cannot be built ({outcome:?}): left out"));
            None
        }
    }
}

/// Answers everything with what comes on the standard input, after a line that says where.
pub(crate) async fn serve_one_answer() -> Result<()> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let body = Bytes::from(body);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout().lock(), "{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let service = service_fn(move |_| {
            let mut response = Response::new(Full::new(body.clone()));
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
