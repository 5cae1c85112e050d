//! Lists and single objects over HTTP, with 10,000 workspaces in the cluster: while nothing changes,
//! and while one of them changes all the time.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http::header;
use quartermaster_e2e::{Kube, Program, Site, Tree, Up, within};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    Size, alone,
    load::{self, Caller, Connection, Target},
    peers,
    report::{Report, Section, columns, mib, ms, percentile, rate},
    say,
};

/// Of [`row`].
pub(crate) const COLUMNS: [&str; 10] = [
    "what",
    "connections",
    "answers",
    "p50",
    "p99",
    "bytes each",
    "CPU each",
    "asking",
    "resident",
    "peak",
];

/// How often the one workspace changes.
const CHANGE: Duration = Duration::from_millis(10);

pub(crate) async fn measure(binary: &Path, size: Size, report: &mut Report) -> Result<()> {
    let up = Program::new(binary).start().await;
    let base = up.api_base().trim_start_matches("http://").to_owned();
    let address: SocketAddr = base.parse().context("the API is at a plain address")?;
    let filled = fill(&up, address, size).await?;
    say("all are created; waiting until all are reconciled");
    let settled = settle(&up, size.workspaces).await;
    let idle = Tree::of(up.endpoints.pid).resident;
    let time = Duration::from_secs(size.seconds);
    let mut rows = Vec::new();
    for (name, target) in targets(&up, address).await {
        for connections in [1, 8, 64] {
            say(&format!("{name}, connections: {connections}"));
            rows.push(row(up.endpoints.pid, name, &target, connections, time).await?);
        }
    }
    say("list all by 8, while one workspace changes");
    rows.push(while_one_changes(&up, address, time).await?);
    let Size { workspaces, namespaces, kinds, claims, .. } = size;
    report.add(Section {
        title: "Lists".to_owned(),
        note: format!(
            "{workspaces} workspaces, paused, in {namespaces} namespaces, of {kinds} kinds, beside \
             {claims} claims; made over REST in {} (64 connections) and reconciled {} later; {} \
             resident then. CPU and memory are the server's; asking is the CPU that the load \
             generator takes of the same machine for each request.\n\nDESIGN: the Go backend lists 10,000 \
             at 4.9/s with 1 connection (197 ms), 8.8/s with 8 (p50 860 ms, p99 1.4 s, 700 MB), \
             0.2/s with 64 (4.0 GB); one namespace of 100 at 793/s with 8 and 822/s with 64 (p99 522 \
             ms); gets one at 42,000/s with 8 and 46,000/s with 64 (p99 7.7 ms). Targets: list 100/s \
             with 8, p99 ≤ 120 ms, no collapse with 64; one namespace 8,000/s, p99 ≤ 30 ms; get one \
             60,000/s, p99 ≤ 5 ms; 60 MiB idle, 120 MiB under load.",
            ms(filled),
            ms(settled),
            mib(idle)
        ),
        columns: columns(COLUMNS),
        rows,
    });
    peers::measure(&up, address, size, report).await?;
    alone::measure(binary, &up, time, report).await
}

async fn targets(up: &Up, address: SocketAddr) -> Vec<(&'static str, Target)> {
    let target = |path: &str, encoding| Target {
        address,
        path: format!("/api/v1{path}"),
        caller: Caller::Token(up.endpoints.token.clone()),
        encoding,
        tag: None,
    };
    let all = target("/workspaces", "identity");
    let list = up.get("/workspaces").await.expect(200);
    let tag = list.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let known = Target { tag: tag.map(str::to_owned), ..all.clone() };
    vec![
        ("list all", all),
        ("list all, gzip", target("/workspaces", "gzip")),
        ("list all, zstd", target("/workspaces", "zstd, gzip")),
        ("list all, If-None-Match hit", known),
        ("list one namespace", target("/workspaces/ns-0", "identity")),
        ("get one", target("/workspaces/ns-0/w-0", "identity")),
    ]
}

