//! The tests against real programs: JupyterLab, Chromium, and `kill -9`.

use anyhow::{Result, bail};

use crate::{
    shell::{self, say},
    test::Skipped,
    tools,
};

const TARGETS: [&str; 7] = ["story", "replicas", "outage", "same", "jupyter", "browser", "crash"];

/// `cargo xtask e2e`.
pub(crate) fn run_alone(only: &[String]) -> Result<()> {
    let skipped = Skipped::new()?;
    run(only, &skipped)?;
    skipped.report()
}

/// Builds the program, installs what is missing, runs the targets.
pub(crate) fn run(only: &[String], skipped: &Skipped) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("there is no test target {unknown}; there are: {}", TARGETS.join(", "));
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|target| target == name);
    let binary = shell::build(false)?;
    let mut tests = shell::cargo();
    tests.args(["test", "--workspace", "--features", "quartermaster-e2e/external"]);
    tests.env("QUARTERMASTER_BIN", &binary);
    for target in TARGETS.into_iter().filter(|target| wanted(target)) {
        tests.args(["--test", target]);
    }
    skipped.pass_on(&mut tests);
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
