//! Builds `testenv/`: once for each state of its sources.

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{
    shell::{self, say},
    tools,
};

/// The module whose version is the version of the cluster.
const KUBERNETES: &str = "k8s.io/kubernetes";

const SOURCES: [&str; 3] = ["go.mod", "go.sum", "main.go"];

/// The version of Kubernetes that `testenv/go.mod` asks for, for example `v1.34.4`.
pub(crate) fn version() -> Result<String> {
    let file = shell::root().join("testenv/go.mod");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let line = text.lines().find_map(|line| {
        line.trim_start().trim_start_matches("require ").strip_prefix(KUBERNETES)?.strip_prefix(' ')
    });
    let version =
        line.with_context(|| format!("{} does not ask for {KUBERNETES}", file.display()))?;
    Ok(version.trim().to_owned())
}

/// The directory with `testenv` and `kubectl`, built if need be.
pub(crate) fn testenv() -> Result<PathBuf> {
    let sources = shell::root().join("testenv");
    let mut hash = Sha256::new();
    for name in SOURCES {
        let file = sources.join(name);
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(&text);
    }
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let programs = tools::cache()?.join("testenv").join(hash).join("bin");
    let program = programs.join("testenv");
    if program.is_file() && programs.join("kubectl").exists() {
        return Ok(programs);
    }
    if !tools::on_path("go") {
        bail!("building testenv/ needs Go 1.25 or newer on PATH (https://go.dev/dl)");
    }
    let version = version()?;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    say(&format!("building Kubernetes {version}: about 5 minutes, once"));
    let begin = Instant::now();
    fs::create_dir_all(&programs)?;
    let unfinished = programs.join(format!("testenv.{}", std::process::id()));
    let stamp = "k8s.io/component-base/version";
    // Without its version kubectl cannot parse what the server says.
    let flags = format!(
        "-s -w -X {stamp}.gitVersion={version} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    );
    let mut go = shell::command("go");
    go.current_dir(&sources).env("CGO_ENABLED", "0").args(["build", "-p", "2", "-trimpath"]);
    go.args(["-ldflags", &flags, "-o"]).arg(&unfinished).arg(".");
    let built = shell::run(&mut go).and_then(|()| Ok(fs::rename(&unfinished, &program)?));
    if built.is_err() {
        let _partly = fs::remove_file(&unfinished);
    }
    built.context("testenv/ cannot be built")?;
    let _older = fs::remove_file(programs.join("kubectl"));
    symlink("testenv", programs.join("kubectl"))?;
    say(&format!("built in {} s", begin.elapsed().as_secs()));
    Ok(programs)
}
