//! Images of the program itself.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::archive::{Image, Layer};
use crate::shell::{self, say};

/// What one program is packed as.
pub(super) struct Packed<'a> {
    /// The file's name, and the last part of the image's.
    pub(super) name: &'a str,
    pub(super) entrypoint: &'a [&'a str],
    pub(super) env: &'a [&'a str],
}

/// The program, what it links, and nothing else but folders for temporary files and a home.
pub(super) fn pack(packed: &Packed<'_>, release: bool) -> Result<PathBuf> {
    let binary = shell::build(release)?;
    let mut layer = Layer::new();
    for folder in ["tmp", "home/user"] {
        layer.directory(folder, 0o1777)?;
    }
    let stripped = stripped(&binary)?;
    layer.file("usr/bin/quartermaster", &stripped, 0o755)?;
    let mut total = fs::metadata(&stripped)?.len();
    for library in libraries(&binary)? {
        total += fs::metadata(&library)?.len();
        let place = library.strip_prefix("/").unwrap_or(&library).to_owned();
        layer.file(place, &library, 0o755)?;
    }
    // For those who run it as somebody; any other number works as well.
    layer.text("etc/passwd", "root:x:0:0::/:\nquartermaster:x:65532:65532::/tmp:\n", 0o644)?;
    layer.text("etc/group", "root:x:0:\nquartermaster:x:65532:\n", 0o644)?;
    let authorities = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if authorities.exists() {
        layer.file("etc/ssl/certs/ca-certificates.crt", authorities, 0o644)?;
    }
    let directory = binary.parent().context("a program is in a folder")?;
    let file = directory.join(format!("{}-image.tar", packed.name));
    let name = format!("docker.io/quartermaster/{}", packed.name);
    let names = [format!("{name}:dev"), format!("{name}:latest")];
    Image { names: &names, entrypoint: packed.entrypoint, env: packed.env, layer }.write(&file)?;
    say(&format!("{name}:dev and :latest: {} MiB", total >> 20));
    Ok(file)
}

/// A copy without symbols, which are most of a debug build. The program itself if that fails.
fn stripped(binary: &Path) -> Result<PathBuf> {
    let copy = binary.with_extension("stripped");
    let strip = shell::output(shell::command("strip").arg("-o").arg(&copy).arg(binary));
    Ok(if strip.is_ok() { copy } else { binary.to_owned() })
}

/// The files that a program is linked to, its loader among them, under the names it looks for.
pub(super) fn libraries(binary: &Path) -> Result<BTreeSet<PathBuf>> {
    let listed = shell::output(shell::command("ldd").arg(binary))?;
    let mut all = BTreeSet::new();
    for line in listed.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("a library is missing on this machine: {line}");
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        let path = path.split(' ').next().unwrap_or_default();
        if path.starts_with('/') {
            all.insert(PathBuf::from(path));
        }
    }
    Ok(all)
}
