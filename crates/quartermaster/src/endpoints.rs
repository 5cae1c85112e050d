//! `DIR/run/endpoints.json`: where a running server can be reached. Scripts rely on this file.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use web::local::replace_private;

/// The addresses of a running server and the token that it wants. Only its owner may read it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Endpoints {
    pub(crate) api: String,
    pub(crate) apps: String,
    /// Where webhooks are received, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<String>,
    pub(crate) ops: String,
    /// Only where the cluster is our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kube: Option<String>,
    /// Only where callers are known by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    pub(crate) pid: u32,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("run/endpoints.json")
}

impl Endpoints {
    /// Puts the file in place, whole or not at all, replacing that of an earlier run.
    pub(crate) fn write(&self, data_dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir.join("run"))?;
        let text = serde_json::to_string(self)?;
        replace_private(&path(data_dir), &format!("{text}\n"))
    }

    /// The file of a server that runs now; `None` if there is none.
    pub(crate) fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(path(data_dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let endpoints: Self = serde_json::from_slice(&text)?;
        let alive = Path::new("/proc").join(endpoints.pid.to_string()).exists();
        Ok(alive.then_some(endpoints))
    }

    /// Takes the file away at a clean stop.
    pub(crate) fn remove(data_dir: &Path) {
        if let Err(error) = fs::remove_file(path(data_dir)) {
            tracing::warn!(%error, "run/endpoints.json could not be removed");
        }
    }
}
