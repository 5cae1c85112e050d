//! The tests against real programs: JupyterLab, Chromium, and `kill -9`; and on a real Kubernetes.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{
    image::{self, Which},
    jobs::{self, Job},
    shell,
    suite::{Program, Suite},
    test::Skipped,
    tools::Tools,
};

/// A test target of `e2e`.
struct Target {
    name: &'static str,
    clusters: Clusters,
    /// About how long it takes: what takes long begins early.
    seconds: u64,
}

/// On which clusters a target runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clusters {
    Own,
    Real,
    Both,
    /// On ours, and only when it is named: the normal tests have a short form of it.
    OwnIfNamed,
}

use Clusters::{Both, Own, OwnIfNamed, Real};

/// Runs its arguments inside a cluster, whose kubeconfig is known there only. They take it by a name
/// of their own: other tests must not touch it by chance.
pub(crate) const INSIDE: &str = r#"QUARTERMASTER_E2E_KUBECONFIG=$KUBECONFIG exec "$@""#;

const TARGETS: [Target; 14] = [
    Target { name: "story", clusters: Both, seconds: 40 },
    Target { name: "controller", clusters: Real, seconds: 40 },
    Target { name: "backend", clusters: Both, seconds: 100 },
    Target { name: "replicas", clusters: Both, seconds: 40 },
    Target { name: "rights", clusters: Both, seconds: 40 },
    Target { name: "identity", clusters: Both, seconds: 40 },
    Target { name: "outage", clusters: Both, seconds: 220 },
    Target { name: "same", clusters: Both, seconds: 50 },
    Target { name: "deploy", clusters: Real, seconds: 50 },
    Target { name: "kubectl", clusters: Both, seconds: 50 },
    Target { name: "jupyter", clusters: Both, seconds: 100 },
    Target { name: "browser", clusters: Own, seconds: 40 },
    Target { name: "crash", clusters: Own, seconds: 200 },
    Target { name: "flux_recv", clusters: OwnIfNamed, seconds: 40 },
];

/// Kills in each of the two runs of `crash`, which go on side by side.
const CRASHES: u32 = 100;

/// `cargo xtask e2e`.
pub(crate) fn run_alone(only: &[String], on_real: bool) -> Result<()> {
    let skipped = Skipped::new()?;
    let (suite, tools) = (Suite::build()?, Tools::bring());
    let jobs = match on_real {
        true => real(&suite, only, &tools, &skipped)?,
        false => own(&suite, only, &tools, &skipped)?,
    };
    jobs::run(jobs)?;
    skipped.report()
}

/// The targets that run on a real Kubernetes: `serve` and real containers. Each has a cluster that
/// nobody used before, so what a test leaves behind goes with it.
pub(crate) fn real(
    suite: &Suite,
    only: &[String],
    tools: &Tools,
    skipped: &Skipped,
) -> Result<Vec<Job>> {
    let mut images = Vec::new();
    for which in [Which::Quartermaster, Which::Files, Which::Jupyterlab, Which::Busybox] {
        images.push(image::file(which, false)?);
    }
    let targets = wanted(only)?.filter(|target| matches!(target.clusters, Real | Both));
    let job = |target: &Target| {
        let name = target.name;
        let mut run = on_a_cluster(suite.target(name)?, &images)?;
        prepare(&mut run, name, suite, tools, skipped)?;
        Ok(Job::new(format!("{name} on a real Kubernetes"), target.seconds, run))
    };
    targets.map(job).collect()
}

fn on_a_cluster(program: &Program, images: &[PathBuf]) -> Result<Command> {
    let mut run = Command::new(shell::myself()?);
    // What fails is tried again on a new cluster, not on what it left behind.
    run.arg("twice").arg(shell::myself()?).args(["cluster", "run"]);
    program.settle(&mut run);
    for image in images {
        run.arg("--image").arg(image);
    }
    run.args(["--", "sh", "-c", INSIDE, "sh"]).arg(program.file()).arg("--test-threads=1");
    Ok(run)
}

/// The targets that run on a cluster of our own.
pub(crate) fn own(
    suite: &Suite,
    only: &[String],
    tools: &Tools,
    skipped: &Skipped,
) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for target in wanted(only)?.filter(|target| target.clusters != Real) {
        let names = match target.name {
            "crash" => vec!["crash, one half", "crash, the other half"],
            name => vec![name],
        };
        for name in names {
            // Each test starts large programs: one after the other.
            let mut tests = suite.target(target.name)?.command()?;
            tests.arg("--test-threads=1");
            prepare(&mut tests, target.name, suite, tools, skipped)?;
            jobs.push(Job::new(name, target.seconds, tests));
        }
    }
    Ok(jobs)
}

fn prepare(
    tests: &mut Command,
    target: &str,
    suite: &Suite,
    tools: &Tools,
    skipped: &Skipped,
) -> Result<()> {
    tests.env("QUARTERMASTER_BIN", &suite.binary);
    match target {
        "crash" => tests.env("QUARTERMASTER_CRASHES", CRASHES.to_string()),
        // The receiver of webhooks under load; a dozen in the normal tests.
        "flux_recv" => tests.env("HOOKS_KILLS", "500"),
        _ => tests,
    };
    skipped.pass_on(tests);
    tools.pass_on(target, tests)
}

fn wanted(only: &[String]) -> Result<impl Iterator<Item = &'static Target>> {
    let names = || TARGETS.iter().map(|target| target.name);
    if let Some(unknown) = only.iter().find(|wanted| names().all(|name| name != **wanted)) {
        let all: Vec<_> = names().collect();
        bail!("there is no test target {unknown}; there are: {}", all.join(", "));
    }
    Ok(TARGETS.iter().filter(move |target| match only {
        [] => target.clusters != OwnIfNamed,
        some => some.iter().any(|wanted| wanted == target.name),
    }))
}
