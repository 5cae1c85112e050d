//! The docker-archive format.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The files of an image. Owner, group and times are always the same, so is the result.
pub(super) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(super) fn directory(&mut self, place: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, 0);
        Ok(self.0.append_data(&mut header, place, std::io::empty())?)
    }

    pub(super) fn file(&mut self, place: impl AsRef<Path>, from: &Path, mode: u32) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mut header = header(EntryType::Regular, mode, content.len());
        Ok(self.0.append_data(&mut header, place, &*content)?)
    }

    pub(super) fn text(&mut self, place: &str, text: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, text.len());
        Ok(self.0.append_data(&mut header, place, text.as_bytes())?)
    }

    pub(super) fn link(&mut self, place: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        Ok(self.0.append_link(&mut header, place, target)?)
    }
}

/// One image.
pub(super) struct Image<'a, N> {
    /// Complete, with host and tag.
    pub(super) names: &'a [N],
    pub(super) entrypoint: &'a [&'a str],
    pub(super) env: &'a [&'a str],
    pub(super) layer: Layer,
}

impl<N: serde::Serialize> Image<'_, N> {
    /// Writes the archive; a reader sees the old one or the new one, never a part.
    pub(super) fn write(self, file: &Path) -> Result<()> {
        let layer = self.layer.0.into_inner()?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": self.env},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
        });
        let config = config.to_string().into_bytes();
        let config_name = format!("{}.json", digest(&config));
        let manifest: Value =
            json!([{"Config": config_name, "RepoTags": self.names, "Layers": ["layer.tar"]}]);
        let mut archive = Builder::new(Vec::new());
        let manifest = manifest.to_string().into_bytes();
        let parts =
            [(config_name.as_str(), config), ("layer.tar", layer), ("manifest.json", manifest)];
        for (name, content) in parts {
            let mut header = header(EntryType::Regular, 0o644, content.len());
            archive.append_data(&mut header, name, &*content)?;
        }
        let archive = archive.into_inner()?;
        let unfinished = file.with_extension(format!("tar.{}", std::process::id()));
        let written = fs::File::create(&unfinished)
            .and_then(|mut out| out.write_all(&archive))
            .and_then(|()| fs::rename(&unfinished, file));
        written.with_context(|| format!("cannot write {}", file.display()))
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The name that images use for this processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
