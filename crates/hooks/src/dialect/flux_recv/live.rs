//! The configuration in use, and how it is replaced while requests come in: the new one is read in
//! full, and only if all of it is right it takes the place of the old one, at once.

use std::{
    collections::HashSet,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use cluster::client::{Target as Cluster, unasked};
use kube::Client;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use web::listener::Tls;

use super::{
    config::{self, Fixed, Settings},
    load,
};
use crate::{
    certificates::{Files, LOOK, print},
    controller::Place,
    journal::{self, Couriers, Journal, Pace, Seal},
    meters::Meters,
    receive::{Receiver, Table},
    targets::Target,
};

/// A configuration that is right.
pub(super) struct Loaded {
    pub(super) settings: Settings,
    pub(super) table: Table,
    pub(super) targets: Vec<(Arc<dyn Target>, Pace)>,
    /// What payloads are encrypted with.
    pub(super) seal: Option<Arc<Seal>>,
}

/// What the file does not say.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    /// What goes before all paths.
    pub(super) prefix: String,
    /// What is shown before them.
    pub(super) url: String,
    pub(super) cluster: Reach,
}

/// Which cluster targets are in.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Reach {
    /// The one that the environment names.
    Real,
    /// None: nobody is told anything.
    #[default]
    Nowhere,
}

impl Reach {
    /// A client, and the namespace of targets that name none.
    async fn place(self) -> Result<Place, String> {
        let (client, namespace) = match self {
            Self::Real => unasked(&Cluster::Auto)
                .await
                .map_err(|error| format!("targets need a cluster: {error}"))?,
            Self::Nowhere => {
                let config = kube::Config::new(http::Uri::from_static("http://localhost"));
                let client = Client::try_from(config).map_err(|error| error.to_string())?;
                (client, "default".to_owned())
            }
        };
        Ok(Place { client, namespace })
    }
}

/// Reads everything, telling `out` what the original tells; also names the files that count.
pub(super) async fn load(
    file: &Path,
    around: &Around,
    out: &mut (impl Write + Send),
) -> (Result<Loaded, String>, Vec<PathBuf>) {
    let mut files = vec![file.to_path_buf()];
    let loaded = load_all(file, around, out, &mut files, &mut Err).await;
    // The problem may quote the file, and is one line whatever that says.
    (loaded.map_err(|problem| problem.replace(char::is_control, " ")), files)
}

/// The same without a cluster, and `problems` gets all that is wrong with endpoints instead of the
/// first.
pub(super) async fn check(
    file: &Path,
    out: &mut (impl Write + Send),
    problems: &mut Vec<String>,
) -> Result<Loaded, String> {
    let wrong = &mut |problem| {
        problems.push(problem);
        Ok(())
    };
    load_all(file, &Around::default(), out, &mut Vec::new(), wrong).await
}

async fn load_all(
    file: &Path,
    around: &Around,
    out: &mut (impl Write + Send),
    files: &mut Vec<PathBuf>,
    wrong: &mut (impl FnMut(String) -> Result<(), String> + Send),
) -> Result<Loaded, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read config file {file:?}: {error}"))?;
    let (settings, warnings) = config::read(&text)?;
    for warning in warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    let mut table = Table::default();
    let directory = load::directory(file);
    let place = match settings.in_cluster() {
        true => Some(around.cluster.place().await?),
        false => None,
    };
    let mut builder = load::Builder::new(&settings, &directory, files, &around.prefix, place)?;
    let mut names = HashSet::new();
    for (index, entry) in settings.endpoints.iter().enumerate() {
        if let Some(name) = entry.name.as_ref().filter(|name| !names.insert(*name)) {
            wrong(format!("two endpoints have the name \"{name}\""))?;
        }
        let built = builder.endpoint(index, entry);
        built
            .and_then(|built| built.register(&mut table, &around.url, out))
            .or_else(&mut *wrong)?;
    }
    let (targets, seal) = (builder.targets(), builder.seal()?);
    Ok(Loaded { table, targets, settings, seal })
}

