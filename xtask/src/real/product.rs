//! The product's own tests: those of every package whose tests ask `testcluster` for their cluster.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::inside;
use crate::{jobs::Job, shell, suite::Suite};

/// The tests play the parts of these: they say how far a StatefulSet is, make its pods on nodes that
/// do not exist, and bind claims. One more makes objects in every namespace, and one empties those that
/// end by their names: `testcluster` does that itself and lets the next test have the name at once.
const CONTROLLERS: &str = "*,-statefulset-controller,-persistentvolume-binder-controller,\
                           -pod-garbage-collector-controller,-namespace-controller,\
                           -root-ca-certificate-publisher-controller";

/// Runs the programs one after the other: each uses the whole cluster. A test is told from the others
/// by the name of its thread, so there are two at least.
const SCRIPT: &str = r#"
export QUARTERMASTER_TEST_KUBECONFIG=$KUBECONFIG
for tests; do
  "$QUARTERMASTER_XTASK" twice "$tests" --test-threads=4 $QUARTERMASTER_TEST_FILTER || failed=1
done
exit ${failed:-0}"#;

/// A test and where it ran.
pub(super) struct Tested {
    pub(super) test: String,
    /// Why it runs on the embedded cluster only.
    pub(super) left_out: Option<String>,
}

/// The tests of each package on a cluster of their own.
pub(super) fn jobs(suite: &Suite, filter: &[String], records: &Path) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for mut programs in suite.on_clusters()? {
        if !filter.is_empty() {
            let mut fitting = Vec::new();
            for program in programs {
                if program.has(filter)? {
                    fitting.push(program);
                }
            }
            programs = fitting;
        }
        let Some(first) = programs.first() else { continue };
        let mut run = inside(first, CONTROLLERS, SCRIPT)?;
        run.env("QUARTERMASTER_XTASK", shell::myself()?);
        run.args(programs.iter().map(|program| program.file()));
        run.env("QUARTERMASTER_TEST_FILTER", filter.join(" "));
        run.env("QUARTERMASTER_TEST_RECORD", records);
        jobs.push(Job::new(format!("{} on a real cluster", first.package), 200, run));
    }
    Ok(jobs)
}

/// What the tests wrote down.
pub(super) fn read(records: &Path) -> Result<Vec<Tested>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(records)? {
        let file = entry?.path();
        let test = file.file_name().context("a record has a name")?.to_string_lossy();
        let text = fs::read_to_string(&file)?;
        let left_out = (text != "both").then_some(text);
        all.push(Tested { test: test.replace('.', "::"), left_out });
    }
    all.sort_by(|one, other| one.test.cmp(&other.test));
    Ok(all)
}
