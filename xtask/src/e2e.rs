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

const TARGETS: [&str; 14] = [
    "story",
    "controller",
    "backend",
    "replicas",
    "rights",
    "identity",
    "outage",
    "same",
    "deploy",
    "kubectl",
    "jupyter",
    "browser",
    "crash",
    "wire",
];
/// What also runs, or only runs, on a real Kubernetes.
const REAL: [&str; 11] = [
    "story",
    "controller",
    "backend",
    "replicas",
    "rights",
    "identity",
    "outage",
    "same",
    "deploy",
    "kubectl",
    "jupyter",
];
/// What only runs there.
const ONLY_REAL: [&str; 2] = ["controller", "deploy"];
/// What only runs when it is named: the normal tests have a short form of it.
const ONLY_NAMED: [&str; 1] = ["wire"];

/// Kills in each of the two runs of `crash`, which go on side by side.
const CRASHES: u32 = 100;

/// About how long a target takes: what takes long begins early.
fn seconds(target: &str) -> u64 {
    match target {
        "outage" => 220,
        "crash" => 200,
        "backend" | "jupyter" => 100,
        "deploy" | "kubectl" | "same" => 50,
        _ => 40,
    }
}

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
    let targets = wanted(only)?.filter(|target| REAL.contains(target));
    let job = |target| {
        let program = suite.target(target)?;
        let mut run = on_a_cluster(program, &images)?;
        prepare(&mut run, target, suite, tools, skipped)?;
        Ok(Job::new(format!("{target} on a real Kubernetes"), seconds(target), run))
    };
    targets.map(job).collect()
}

fn on_a_cluster(program: &Program, images: &[PathBuf]) -> Result<Command> {
    let mut run = Command::new(shell::myself()?);
    run.args(["cluster", "run"]);
    program.settle(&mut run);
    for image in images {
        run.arg("--image").arg(image);
    }
    // The tests take the cluster by a name of their own: other tests must not touch it by chance.
    let script = "QUARTERMASTER_E2E_KUBECONFIG=$KUBECONFIG exec \"$@\"";
    run.args(["--", "sh", "-c", script, "sh"]).arg(program.file()).arg("--test-threads=1");
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
    for target in wanted(only)?.filter(|target| !ONLY_REAL.contains(target)) {
        let names = match target {
            "crash" => vec!["crash, one half", "crash, the other half"],
            target => vec![target],
        };
        for name in names {
            // Each test starts large programs: one after the other.
            let mut tests = suite.target(target)?.command();
            tests.arg("--test-threads=1");
            prepare(&mut tests, target, suite, tools, skipped)?;
            jobs.push(Job::new(name, seconds(target), tests));
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
        "wire" => tests.env("HOOKS_KILLS", "500"),
        _ => tests,
    };
    skipped.pass_on(tests);
    tools.pass_on(target, tests)
}

fn wanted(only: &[String]) -> Result<impl Iterator<Item = &'static str>> {
    if let Some(unknown) = only.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("there is no test target {unknown}; there are: {}", TARGETS.join(", "));
    }
    let all = only.is_empty();
    Ok(TARGETS.into_iter().filter(move |name| {
        if all { !ONLY_NAMED.contains(name) } else { only.iter().any(|wanted| wanted == name) }
    }))
}
