//! `cargo xtask image`: images without a container engine.
//!
//! An image here is a docker-archive: a tar of one layer, a configuration and a manifest, which
//! `ctr images import`, `docker load` and `podman load` read.

mod archive;
mod program;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{shell, tools};
use archive::{Image, Layer};
use program::{Packed, libraries, pack};

/// What holds the namespaces of a pod.
pub(crate) const PAUSE: &str = "docker.io/quartermaster/pause:1";
const BUSYBOX: &str = "docker.io/quartermaster/busybox:1";
const JUPYTERLAB: &str = "docker.io/quartermaster/jupyterlab:latest";

const PAUSE_SOURCE: &str = include_str!("pause.c");
const JUPYTERLAB_SCRIPT: &str = include_str!("jupyterlab.sh");
const BUSYBOX_PROGRAM: &str = "/bin/busybox";

const QUARTERMASTER: Packed<'_> = Packed {
    name: "quartermaster",
    entrypoint: &["/usr/bin/quartermaster"],
    // With one heap for each thread a cache of 10,000 workspaces leaves holes of 18 MiB in them, and
    // where large pieces come to share them the first list leaves 5 MiB more.
    env: &[
        "PATH=/usr/bin",
        "HOME=/tmp",
        "TMPDIR=/tmp",
        "MALLOC_ARENA_MAX=2",
        "MALLOC_MMAP_THRESHOLD_=131072",
    ],
};

const FILES: Packed<'_> = Packed {
    name: "files",
    entrypoint: &["/usr/bin/quartermaster", "files"],
    env: &["PATH=/usr/bin", "HOME=/home/user", "QUARTERMASTER_FILES_LISTEN=0.0.0.0:8080"],
};

/// Which image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    /// The program itself
    Quartermaster,
    /// The file browser for a volume, as a workspace
    Files,
    /// A start script for a JupyterLab that hostPath volumes bring, for tests
    Jupyterlab,
    /// A static busybox, for tests
    Busybox,
    /// What holds the namespaces of a pod
    Pause,
}

/// Writes one image and prints its file.
pub(crate) fn run(which: Which, release: bool, output: Option<PathBuf>) -> Result<()> {
    let file = file(which, release)?;
    let file = match output {
        None => file,
        Some(output) => {
            fs::copy(&file, &output)
                .with_context(|| format!("cannot write {}", output.display()))?;
            output
        }
    };
    shell::print(&file.display().to_string());
    Ok(())
}

/// Writes one image and gives its file.
pub(crate) fn file(which: Which, release: bool) -> Result<PathBuf> {
    match which {
        Which::Quartermaster => pack(&QUARTERMASTER, release),
        Which::Files => pack(&FILES, release),
        Which::Jupyterlab => jupyterlab(),
        Which::Busybox => busybox(),
        Which::Pause => pause(),
    }
}

/// The image of [`PAUSE`], made once.
pub(crate) fn pause() -> Result<PathBuf> {
    let (directory, file) = cached("pause")?;
    let source = directory.join("pause.c");
    if file.exists() && fs::read_to_string(&source).is_ok_and(|text| text == PAUSE_SOURCE) {
        return Ok(file);
    }
    let program = directory.join("pause");
    let _stale = fs::remove_file(&file);
    fs::write(&source, PAUSE_SOURCE)?;
    let mut compiler = shell::command("cc");
    compiler.args(["-static", "-Os", "-s", "-o"]).arg(&program).arg(&source);
    shell::output(&mut compiler).context("the pause image needs a C compiler (Debian: gcc)")?;
    let mut layer = Layer::new();
    layer.file("pause", &program, 0o755)?;
    Image { names: &[PAUSE], entrypoint: &["/pause"], env: &[], layer }.write(&file)?;
    Ok(file)
}

/// A shell and small tools.
pub(crate) fn busybox() -> Result<PathBuf> {
    let (_, file) = cached("busybox")?;
    if file.exists() {
        return Ok(file);
    }
    let program = Path::new(BUSYBOX_PROGRAM);
    if !program.exists() {
        tools::apt("busybox-static")?;
    }
    if !is_static(program) {
        bail!("{BUSYBOX_PROGRAM} is not static: install the package busybox-static");
    }
    let applets = shell::output(shell::command(program).arg("--list"))?;
    let mut layer = Layer::new();
    layer.directory("tmp", 0o1777)?;
    layer.file("bin/busybox", program, 0o755)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer.link(&format!("bin/{applet}"), "busybox")?;
    }
    Image { names: &[BUSYBOX], entrypoint: &[], env: &["PATH=/bin"], layer }.write(&file)?;
    Ok(file)
}

/// Whether a program needs no library.
fn is_static(program: &Path) -> bool {
    libraries(program).is_ok_and(|all| all.is_empty())
        || shell::output(shell::command("ldd").arg(program)).is_err()
}

/// The machine's own `/usr` is what it runs; a script and links are all that it brings.
fn jupyterlab() -> Result<PathBuf> {
    let (_, file) = cached("jupyterlab")?;
    let mut layer = Layer::new();
    for folder in ["tmp", "home/jovyan"] {
        layer.directory(folder, 0o1777)?;
    }
    for folder in ["bin", "lib", "lib64", "sbin"] {
        layer.link(folder, &format!("usr/{folder}"))?;
    }
    layer.text("start", JUPYTERLAB_SCRIPT, 0o755)?;
    layer.text("etc/passwd", "root:x:0:0::/:\njovyan:x:1000:100::/home/jovyan:\n", 0o644)?;
    let env = ["PATH=/usr/bin:/usr/sbin", "HOME=/home/jovyan"];
    let names = [JUPYTERLAB];
    Image { names: &names, entrypoint: &["/start"], env: &env, layer }.write(&file)?;
    Ok(file)
}

fn cached(name: &str) -> Result<(PathBuf, PathBuf)> {
    let directory = tools::cache()?.join("images");
    fs::create_dir_all(&directory)?;
    let file = directory.join(format!("{name}.tar"));
    Ok((directory, file))
}
