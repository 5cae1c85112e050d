//! TLS of a listener from a directory as Secrets of the type `kubernetes.io/tls` are mounted:
//! `tls.crt` and `tls.key`, read again when they change. With `ca.crt` beside them senders are asked for
//! certificates as well.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use web::listener::Tls;

/// How often files are looked at. A change counts once it has lasted from one look to the next.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The files of a listener's TLS.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// Its chain of certificates.
    pub(crate) certificates: PathBuf,
    /// Their key.
    pub(crate) key: PathBuf,
    /// The authorities whose certificates senders may have.
    pub(crate) authorities: Option<PathBuf>,
}

impl Files {
    /// What is in them now.
    pub(crate) fn read(&self) -> Result<Tls, String> {
        match &self.authorities {
            None => Tls::of_files(&self.certificates, &self.key),
            Some(authorities) => Tls::asking(&self.certificates, &self.key, authorities),
        }
    }

    /// Puts what is in them now in the place of what was.
    pub(crate) fn reload(&self, tls: &Tls) -> Result<(), String> {
        tls.reload(&self.certificates, &self.key)
    }

    /// Their names.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        [&self.certificates, &self.key].into_iter().chain(&self.authorities).cloned().collect()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Certificates {
    tls: Tls,
    files: Files,
    print: [u8; 32],
}

impl Certificates {
    /// What is in a directory now.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let authorities = Some(directory.join("ca.crt")).filter(|file| file.exists());
        let [certificates, key] = ["tls.crt", "tls.key"].map(|name| directory.join(name));
        let files = Files { certificates, key, authorities };
        // Before they are read: whoever writes meanwhile is seen afterwards.
        let print = print(&files.all());
        let tls = files.read()?;
        Ok(Self { tls, files, print })
    }

    /// What connections are answered with.
    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Takes what is in the files from now on, until the token is cancelled. What is wrong changes
    /// nothing.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut current = self.print;
        let mut seen = current;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = print(&self.files.all());
            // Two files are not written at once.
            let settled = now == seen;
            seen = now;
            if settled && now != current {
                current = now;
                match self.files.reload(&self.tls) {
                    Ok(()) => tracing::info!("the certificate of the hooks listener is a new one"),
                    Err(problem) => tracing::error!("the old certificate stays: {problem}"),
                }
            }
        }
    }
}

/// A digest of all files: what is missing counts as well, and links are followed, so that a
/// directory that is swapped as a whole is seen.
pub(crate) fn print(files: &[PathBuf]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in files {
        let content = std::fs::read(file).ok();
        digest.update([u8::from(content.is_some())]);
        digest.update(Sha256::digest(content.unwrap_or_default()));
    }
    digest.finalize().into()
}
