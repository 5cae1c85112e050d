//! `cargo xtask test`: all tests there are, and an honest list of those that did not run.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{
    cluster, e2e, generate, real,
    shell::{self, say},
};

pub(crate) fn run() -> Result<()> {
    let skipped = Skipped::new()?;
    let mut tests = shell::cargo();
    skipped.pass_on(tests.args(["test", "--workspace"]));
    let testenv = cluster::testenv();
    if testenv.is_ok() {
        tests.env("QUARTERMASTER_TESTENV_BUILT", "1");
    }
    shell::run(&mut tests)?;
    generate::run(true)?;
    match testenv {
        Ok(_) => {
            real::run(&[])?;
            e2e::run_real(&[], &skipped)?;
        }
        Err(error) => {
            skipped.note(&format!("test --real, e2e --real: no real Kubernetes: {error:#}"))?
        }
    }
    e2e::run(&[], &skipped)?;
    skipped.report()
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
