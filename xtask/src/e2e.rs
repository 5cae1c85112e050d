//! The tests against real programs: JupyterLab, Chromium, and `kill -9`; and on a real Kubernetes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    cluster,
    image::{self, Which},
    shell::{self, say},
    test::Skipped,
    tools,
};

const TARGETS: [&str; 12] = [
    "story", "replicas", "rights", "identity", "outage", "same", "deploy", "kubectl", "jupyter",
    "browser", "crash", "wire",
];
/// What also runs, or only runs, on a real Kubernetes.
const REAL: [&str; 9] =
    ["story", "replicas", "rights", "identity", "outage", "same", "deploy", "kubectl", "jupyter"];
/// What only runs there.
const ONLY_REAL: [&str; 1] = ["deploy"];
/// What only runs when it is named: the normal tests have a short form of it.
const ONLY_NAMED: [&str; 1] = ["wire"];

/// Tells the tests which `kubectl` to use.
const KUBECTL: &str = "QUARTERMASTER_KUBECTL";

/// `cargo xtask e2e`.
pub(crate) fn run_alone(only: &[String], real: bool) -> Result<()> {
    let skipped = Skipped::new()?;
    if real {
        run_real(only, &skipped)?;
    } else {
        run(only, &skipped)?;
    }
    skipped.report()
}

/// The same tests with `serve` on a real Kubernetes with real containers.
pub(crate) fn run_real(only: &[String], skipped: &Skipped) -> Result<()> {
    let binary = shell::build(false)?;
    let targets: Vec<&str> = wanted(only)?.filter(|name| REAL.contains(name)).collect();
    // Inside there is no network: everything is built before.
    shell::run(tests(&targets).arg("--no-run"))?;
    let mut images = Vec::new();
    for which in [Which::Quartermaster, Which::Files, Which::Jupyterlab, Which::Busybox] {
        images.push(image::file(which, false)?);
    }
    for target in targets {
        say(&format!("{target}, on a real Kubernetes of its own"));
        shell::run(&mut on_a_cluster(target, &binary, &images, skipped)?)?;
    }
    Ok(())
}

/// One test target on a cluster that nobody used before: what a test leaves behind goes with it.
fn on_a_cluster(
    target: &str,
    binary: &Path,
    images: &[PathBuf],
    skipped: &Skipped,
) -> Result<Command> {
    let mut run = Command::new(shell::myself()?);
    run.args(["cluster", "run"]).current_dir(shell::root()).env("QUARTERMASTER_BIN", binary);
    for image in images {
        run.arg("--image").arg(image);
    }
    skipped.pass_on(&mut run);
    run.env(KUBECTL, cluster::testenv()?.join("kubectl"));
    if let Ok(programs) = tools::jupyter() {
        run.env("QUARTERMASTER_JUPYTER", programs);
    }
    // The tests take the cluster by a name of their own: other tests must not touch it by chance.
    let script = "QUARTERMASTER_E2E_KUBECONFIG=$KUBECONFIG exec \"$@\"";
    run.args(["--", "sh", "-c", script, "sh"]);
    let cargo = tests(&[target]);
    run.arg(cargo.get_program()).args(cargo.get_args());
    run.args(["--offline", "--", "--test-threads=1"]);
    Ok(run)
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

fn tests(targets: &[&str]) -> Command {
    let mut tests = shell::cargo();
    tests.args(["test", "--workspace", "--features", "quartermaster-e2e/external"]);
    for target in targets {
        tests.args(["--test", target]);
    }
    tests
}

/// Builds the program, installs what is missing, runs the targets.
pub(crate) fn run(only: &[String], skipped: &Skipped) -> Result<()> {
    let binary = shell::build(false)?;
    let targets: Vec<&str> = wanted(only)?.filter(|name| !ONLY_REAL.contains(name)).collect();
    let wanted = |name: &str| targets.contains(&name);
    let mut tests = tests(&targets);
    tests.env("QUARTERMASTER_BIN", &binary);
    // The receiver of webhooks under load; a dozen in the normal tests.
    tests.env("HOOKS_KILLS", "500");
    skipped.pass_on(&mut tests);
    if wanted("kubectl") {
        match cluster::testenv() {
            Ok(programs) => {
                tests.env(KUBECTL, programs.join("kubectl"));
            }
            Err(error) => say(&format!("kubectl cannot be built: {error:#}")),
        }
    }
    if wanted("jupyter") {
        match tools::jupyter() {
            Ok(programs) => {
                tests.env("QUARTERMASTER_JUPYTER", programs);
            }
            Err(error) => say(&format!("JupyterLab cannot be installed: {error:#}")),
        }
    }
    if wanted("browser")
        && let Err(error) = tools::chromium()
    {
        say(&format!("Chromium cannot be installed: {error:#}"));
    }
    // Each test starts large programs: one after the other.
    shell::run(tests.args(["--", "--test-threads=1"]))?;
    Ok(())
}
