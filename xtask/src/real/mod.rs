//! `cargo xtask test --real`: the conformance cases on the embedded cluster and on a real one.
//!
//! Each case writes what it saw on either server; [`record`] reads that, [`compare`] finds the
//! differences beyond what the cases assert, and [`report`] writes `docs/conformance.md`. A
//! difference that `differences.json` does not explain is an error, and so is an explanation that
//! explains nothing.

mod compare;
mod record;
mod report;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    cluster,
    shell::{self, say},
};

const REPORT: &str = "docs/conformance.md";
const EXPLANATIONS: &str = "crates/embedded/tests/conformance/differences.json";
const SUITE: [&str; 4] = ["test", "--workspace", "--test", "conformance"];

/// Controllers whose objects would come into the namespace of a case by chance.
const CONTROLLERS: &str = "*,-root-ca-certificate-publisher-controller";

/// Runs the cases that fit a filter on both clusters; without a filter it writes the report.
pub(crate) fn run(filter: &[String]) -> Result<()> {
    let directory = Records::new()?;
    let mut build = shell::cargo();
    shell::run(build.args(SUITE).arg("--no-run"))?;
    cluster::testenv()?;

    let mut embedded = suite(filter);
    embedded.env("QUARTERMASTER_CONFORMANCE_RECORD", directory.of("embedded")?);
    shell::run(&mut embedded).context("the cases fail on the embedded cluster already")?;

    let mut real = shell::command(shell::myself()?);
    real.args(["cluster", "run", "--no-node", "--controllers", CONTROLLERS, "--"]);
    // The path of the kubeconfig is known inside only.
    real.args(["sh", "-c", r#"QUARTERMASTER_CONFORMANCE_KUBECONFIG=$KUBECONFIG exec "$@""#, "sh"]);
    let inside = suite(filter);
    real.arg(inside.get_program()).args(inside.get_args());
    real.env("QUARTERMASTER_CONFORMANCE_RECORD", directory.of("real")?);
    let passed = shell::run(&mut real);

    let explanations = compare::Explanations::read(&shell::root().join(EXPLANATIONS))?;
    let compared = compare::all(
        &record::read(&directory.of("embedded")?)?,
        &record::read(&directory.of("real")?)?,
        &explanations,
    );
    let problems = compare::problems(&compared, filter.is_empty().then_some(&explanations));
    for problem in &problems {
        say(problem);
    }
    passed.context("the cases fail on the real cluster")?;
    if !problems.is_empty() {
        bail!(
            "{} differences between the clusters (explain them in {EXPLANATIONS})",
            problems.len()
        );
    }
    if filter.is_empty() {
        write(&report::text(&cluster::version()?, &compared))?;
    }
    say(&format!("{} cases compared, every difference has its reason", compared.len()));
    Ok(())
}

/// The suite; each case needs a thread with its name, so there are two at least.
fn suite(filter: &[String]) -> Command {
    let mut suite = shell::cargo();
    suite.args(SUITE).args(["--no-fail-fast", "--"]).args(filter).arg("--test-threads=4");
    suite
}

/// The report is committed, so CI only looks whether it is up to date.
fn write(text: &str) -> Result<()> {
    let file = shell::root().join(REPORT);
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if std::env::var("CI").as_deref() == Ok("true") {
        bail!("{REPORT} is out of date, run `cargo xtask test --real`");
    }
    fs::write(&file, text).with_context(|| format!("cannot write {REPORT}"))?;
    say(&format!("wrote {REPORT}"));
    Ok(())
}

/// A folder for the records of this run. `QUARTERMASTER_RECORDS` keeps them.
struct Records {
    directory: PathBuf,
    kept: bool,
}

impl Records {
    fn new() -> Result<Self> {
        let kept = std::env::var_os("QUARTERMASTER_RECORDS");
        let directory = kept.clone().map_or_else(
            || std::env::temp_dir().join(format!("quartermaster-records-{}", std::process::id())),
            |kept: OsString| Path::new(&kept).to_owned(),
        );
        for server in ["embedded", "real"] {
            let _older = fs::remove_dir_all(directory.join(server));
            fs::create_dir_all(directory.join(server))?;
        }
        Ok(Self { directory: std::path::absolute(directory)?, kept: kept.is_some() })
    }

    fn of(&self, server: &str) -> Result<PathBuf> {
        Ok(self.directory.join(server))
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if !self.kept {
            let _left = fs::remove_dir_all(&self.directory);
        }
    }
}
