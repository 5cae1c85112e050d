//! Running other programs from the root of the repository.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A command that starts at the root.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Tells what is about to happen, or what happened.
pub(crate) fn say(text: &str) {
    let _gone = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints what a script reads: a result, not progress.
pub(crate) fn print(text: &str) {
    let _gone = writeln!(std::io::stdout().lock(), "{text}");
}

/// Lets a moment pass between two looks at something that has a deadline.
#[expect(clippy::disallowed_methods, reason = "nothing tells when another program is ready")]
pub(crate) fn moment() {
    std::thread::sleep(std::time::Duration::from_millis(50));
}

/// Runs a command; an error unless it ends well.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(&format!("+ {command:?}"));
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{:?}: {status}", command.get_program());
    }
    Ok(())
}

/// Runs a command and gives what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{:?}: {}: {error}", command.get_program(), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds the program, for tests as `cargo test --workspace` does, and gives its path.
///
/// Which features of a dependency are on depends on what is built together: only with `--workspace`
/// everywhere is each dependency compiled once.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    // What users build has nothing on that only tests want.
    let (what, profile): (&[&str], _) = match release {
        true => (&["--release", "--package", "quartermaster"], "release"),
        false => (&["--workspace", "--bin", "quartermaster"], "debug"),
    };
    run(cargo().arg("build").args(what))?;
    Ok(built(profile)?.join("quartermaster"))
}

/// Where cargo puts what it builds.
pub(crate) fn built(profile: &str) -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"].as_str().context("no target directory")?;
    Ok(Path::new(target).join(profile))
}

/// The path of this program; of its successor, where a build has replaced the file meanwhile.
pub(crate) fn myself() -> Result<PathBuf> {
    let path = std::env::current_exe()?;
    let successor = path.to_str().and_then(|text| text.strip_suffix(" (deleted)"));
    Ok(successor.map(PathBuf::from).unwrap_or(path))
}
