//! The controller of workspaces in a process of its own, on the API server of another `up` or on a
//! real one: many workspaces created at once, then as many settled ones as a large cluster has.

use std::{
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use http::Method;
use quartermaster_e2e::{Kube, Program, Site, Tree, Up, http_client, within};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Size,
    report::{Report, Section, mib, ms},
    say,
};

const WORKSPACES: &str = "kubeflow.org/v1beta1/namespaces";
const PATIENCE: Duration = Duration::from_secs(900);
const CREATORS: usize = 32;

pub(crate) async fn measure(binary: &Path, size: Size, report: &mut Report) -> Result<()> {
    let site = Site::of_this_run();
    let api = site.api(Program::new(binary)).await;
    let kube = api.kube();
    for number in 0..size.namespaces {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("bench-{number}")},
        });
        kube.create("/api/v1/namespaces", &namespace).await;
    }
    let up = api.serve(Program::new(binary)).start().await;
    up.create_kind(&site.files_kind("bench")).await.expect(201);
    let mut rows = Vec::new();

    say(&format!("{} workspaces at once", size.at_once));
    let (new, created) = work(&up, async { create(&kube, 0..size.at_once, size).await }).await?;
    check(&kube, size.at_once).await?;
    rows.push(new.row(&format!("{} at once (created in {})", size.at_once, ms(created))));

    say(&format!("{} workspaces in all", size.workspaces));
    let rest = size.at_once..size.workspaces;
    let (more, created) = work(&up, async { create(&kube, rest, size).await }).await?;
    let many = size.workspaces - size.at_once;
    rows.push(more.row(&format!("{many} more (created in {})", ms(created))));
    check(&kube, size.workspaces).await?;

    say("all are settled: nothing is to be done");
    let before = Seen::of(&up).await?;
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_secs(size.seconds * 3)).await;
    let idle = Seen::of(&up).await?;
    rows.push(idle.since(&before, begin.elapsed(), 0).row("settled, nothing happens"));

    say("a restart");
    let (_, program) = up.stop().await;
    let begin = Instant::now();
    let up = program.start().await;
    let ready = begin.elapsed();
    let none = Seen::default();
    let all = Seen::when(&up, |seen| seen.reconciled >= size.workspaces).await?;
    rows.push(
        all.since(&none, begin.elapsed(), 0).row(&format!("restart: ready in {}", ms(ready))),
    );
    up.stop().await;

    report.add(Section {
        title: match site {
            Site::Own => "Controller, on an embedded API server",
            Site::Cluster { .. } => "Controller, on a real API server",
        },
        note: format!(
            "`serve` alone in a process; {CREATORS} clients create paused workspaces in {} \
             namespaces. The time ends when each has its StatefulSet and its status. Writes are \
             those that the program counts itself, those of kinds included. CPU and memory are the \
             program's, its API and caches included.\n\nDESIGN: the Go controller takes 50 s for \
             1,000 on a real API server, 4 writes each, 4.4 s of CPU and 89 MB. Targets: 6 s, at most \
             4 writes each, 1.5 s of CPU, 60 MiB; with 10,000 settled no writes, under 1 % of a core, \
             150 MiB; ready again in 3 s, writing nothing.",
            size.namespaces
        ),
        columns: vec!["what", "time", "writes", "writes each", "CPU", "share of a core", "resident", "peak"],
        rows,
    });
    Ok(())
}

/// Does something that makes work, and waits until that is done.
async fn work(up: &Up, making: impl Future<Output = Result<usize>>) -> Result<(Spent, Duration)> {
    let before = Seen::of(up).await?;
    let begin = Instant::now();
    let count = making.await?;
    let created = begin.elapsed();
    let after = Seen::when(up, |seen| seen.paused >= before.paused + count).await?;
    Ok((after.since(&before, begin.elapsed(), count), created))
}

/// What the program says of itself, and what the machine says of it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    writes: usize,
    reconciled: usize,
    paused: usize,
    tree: Tree,
}

