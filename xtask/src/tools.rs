//! Programs that some tests need, installed when they are missing and kept outside the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cluster, shell};

/// What the JupyterLab tests run against.
const JUPYTERLAB: &str = "jupyterlab>=4.4,<5";
/// What the served OpenAPI document is tried with.
const SCHEMATHESIS: &str = "schemathesis>=4.32,<5";

/// What tests need beside what cargo builds, or why it is not there.
pub(crate) struct Tools {
    pub(crate) cluster: Result<()>,
    jupyter: Result<PathBuf>,
    schemathesis: Result<PathBuf>,
    chromium: Result<()>,
}

impl Tools {
    /// Brings all of it.
    pub(crate) fn bring() -> Self {
        let (jupyter, schemathesis) = (python("jupyter", JUPYTERLAB), schemathesis());
        Self { cluster: cluster::bring(), jupyter, schemathesis, chromium: chromium() }
    }

    /// Tells a test target where to find what it needs; it says itself what is missing.
    pub(crate) fn pass_on(&self, target: &str, tests: &mut Command) -> Result<()> {
        let wanted = match target {
            "kubectl" => match &self.cluster {
                Ok(()) => {
                    tests.env("QUARTERMASTER_KUBECTL", cluster::testenv()?.join("kubectl"));
                    return Ok(());
                }
                Err(error) => ("kubectl", error),
            },
            "jupyter" => match &self.jupyter {
                Ok(programs) => {
                    tests.env("QUARTERMASTER_JUPYTER", programs);
                    return Ok(());
                }
                Err(error) => ("JupyterLab", error),
            },
            "backend" => match &self.schemathesis {
                Ok(program) => {
                    tests.env("QUARTERMASTER_SCHEMATHESIS", program);
                    return Ok(());
                }
                Err(error) => ("schemathesis", error),
            },
            "browser" => match &self.chromium {
                Ok(()) => return Ok(()),
                Err(error) => ("Chromium", error),
            },
            _ => return Ok(()),
        };
        let (name, error) = wanted;
        shell::say(&format!("{name} cannot be brought: {error:#}"));
        Ok(())
    }
}

/// Where what is built or installed once is kept.
pub(crate) fn cache() -> Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("quartermaster-xtask"))
}

/// The fuzzer of APIs that have an OpenAPI document.
fn schemathesis() -> Result<PathBuf> {
    Ok(python("schemathesis", SCHEMATHESIS)?.join("schemathesis"))
}

/// A virtual environment with one package; gives the directory of its programs.
fn python(name: &str, package: &str) -> Result<PathBuf> {
    let venv = cache()?.join(name);
    let stamp = venv.join("installed");
    let programs = venv.join("bin");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == package) {
        return Ok(programs);
    }
    let _stale = fs::remove_dir_all(&venv);
    let made = shell::run(shell::command("python3").args(["-m", "venv"]).arg(&venv));
    if made.is_err() {
        // Debian keeps the module in a package of its own.
        apt("python3-venv")?;
        shell::run(shell::command("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    let pip = programs.join("pip");
    shell::run(shell::command(pip).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        package,
    ]))?;
    fs::write(&stamp, package)?;
    Ok(programs)
}

/// A Chromium, from PATH or from Debian's packages.
fn chromium() -> Result<()> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    if names.into_iter().any(on_path) {
        return Ok(());
    }
    apt("chromium")
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Installs a Debian package, which only root can do.
pub(crate) fn apt(package: &str) -> Result<()> {
    if !is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!("the Debian package {package} is not installed, and only root could install it");
    }
    // Standard output is for results.
    let quiet = |command: &mut Command| {
        shell::run(command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr()))
    };
    quiet(shell::command("apt-get").args(["update", "-qq"]))?;
    quiet(shell::command("apt-get").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        package,
    ]))
}