/// The journal. A plain file of the original's does not ask for one, so it must not fail for want
/// of a directory.
pub(super) fn open_journal(
    settings: &Settings,
    seal: Option<Arc<Seal>>,
    meters: &Arc<Meters>,
    out: &mut impl Write,
) -> Result<Journal, String> {
    let options = journal::Options { seal, ..settings.journal(meters) };
    let in_memory = journal::Options { directory: None, ..options.clone() };
    let text = |error: journal::OpenError| error.to_string();
    if options.directory.is_none() {
        let _ = writeln!(out, "warning: the store is in memory: it is not durable");
    }
    match Journal::open(options) {
        Err(error) if settings.delivery.is_none() => {
            let _ = writeln!(out, "warning: what fails is kept in memory only: {error}");
            Journal::open(in_memory).map_err(text)
        }
        opened => opened.map_err(text),
    }
}

/// What is replaced when the files change.
pub(super) struct Live {
    pub(super) file: PathBuf,
    pub(super) files: Vec<PathBuf>,
    pub(super) around: Around,
    /// What no other file changes.
    pub(super) fixed: Fixed,
    /// Why the files are not what is in use.
    pub(super) stale: watch::Sender<Option<String>>,
    pub(super) receiver: Arc<Receiver>,
    pub(super) journal: Option<Journal>,
    pub(super) couriers: Option<Couriers>,
    /// The listener's TLS and its files.
    pub(super) tls: Option<Own>,
    /// What the files held when they were read.
    pub(super) print: [u8; 32],
}

/// The listener's TLS and its files.
pub(super) type Own = (Tls, Files);

impl Live {
    /// Follows the files until `stop` turns true, then ends what runs in the background.
    pub(super) async fn follow(mut self, mut stop: watch::Receiver<bool>) -> Self {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut current = self.print;
        let mut seen = current;
        loop {
            let asked = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return self,
                Some(_) = async { hangup.as_mut()?.recv().await } => true,
                _ = ticks.tick() => false,
            };
            let now = print(&watched(&self.files, self.tls.as_ref()));
            let settled = now == seen;
            seen = now;
            if asked || settled && now != current {
                self.reload().await;
                // What was there before it was read: whoever writes meanwhile is seen next time. If
                // other files count now, that is one more look at them.
                current = now;
            }
        }
    }

    async fn reload(&mut self) {
        if let Some((tls, files)) = &self.tls
            && let Err(problem) = files.reload(tls)
        {
            tracing::error!("the old certificate stays: {problem}");
        }
        let mut said = Vec::new();
        let (loaded, files) = load(&self.file, &self.around, &mut said).await;
        self.files = files;
        for line in String::from_utf8_lossy(&said).lines() {
            tracing::info!("{line}");
        }
        let swapped = match loaded {
            Ok(loaded) => self.swap(loaded),
            Err(problem) => Err(problem),
        };
        self.receiver.meters().reloaded.store(swapped.is_ok(), Ordering::Relaxed);
        match &swapped {
            Ok(()) => tracing::info!("the configuration was reloaded"),
            Err(problem) => tracing::error!("the old configuration stays: {problem}"),
        }
        self.stale.send_replace(swapped.err());
    }

    fn swap(&mut self, mut loaded: Loaded) -> Result<(), String> {
        let new = loaded.settings.fixed();
        let changed = self.fixed.changed(new, self.journal.is_some());
        if !changed.is_empty() {
            tracing::warn!("needs a restart: {}", changed.join(", "));
        }
        if self.journal.is_none() && loaded.table.keeps() {
            let meters = self.receiver.meters();
            self.journal = Some(open_journal(
                &loaded.settings,
                loaded.seal.take(),
                meters,
                &mut std::io::sink(),
            )?);
            self.fixed.open_store(new);
        }
        loaded.table.journal = self.journal.clone();
        self.receiver.replace(loaded.table);
        match (&mut self.couriers, &self.journal) {
            (Some(couriers), _) => couriers.replace(loaded.targets),
            (None, Some(journal)) => self.couriers = Some(journal.couriers(loaded.targets)),
            (None, None) => {}
        }
        Ok(())
    }

    /// Ends the attempts that are running and writes everything down.
    pub(super) async fn end(self) {
        if let Some(couriers) = self.couriers {
            couriers.stop().await;
        }
        if let Some(journal) = self.journal {
            journal.flush().await;
        }
    }
}

/// All files that count.
pub(super) fn watched(files: &[PathBuf], tls: Option<&Own>) -> Vec<PathBuf> {
    let own = tls.into_iter().flat_map(|(_, files)| files.all());
    files.iter().cloned().chain(own).collect()
}