/// Loads the server of this process id, and says what that gave and took.
pub(crate) async fn row(
    pid: u32,
    name: &str,
    target: &Target,
    connections: usize,
    time: Duration,
) -> Result<Vec<String>> {
    let before = Tree::of(pid);
    let outcome = load::run(target, connections, time).await?;
    let after = Tree::of(pid);
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
        format!("{} µs", (outcome.cpu / u32::try_from(count)?).as_micros()),
        mib(after.resident),
        mib(after.peak),
    ])
}

/// Readers of the whole list, while one workspace gets another name a hundred times a second.
async fn while_one_changes(up: &Up, address: SocketAddr, time: Duration) -> Result<Vec<String>> {
    let kube = Arc::new(Kube::new(&up.program().dir().join("kubeconfig")));
    let begin = Instant::now();
    let changing = async {
        let mut ticks = tokio::time::interval(CHANGE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut answers = JoinSet::new();
        let mut sent = 0_usize;
        while begin.elapsed() < time {
            ticks.tick().await;
            sent += 1;
            let (kube, number) = (kube.clone(), sent);
            // The next change does not wait for the answer to this one.
            answers.spawn(async move {
                let path = "/apis/kubeflow.org/v1beta1/namespaces/ns-0/workspaces/w-0";
                let patch = json!({"spec": {"displayName": format!("Change {number}")}});
                kube.merge(path, &patch).await.expect(200);
                begin.elapsed()
            });
        }
        let answers = answers.join_all().await;
        answers.into_iter().filter(|answered| *answered <= time).count()
    };
    let target = Target {
        address,
        path: "/api/v1/workspaces".to_owned(),
        caller: Caller::Token(up.endpoints.token.clone()),
        encoding: "identity",
        tag: None,
    };
    let (changes, row) = tokio::join!(changing, row(up.endpoints.pid, "", &target, 8, time));
    let mut row = row?;
    row[0] = format!("list all, one changes at {}", rate(changes, time));
    Ok(row)
}

/// Creates paused workspaces and what is around them, and says how long the workspaces took.
async fn fill(up: &Up, address: SocketAddr, size: Size) -> Result<Duration> {
    let kube = Kube::new(&up.program().dir().join("kubeconfig"));
    for number in 0..size.namespaces {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("ns-{number}")},
        });
        kube.create("/api/v1/namespaces", &namespace).await;
    }
    for number in 0..size.kinds {
        up.create_kind(&Site::Own.files_kind(&format!("kind-{number}"))).await.expect(201);
    }
    create(up, address, size.claims, move |number| {
        let body = json!({"data": {
            "name": format!("c-{number}"), "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local", "requests": {"storage": "1Gi"},
        }});
        (format!("/api/v1/persistentvolumeclaims/ns-{}", number % size.namespaces), body)
    })
    .await?;
    create(up, address, size.workspaces, move |number| {
        let body = json!({"data": {
            "name": format!("w-{number}"), "kind": format!("kind-{}", number % size.kinds),
            "paused": true, "displayName": format!("Workspace number {number}"),
            "podTemplate": {
                "volumes": {}, "options": {"imageConfig": "only", "podConfig": "small"},
            },
        }});
        (format!("/api/v1/workspaces/ns-{}", number % size.namespaces), body)
    })
    .await
}

/// Sends so many creations over 64 connections, and says how long that took.
async fn create(
    up: &Up,
    address: SocketAddr,
    count: usize,
    what: impl Fn(usize) -> (String, Value) + Copy + Send + 'static,
) -> Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let next = next.clone();
        let caller = Caller::Token(up.endpoints.token.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(address, &caller).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                let (path, body) = what(number);
                let sent = connection.send("POST", &path, "identity", Some(body.to_string())).await;
                let (status, _) = sent?;
                ensure!(status == 201, "POST {path} gave {status}");
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
