//! `cargo xtask test --real`: the conformance cases on the embedded cluster and on a real one, and
//! the product's own tests on a real one.
//!
//! Each case writes what it saw on either server; [`record`] reads that, [`compare`] finds the
//! differences beyond what the cases assert, and [`report`] writes `docs/conformance.md`. A
//! difference that `differences.json` does not explain is an error, and so is an explanation that
//! explains nothing. The product's tests ([`product`]) write down where they run.

mod compare;
mod product;
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
    jobs::{self, Job},
    shell::{self, say},
    suite::{Program, Suite},
};

/// The target with the conformance cases.
pub(crate) const CONFORMANCE: &str = "conformance";
const REPORT: &str = "docs/conformance.md";
const EXPLANATIONS: &str = "crates/embedded/tests/conformance/differences.json";

/// Controllers whose objects would come into the namespace of a case by chance.
const CONTROLLERS: &str = "*,-root-ca-certificate-publisher-controller";

/// Runs the tests that fit a filter on the clusters; without a filter it writes the report.
pub(crate) fn run(filter: &[String]) -> Result<()> {
    let records = Records::new()?;
    let suite = Suite::build()?;
    cluster::bring()?;
    let mut jobs = Vec::new();
    let conformance = suite.target(CONFORMANCE)?;
    if filter.is_empty() || conformance.has(filter)? {
        jobs.extend([
            on_embedded(conformance, filter, &records)?,
            on_real(conformance, filter, &records)?,
        ]);
    }
    jobs.extend(product::jobs(&suite, filter, &records.of("product"))?);
    if jobs.is_empty() {
        bail!("no test that runs on a real cluster fits {}", filter.join(" "));
    }
    let passed = jobs::run(jobs);

    let explanations = compare::Explanations::read(&shell::root().join(EXPLANATIONS))?;
    let compared = compare::all(
        &record::read(&records.of("embedded"))?,
        &record::read(&records.of("real"))?,
        &explanations,
    );
    let problems = compare::problems(&compared, filter.is_empty().then_some(&explanations));
    for problem in &problems {
        say(problem);
    }
    passed?;
    if !problems.is_empty() {
        bail!(
            "{} differences between the clusters (explain them in {EXPLANATIONS})",
            problems.len()
        );
    }
    let product = product::read(&records.of("product"))?;
    if filter.is_empty() {
        write(&report::text(&cluster::version()?, &compared, &product))?;
    }
    say(&format!(
        "{} cases compared, every difference has its reason; {} other tests on a real cluster",
        compared.len(),
        product.iter().filter(|test| test.left_out.is_none()).count(),
    ));
    Ok(())
}

/// Each case needs a thread with its name, so there are two at least.
const THREADS: &str = "--test-threads=4";

fn on_embedded(cases: &Program, filter: &[String], records: &Records) -> Result<Job> {
    let mut run = cases.command()?;
    run.args(filter).arg(THREADS).env(RECORD, records.of("embedded"));
    Ok(Job::new("conformance of the embedded cluster", 15, run))
}

fn on_real(cases: &Program, filter: &[String], records: &Records) -> Result<Job> {
    let script = r#"QUARTERMASTER_CONFORMANCE_KUBECONFIG=$KUBECONFIG exec "$@""#;
    let mut run = inside(cases, CONTROLLERS, script)?;
    run.args(cases.line()?).args(filter).arg(THREADS).env(RECORD, records.of("real"));
    Ok(Job::new("conformance of a real cluster", 50, run))
}

/// Names the folder in which cases write what they see.
const RECORD: &str = "QUARTERMASTER_CONFORMANCE_RECORD";

/// A script on a cluster without a node; its arguments are to follow. The path of the kubeconfig is
/// known inside only.
fn inside(tests: &Program, controllers: &str, script: &str) -> Result<Command> {
    let mut run = shell::command(shell::myself()?);
    tests.settle(&mut run);
    run.args(["cluster", "run", "--no-node", "--controllers", controllers, "--"]);
    run.args(["sh", "-c", script, "sh"]);
    Ok(run)
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
        for server in ["embedded", "real", "product"] {
            let _older = fs::remove_dir_all(directory.join(server));
            fs::create_dir_all(directory.join(server))?;
        }
        Ok(Self { directory: std::path::absolute(directory)?, kept: kept.is_some() })
    }

    fn of(&self, server: &str) -> PathBuf {
        self.directory.join(server)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if !self.kept {
            let _left = fs::remove_dir_all(&self.directory);
        }
    }
}
