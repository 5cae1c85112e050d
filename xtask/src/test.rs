//! `cargo xtask test`: all tests there are, and an honest list of those that did not run.

use std::{fs, path::PathBuf, process::Command, thread};

use anyhow::{Result, anyhow, bail};

use crate::{
    e2e,
    jobs::{self, Job},
    real::CONFORMANCE,
    shell::{self, say},
    suite::{self, E2E, Program, Suite},
    tools::Tools,
};

/// Runs all tests, side by side where they wait for others.
pub(crate) fn run() -> Result<()> {
    let skipped = Skipped::new()?;
    // What comes from the network or from another compiler, while ours is busy.
    let others = thread::spawn(Tools::bring);
    let suite = Suite::build()?;
    let tools = others.join().map_err(|_| anyhow!("the tools cannot be brought"))?;

    let mut jobs = vec![doc_tests(), generated()?];
    // Where there is a real cluster the cases run on both, below.
    let elsewhere = |program: &Program| program.target == CONFORMANCE && tools.cluster.is_ok();
    let tests = suite.programs.iter().filter(|tests| tests.package != E2E && !elsewhere(tests));
    for tests in tests {
        jobs.push(unit(tests, &tools, &skipped)?);
    }
    match &tools.cluster {
        Ok(()) => {
            jobs.push(compared()?);
            jobs.extend(e2e::real(&suite, &[], &tools, &skipped)?);
        }
        Err(error) => {
            skipped.note(&format!("test --real, e2e --real: no real Kubernetes: {error:#}"))?
        }
    }
    jobs.extend(e2e::own(&suite, &[], &tools, &skipped)?);
    jobs::run(jobs)?;
    skipped.report()
}

/// The tests of a target, as cargo would run them.
fn unit(program: &Program, tools: &Tools, skipped: &Skipped) -> Result<Job> {
    let mut tests = program.command()?;
    skipped.pass_on(&mut tests);
    if tools.cluster.is_ok() {
        tests.env("QUARTERMASTER_TESTENV_BUILT", "1");
    }
    Ok(Job::new(program.name(), 30, tests))
}

fn doc_tests() -> Job {
    let mut tests = shell::cargo();
    tests.args(["test", "--workspace", "--doc", "--features", suite::FEATURES]);
    Job::new("examples in the documentation", 10, tests)
}

fn generated() -> Result<Job> {
    let mut check = shell::command(shell::myself()?);
    check.args(["generate", "--check"]);
    Ok(Job::new("generated files", 5, check))
}

fn compared() -> Result<Job> {
    let mut compare = shell::command(shell::myself()?);
    compare.args(["test", "--real"]);
    Ok(Job::new("the same tests on both clusters", 800, compare))
}

/// The file in which tests that cannot run say so.
pub(crate) struct Skipped(PathBuf);

impl Skipped {
    /// An empty file of this run.
    pub(crate) fn new() -> Result<Self> {
        let name = format!("quartermaster-skipped-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, "")?;
        Ok(Self(file))
    }

    /// Tells tests about the file.
    pub(crate) fn pass_on(&self, tests: &mut Command) {
        tests.env("QUARTERMASTER_SKIPPED", &self.0);
    }

    /// Adds what did not run.
    pub(crate) fn note(&self, what: &str) -> Result<()> {
        let text = fs::read_to_string(&self.0)?;
        Ok(fs::write(&self.0, format!("{text}{what}\n"))?)
    }

    /// Lists what did not run; with `CI=true` nothing may be missing.
    pub(crate) fn report(&self) -> Result<()> {
        let text = fs::read_to_string(&self.0)?;
        let _kept = fs::remove_file(&self.0);
        if text.is_empty() {
            say("all tests ran, none was skipped");
            return Ok(());
        }
        say(&format!("skipped:\n{text}"));
        if std::env::var("CI").as_deref() == Ok("true") {
            bail!("tests were skipped, and CI=true allows none");
        }
        Ok(())
    }
}
