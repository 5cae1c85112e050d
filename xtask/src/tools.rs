//! Programs that some tests need, installed when they are missing and kept outside the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::shell;

/// What the JupyterLab tests run against.
const JUPYTERLAB: &str = "jupyterlab>=4.4,<5";

/// Where what is built or installed once is kept.
pub(crate) fn cache() -> Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("quartermaster-xtask"))
}

/// A virtual environment with JupyterLab; gives the directory of its programs.
pub(crate) fn jupyter() -> Result<PathBuf> {
    let venv = cache()?.join("jupyter");
    let stamp = venv.join("installed");
    let programs = venv.join("bin");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == JUPYTERLAB) {
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
        JUPYTERLAB,
    ]))?;
    fs::write(&stamp, JUPYTERLAB)?;
    Ok(programs)
}

/// A Chromium, from PATH or from Debian's packages.
pub(crate) fn chromium() -> Result<()> {
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
