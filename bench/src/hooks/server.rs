//! The receiver under test, and the downstream that it tells.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::load::{KEY, digest, head_end};

/// Bytes of all bodies together: 512 senders of a megabyte are more than the default takes.
const IN_FLIGHT: usize = 1 << 30;

/// When the sender is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// After the downstream.
    Synchronous,
    /// After the disk.
    Journalled,
    /// After the disk, and the downstream is away.
    Stuck,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Synchronous => "synchronous",
            Self::Journalled | Self::Stuck => "journalled",
        }
    }
}

/// A running receiver; it ends with this.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    child: Child,
    _downstream: Downstream,
    _directory: TempDir,
}

impl Server {
    pub(super) async fn start(binary: &Path, mode: Mode) -> Result<Self> {
        let downstream = Downstream::start().await?;
        let directory = tempfile::tempdir()?;
        let delivery = match mode {
            Mode::Synchronous => "",
            Mode::Journalled => {
                "delivery: {ack: stored, store: journal, maxStoreBytes: 68719476736}\n"
            }
            // Nothing leaves, so the queue holds whatever was accepted.
            Mode::Stuck => {
                "delivery: {ack: stored, store: journal, maxStoreBytes: 68719476736, schedule: [24h]}\n"
            }
        };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let api = if mode == Mode::Stuck { nowhere } else { downstream.address };
        let config = format!(
            "fluxRecvVersion: 1\napi: http://{api}/api/flux\n{delivery}limits: {{maxInflightBytes: \
             {IN_FLIGHT}, rate: {{perEndpoint: {{perSecond: 1000000000, burst: 1000000000}}}}}}\nendpoints: [{{source: GitHub, keyPath: key}}]\n"
        );
        std::fs::write(directory.path().join("fluxrecv.yaml"), config)?;
        std::fs::write(directory.path().join("key"), KEY)?;
        let address = StdListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(binary.canonicalize()?)
            .args(["as", "flux-recv", &format!("--listen={address}")])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the receiver")?;
        let server = Self { address, child, _downstream: downstream, _directory: directory };
        let begin = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(begin.elapsed() < Duration::from_secs(20), "the receiver does not listen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// The path at which a receiver of the key takes pushes.
pub(super) fn path() -> String {
    format!("/hook/{}", digest(KEY))
}

/// A Flux daemon that has nothing to do. Ends with this.
pub(super) struct Downstream {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Downstream {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self { address: listener.local_addr()?, task: tokio::spawn(downstream(listener)) })
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers every call at once.
async fn downstream(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answering(stream));
    }
}

async fn answering(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut read = Vec::with_capacity(4096);
    loop {
        let (head, length) = loop {
            if let Some(found) = head_end(&read) {
                break found;
            }
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        };
        while read.len() < head + length {
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return None;
            }
        }
        read.drain(..head + length);
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    }
}
