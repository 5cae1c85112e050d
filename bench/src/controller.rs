//! The controller of workspaces in a process of its own, on the API server of another `up` or on a
//! real one: many workspaces created at once, then as many settled ones as a large cluster has.

use std::{
    fs,
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use http::Method;
use quartermaster_e2e::{Kube, Program, Site, Tree, Up, http_client};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    Size,
    report::{Report, Section, columns, mib, ms},
    say,
};

const WORKSPACES: &str = "kubeflow.org/v1beta1/namespaces";
/// What the programs of a real cluster are called.
const CONTROL_PLANE: &str = "testenv";
const PATIENCE: Duration = Duration::from_secs(1800);
/// How often the program is asked how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// What follows from the last workspace is over if nothing was done for this long …
const STILL: Duration = Duration::from_secs(5);
/// … or if nothing was written for this long: what it then goes on looking at, it always will.
const RESTLESS: Duration = Duration::from_secs(600);
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
    let cluster = match &api.own {
        Some(own) => vec![own.endpoints.pid],
        None => called(CONTROL_PLANE)?,
    };
    let side = Side { up: &up, cluster: &cluster };
    report.add(section(&site, size));

    say(&format!("{} workspaces at once", size.at_once));
    let what = format!("{} at once", size.at_once);
    work(side, &what, create(&kube, 0..size.at_once, size), report).await?;
    check(&kube, size.at_once).await?;

    say(&format!("{} workspaces in all", size.workspaces));
    let rest = size.at_once..size.workspaces;
    let what = format!("{} more", rest.len());
    work(side, &what, create(&kube, rest, size), report).await?;
    check(&kube, size.workspaces).await?;

    say("all are settled: nothing is to be done");
    quiet(side).await?;
    let before = Seen::of(side).await?;
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_secs(size.seconds * 6)).await;
    let idle = Seen::of(side).await?;
    report.row(idle.since(&before, begin.elapsed(), 0).row("settled, nothing happens"))?;

    say("a restart");
    let (_, program) = up.stop().await;
    let none = Seen { cluster: spent_by(&cluster), ..Seen::default() };
    let begin = Instant::now();
    let up = program.start().await;
    let ready = begin.elapsed();
    let side = Side { up: &up, cluster: &cluster };
    let all = Seen::when(side, |seen| seen.reconciled >= size.workspaces).await?;
    let what = format!("restart: ready in {}", ms(ready));
    report.row(all.since(&none, begin.elapsed(), 0).row(&what))?;
    up.stop().await;
    Ok(())
}

fn section(site: &Site, size: Size) -> Section {
    Section {
        title: match site {
            Site::Own => "Controller, on an embedded API server".to_owned(),
            Site::Cluster { .. } => "Controller, on a real API server".to_owned(),
        },
        note: format!(
            "`serve` alone in a process; {CREATORS} clients create paused workspaces in {} \
             namespaces. The time ends when each has its StatefulSet and its status; its \
             ServiceAccount, which only a pod needs, and its Service, whose address a real API server \
             gives one after the other, come last. Writes are \
             those that the program counts itself, those of kinds included. CPU and memory are the \
             program's, its API and caches included; beside it the CPU of the cluster's own programs \
             (API server, and on a real one etcd and the other controllers). A restart is over when \
             each workspace was looked at. The minute in which nothing happens begins when nothing was \
             looked at for {} s, or nothing written for {} s.\n\nDESIGN: the Go controller takes 50 s for \
             1,000 on a real API server, 4 writes each, 4.4 s of CPU and 89 MB. Targets: 6 s, at most \
             4 writes each, 1.5 s of CPU, 60 MiB; with 10,000 settled no writes, under 1 % of a core, \
             150 MiB; ready again in 3 s, writing nothing.",
            size.namespaces,
            STILL.as_secs(),
            RESTLESS.as_secs(),
        ),
        columns: columns([
            "what",
            "time",
            "writes",
            "writes each",
            "reconciles",
            "CPU",
            "share of a core",
            "CPU of the cluster",
            "resident",
            "peak",
        ]),
        rows: Vec::new(),
    }
}

/// The program, and the processes of the cluster that it works on.
#[derive(Clone, Copy)]
struct Side<'a> {
    up: &'a Up,
    cluster: &'a [u32],
}

/// Makes workspaces, and waits until all that is done about them.
async fn work(
    side: Side<'_>,
    what: &str,
    making: impl Future<Output = Result<usize>>,
    report: &mut Report,
) -> Result<()> {
    let before = Seen::of(side).await?;
    let begin = Instant::now();
    let count = making.await?;
    let created = ms(begin.elapsed());
    let told = Seen::when(side, |seen| seen.paused >= before.paused + count).await?;
    let spent = told.since(&before, begin.elapsed(), count);
    report.row(spent.row(&format!("{what} (created in {created})")))?;
    let all = Seen::when(side, |seen| seen.services >= before.services + count).await?;
    let spent = all.since(&before, begin.elapsed(), count);
    report.row(spent.row(&format!("{what}, the rest of their objects too")))
}

/// Waits until the counts of the kind have followed, and what was written has been looked at again.
/// What is looked at all the time is no reason to wait for ever: it belongs to a settled system.
async fn quiet(side: Side<'_>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut last = Seen::of(side).await?;
    let mut wrote = Instant::now();
    loop {
        tokio::time::sleep(STILL).await;
        let now = Seen::of(side).await?;
        if now.writes != last.writes {
            wrote = Instant::now();
        } else if now.reconciled == last.reconciled || wrote.elapsed() >= RESTLESS {
            return Ok(());
        }
        ensure!(Instant::now() < end, "it writes again and again");
        last = now;
    }
}

/// What the program says of itself, and what the machine says of it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    writes: usize,
    services: usize,
    reconciled: usize,
    paused: usize,
    tree: Tree,
    cluster: Duration,
}

impl Seen {
    async fn of(side: Side<'_>) -> Result<Self> {
        let up = side.up;
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
            services: sum("qm_controller_writes_total{", "\"Service\""),
            reconciled: sum("qm_controller_reconcile_seconds_count{", "\"workspaces\""),
            paused: sum("qm_workspaces{", "\"Paused\""),
            tree: Tree::of(up.endpoints.pid),
            cluster: spent_by(side.cluster),
        })
    }

    /// Not too often: each look makes the program count its workspaces.
    async fn when(side: Side<'_>, fits: impl Fn(&Self) -> bool) -> Result<Self> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = Self::of(side).await?;
            if fits(&seen) {
                return Ok(seen);
            }
            ensure!(Instant::now() < end, "not done after {PATIENCE:?}: {seen:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    fn since(&self, before: &Self, took: Duration, count: usize) -> Spent {
        Spent {
            took,
            count,
            writes: self.writes.saturating_sub(before.writes),
            reconciled: self.reconciled.saturating_sub(before.reconciled),
            cpu: self.tree.cpu.saturating_sub(before.tree.cpu),
            cluster: self.cluster.saturating_sub(before.cluster),
            tree: self.tree,
        }
    }
}

/// What something took.
struct Spent {
    took: Duration,
    count: usize,
    writes: usize,
    reconciled: usize,
    cpu: Duration,
    cluster: Duration,
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
            self.reconciled.to_string(),
            ms(self.cpu),
            format!("{share:.1} %"),
            ms(self.cluster),
            mib(self.tree.resident),
            mib(self.tree.peak),
        ]
    }
}

/// The CPU time of some processes.
fn spent_by(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| Tree::of(*pid).cpu).sum()
}

/// The processes of that name.
fn called(name: &str) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            pids.extend(entry.file_name().to_str().and_then(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(pids)
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
