//! Lists and single objects over HTTP, with 10,000 workspaces in the cluster.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use quartermaster_e2e::{Program, Tree, Up, within};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Size,
    load::{self, Connection, Target},
    report::{Report, Section, mib, ms, percentile, rate},
    say,
};

pub(crate) async fn measure(binary: &Path, size: Size, report: &mut Report) -> Result<()> {
    let up = Program::new(binary).start().await;
    let base = up.api_base().trim_start_matches("http://").to_owned();
    let address: SocketAddr = base.parse().context("the API is at a plain address")?;
    let filled = fill(&up, address, size.workspaces).await?;
    say("all are created; waiting until all are reconciled");
    let settled = settle(&up, size.workspaces).await;
    let idle = Tree::of(up.endpoints.pid).resident;

    let target = |path: &str, encoding| Target {
        address,
        path: path.to_owned(),
        token: up.endpoints.token.clone(),
        encoding,
    };
    let all = target("/api/v1/workspaces", "identity");
    let small = target("/api/v1/workspaces", "zstd, gzip");
    let one = target("/api/v1/workspaces/default/w-0", "identity");
    let time = Duration::from_secs(size.seconds);
    let mut rows = Vec::new();
    for (name, target) in [("list", &all), ("list, compressed", &small), ("get one", &one)] {
        for connections in [1, 8, 64] {
            say(&format!("{name}, connections: {connections}"));
            rows.push(row(&up, name, target, connections, time).await?);
        }
    }
    let count = size.workspaces;
    report.add(Section {
        title: "Lists",
        note: format!(
            "{count} workspaces, paused, made over REST in {} (64 connections) and reconciled {} \
             later; {} resident then. CPU and memory are the server's.\n\nDESIGN: the Go backend \
             lists 10,000 at 4.9/s with 1 connection (197 ms), 8.8/s with 8 (p50 860 ms, p99 1.4 s, \
             700 MB), 0.2/s with 64 (4.0 GB). Target: 100/s with 8, p99 ≤ 120 ms; no collapse with \
             64; 60 MiB idle, 120 MiB under load. Get one: 42,000/s with 8 and 46,000/s with 64 \
             against a target of 60,000/s.",
            ms(filled),
            ms(settled),
            mib(idle)
        ),
        columns: vec![
            "what", "connections", "answers", "p50", "p99", "bytes each", "CPU each", "resident",
            "peak",
        ],
        rows,
    });
    Ok(())
}

async fn row(
    up: &Up,
    name: &str,
    target: &Target,
    connections: usize,
    time: Duration,
) -> Result<Vec<String>> {
    let before = Tree::of(up.endpoints.pid);
    let outcome = load::run(target, connections, time).await?;
    let after = Tree::of(up.endpoints.pid);
    let count = outcome.times.len().max(1);
    let cpu = after.cpu.saturating_sub(before.cpu) / u32::try_from(count)?;
    Ok(vec![
        name.to_owned(),
        connections.to_string(),
        rate(outcome.times.len(), outcome.took),
        ms(percentile(&outcome.times, 50)),
        ms(percentile(&outcome.times, 99)),
        (outcome.bytes / count as u64).to_string(),
        format!("{} µs", cpu.as_micros()),
        mib(after.resident),
        mib(after.peak),
    ])
}

/// Creates paused workspaces, and says how long it took.
async fn fill(up: &Up, address: SocketAddr, count: usize) -> Result<Duration> {
    let options = up.default_options("files").await;
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (next, options) = (next.clone(), options.clone());
        let token = up.endpoints.token.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(address, &token).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                let body = json!({"data": {
                    "name": format!("w-{number}"), "kind": "files", "paused": true,
                    "displayName": format!("Workspace number {number}"),
                    "podTemplate": {"volumes": {}, "options": options},
                }});
                let path = "/api/v1/workspaces/default";
                let sent = connection.send("POST", path, "identity", Some(body.to_string())).await;
                let (status, _) = sent?;
                ensure!(status == 201, "creating a workspace gave {status}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(begin.elapsed())
}

/// Waits until all are paused, and says how long it took.
async fn settle(up: &Up, count: usize) -> Duration {
    let begin = Instant::now();
    within(Duration::from_secs(600), "all workspaces reconciled", || async {
        let list = up.get("/workspaces").await.text;
        let paused = list.matches("\"state\":\"Paused\"").count();
        if paused == count {
            return Some(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        None
    })
    .await;
    begin.elapsed()
}
