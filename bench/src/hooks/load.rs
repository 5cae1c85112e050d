//! Senders as lean as can be: they write prepared bytes, so that the cores are the receiver's.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::report::{ms, percentile, rate};

pub(super) const KEY: &str = "correct-horse-battery-staple-01";

/// The path part that a key leads to.
pub(super) fn digest(key: &str) -> String {
    hex(&Sha256::digest(key))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A push of which only the end changes, so that signing it costs nearly nothing.
#[derive(Clone)]
pub(super) struct Push {
    path: String,
    body: Vec<u8>,
    mac: Hmac<Sha256>,
}

impl Push {
    pub(super) fn new(bytes: usize, path: String) -> Self {
        let mut body =
            String::from(r#"{"before":"0000000000000000000000000000000000000000","commits":["#);
        let commit = r#"{"id":"0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c","message":"Mend what was \"broken\"","author":{"name":"A","email":"a@example.com"},"added":[],"modified":["src/main.rs"]}"#;
        while body.len() + commit.len() + 300 < bytes {
            body.push_str(commit);
            body.push(',');
        }
        body.push_str(commit);
        body.push_str(r#"],"repository":{"full_name":"team/app","ssh_url":"git@code.example.com:team/app.git","clone_url":"https://code.example.com/team/app.git"},"pad":""#);
        while body.len() + 60 < bytes {
            body.push('x');
        }
        body.push_str(r#"","ref":"refs/heads/branch-"#);
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(body.as_bytes());
        Self { path, body: body.into_bytes(), mac }
    }

    /// The bytes of one request into `buffer`.
    fn write(&self, number: usize, buffer: &mut Vec<u8>) {
        let tail = format!("{number:010}\"}}");
        let mut mac = self.mac.clone();
        mac.update(tail.as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        buffer.clear();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: GitHub-Hookshot/044aadd\r\nContent-Type: application/json\r\nX-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-{number:012}\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n",
            self.path,
            self.body.len() + tail.len()
        );
        buffer.extend_from_slice(head.as_bytes());
        buffer.extend_from_slice(&self.body);
        buffer.extend_from_slice(tail.as_bytes());
    }
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) took: Duration,
    /// Time of each request, sorted.
    pub(super) times: Vec<Duration>,
}

impl Outcome {
    fn count(&self) -> u32 {
        u32::try_from(self.times.len().max(1)).unwrap_or(u32::MAX)
    }

    /// Requests in a second.
    pub(super) fn per_second(&self) -> f64 {
        f64::from(self.count()) / self.took.as_secs_f64()
    }

    /// The rate, the median and the 99th percentile, and the processor time of each of all that took
    /// so much of it.
    pub(super) fn cells(&self, cpu: Duration) -> [String; 4] {
        [
            rate(self.times.len(), self.took),
            ms(percentile(&self.times, 50)),
            ms(percentile(&self.times, 99)),
            format!("{} µs", (cpu / self.count()).as_micros()),
        ]
    }
}

/// Numbers of all pushes of this process: none is sent twice.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Sends over so many connections for so long, or so many.
pub(super) async fn run(
    push: &Push,
    address: SocketAddr,
    connections: usize,
    time: Duration,
    count: Option<usize>,
) -> Result<Outcome> {
    let left = Arc::new(AtomicUsize::new(count.unwrap_or(usize::MAX / 2)));
    let push = Arc::new(push.clone());
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(sending(Arc::clone(&push), address, start + time, Arc::clone(&left)));
    }
    let mut all = Outcome::default();
    while let Some(times) = tasks.join_next().await {
        all.times.extend(times??);
    }
    all.took = start.elapsed();
    all.times.sort_unstable();
    Ok(all)
}

async fn sending(
    push: Arc<Push>,
    address: SocketAddr,
    end: Instant,
    left: Arc<AtomicUsize>,
) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    let (mut request, mut answer) = (Vec::new(), Vec::with_capacity(1024));
    while Instant::now() < end
        && left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    {
        push.write(NEXT.fetch_add(1, Ordering::Relaxed), &mut request);
        let asked = Instant::now();
        stream.write_all(&request).await?;
        answer.clear();
        let length = loop {
            if let Some((head, length)) = head_end(&answer)
                && answer.len() >= head + length
            {
                break head + length;
            }
            let read = stream.read_buf(&mut answer).await?;
            ensure!(read > 0, "the receiver hung up");
        };
        times.push(asked.elapsed());
        let good = answer.starts_with(b"HTTP/1.1 20");
        ensure!(good, "answered {:?}", String::from_utf8_lossy(&answer[..length]));
    }
    Ok(times)
}

/// Where a head ends, and how long the body after it is.
pub(super) fn head_end(read: &[u8]) -> Option<(usize, usize)> {
    let end = read.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&read[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((end, length.unwrap_or(0)))
}