impl Seen {
    async fn of(up: &Up) -> Result<Self> {
        let url = format!("{}/metrics", up.endpoints.ops.trim_end_matches('/'));
        let client = http_client().build()?;
        let page = client.get(url).bearer_auth(&up.endpoints.token).send().await?;
        let page = page.error_for_status()?.text().await?;
        let sum = |name: &str, label: &str| {
            let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
            values.sum()
        };
        Ok(Self {
            writes: sum("qm_controller_writes_total{", ""),
            reconciled: sum("qm_controller_reconcile_seconds_count{", "\"workspaces\""),
            paused: sum("qm_workspaces{", "\"Paused\""),
            tree: Tree::of(up.endpoints.pid),
        })
    }

    async fn when(up: &Up, fits: impl Fn(&Self) -> bool) -> Result<Self> {
        let seen = within(PATIENCE, "the controller is done", || async {
            let seen = Self::of(up).await;
            match seen {
                Ok(seen) if !fits(&seen) => None,
                other => Some(other),
            }
        });
        seen.await
    }

    fn since(&self, before: &Self, took: Duration, count: usize) -> Spent {
        Spent {
            took,
            count,
            writes: self.writes.saturating_sub(before.writes),
            cpu: self.tree.cpu.saturating_sub(before.tree.cpu),
            tree: self.tree,
        }
    }
}

/// What something took.
struct Spent {
    took: Duration,
    count: usize,
    writes: usize,
    cpu: Duration,
    tree: Tree,
}

impl Spent {
    fn row(&self, what: &str) -> Vec<String> {
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let each = self.writes as f64 / self.count.max(1) as f64;
        let share = 100.0 * self.cpu.as_secs_f64() / self.took.as_secs_f64();
        vec![
            what.to_owned(),
            ms(self.took),
            self.writes.to_string(),
            if self.count == 0 { "–".to_owned() } else { format!("{each:.2}") },
            ms(self.cpu),
            format!("{share:.1} %"),
            mib(self.tree.resident),
            mib(self.tree.peak),
        ]
    }
}

/// Creates paused workspaces over the API server, and says how many.
async fn create(kube: &Kube, numbers: std::ops::Range<usize>, size: Size) -> Result<usize> {
    let count = numbers.len();
    let (next, end) = (Arc::new(AtomicUsize::new(numbers.start)), numbers.end);
    let mut tasks = JoinSet::new();
    for _ in 0..CREATORS {
        let (next, kube) = (next.clone(), kube.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return anyhow::Ok(());
                }
                let workspace = json!({
                    "apiVersion": "kubeflow.org/v1beta1", "kind": "Workspace",
                    "metadata": {"name": format!("w-{number}")},
                    "spec": {"kind": "bench", "paused": true, "podTemplate": {
                        "volumes": {}, "options": {"imageConfig": "only", "podConfig": "small"},
                    }},
                });
                let namespace = format!("bench-{}", number % size.namespaces);
                let path = format!("/apis/{WORKSPACES}/{namespace}/workspaces");
                let answer = kube.send(Method::POST, &path, Some(&workspace)).await;
                ensure!(answer.status == 201, "POST {path} gave {answer:?}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(count)
}

/// Each workspace has its StatefulSet, and says that it is paused.
async fn check(kube: &Kube, count: usize) -> Result<()> {
    let sets = kube.get("/apis/apps/v1/statefulsets").await.expect(200).json();
    let sets = sets["items"].as_array().map_or(0, Vec::len);
    ensure!(sets == count, "{sets} StatefulSets for {count} workspaces");
    let all = kube.get("/apis/kubeflow.org/v1beta1/workspaces").await.expect(200).json();
    let paused = all["items"].as_array().into_iter().flatten();
    let paused = paused.filter(|workspace| workspace["status"]["state"] == "Paused").count();
    ensure!(paused == count, "{paused} of {count} workspaces are paused");
    Ok(())
}
