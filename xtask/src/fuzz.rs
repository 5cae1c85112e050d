//! `cargo xtask fuzz`: libFuzzer changes what strangers send, keeps what reaches code that nothing
//! reached before, and goes on from there, until something panics.
//!
//! `hooks` alone is instrumented, by this program in place of the compiler: dependencies are those
//! of the other tests, and no other compiler is needed.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::shell::{self, say};

/// The package of the fuzz targets; each is a program whose name begins with [`PREFIX`].
const PACKAGE: &str = "hooks-fuzz";
const PREFIX: &str = "fuzz-";
/// The package whose code tells libFuzzer where an input went.
const INSTRUMENTED: &str = "hooks";
/// What makes it do so. Without optimisation an input would take several times as long.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Copt-level=1",
];

/// Says to this program that it is the compiler, as far as cargo knows.
const AS_COMPILER: &str = "QUARTERMASTER_XTASK_AS_COMPILER";
/// Where a target writes the inputs that it begins with.
const SEEDS: &str = "QUARTERMASTER_FUZZ_SEEDS";

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// Only these targets, such as sources or config
    only: Vec<String>,
    /// How long each target is fuzzed; what it finds is kept under the target folder for next time
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this file, which ended the program before
    #[arg(long, conflicts_with = "seconds")]
    input: Option<PathBuf>,
}

/// Whether cargo calls this program as its compiler.
pub(crate) fn is_compiler() -> bool {
    env::var_os(AS_COMPILER).is_some()
}

/// Becomes the compiler that cargo asks for; comes back only with an error.
pub(crate) fn compile() -> Result<()> {
    let mut args = env::args_os().skip(1);
    let mut rustc = Command::new(args.next().context("cargo names no compiler")?);
    rustc.args(args);
    if env::var("CARGO_PKG_NAME").is_ok_and(|name| name == INSTRUMENTED) {
        rustc.args(FLAGS);
    }
    Err(rustc.exec().into())
}

/// `cargo xtask fuzz`.
pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    let all = names()?;
    if let Some(unknown) = fuzz.only.iter().find(|wanted| !all.contains(wanted)) {
        bail!("there is no fuzz target {unknown}; there are: {}", all.join(", "));
    }
    ensure!(fuzz.input.is_none() || fuzz.only.len() == 1, "--input is for one target: name it");
    build(&all)?;
    let mut crashed = Vec::new();
    for name in all.iter().filter(|name| fuzz.only.is_empty() || fuzz.only.contains(name)) {
        if let Err(error) = one(name, fuzz) {
            say(&format!("{name}: {error:#}"));
            crashed.push(name.as_str());
        }
    }
    ensure!(crashed.is_empty(), "failed: {}", crashed.join(", "));
    Ok(())
}

fn names() -> Result<Vec<String>> {
    let mut metadata = shell::cargo();
    metadata.args(["metadata", "--format-version=1", "--no-deps", "--offline"]);
    let metadata: Value = serde_json::from_str(&shell::output(&mut metadata)?)?;
    let mut packages = metadata["packages"].as_array().context("no packages")?.iter();
    let package = packages.find(|one| one["name"] == PACKAGE).context("no fuzz targets")?;
    let targets = package["targets"].as_array().context("no fuzz targets")?.iter();
    let name = |target: &Value| Some(target["name"].as_str()?.strip_prefix(PREFIX)?.to_owned());
    Ok(targets.filter_map(name).collect())
}

/// Builds the targets with the dependencies of the tests, see [`shell::build`].
fn build(names: &[String]) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["build", "--workspace"]);
    for name in names {
        cargo.arg("--bin").arg(format!("{PREFIX}{name}"));
    }
    cargo.env("RUSTC_WORKSPACE_WRAPPER", shell::myself()?).env(AS_COMPILER, "1");
    shell::run(&mut cargo)
}

fn one(name: &str, fuzz: &Fuzz) -> Result<()> {
    let mut fuzzer = shell::command(shell::built("debug")?.join(format!("{PREFIX}{name}")));
    if let Some(input) = &fuzz.input {
        return shell::run(fuzzer.arg(env::current_dir()?.join(input)));
    }
    let place = shell::built("fuzzing")?.join(name);
    let [corpus, seeds, crashes] = ["corpus", "seeds", "crashes"].map(|name| place.join(name));
    // Those of an older program may have another form.
    let _none = fs::remove_dir_all(&seeds);
    for folder in [&corpus, &seeds, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fuzzer.arg(format!("-max_total_time={}", fuzz.seconds));
    fuzzer.arg(format!("-artifact_prefix={}/", crashes.display()));
    // A machine that is busy is no endless loop.
    fuzzer.args(["-timeout=60", "-max_len=16384", "-print_final_stats=1"]);
    // What ended the program before is tried first.
    fuzzer.env(SEEDS, &seeds).arg(corpus).arg(seeds).arg(&crashes);
    let result = shell::run(&mut fuzzer);
    for file in newest(&crashes)?.iter().filter(|_| result.is_err()) {
        let file = file.display();
        say(&format!("the input: {file}\nagain: cargo xtask fuzz {name} --input {file}"));
    }
    result
}

/// The file that was written last.
fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        newest = newest.max(Some((entry.metadata()?.modified()?, entry.path())));
    }
    Ok(newest.map(|(_, file)| file))
}
