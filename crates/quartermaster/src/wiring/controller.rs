//! The task that makes workspaces run: alone on a cluster of our own, one among replicas elsewhere.

use cluster::lease::{self, Lease, Timing};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workspaces::{Caches, controller};

use super::place::Place;
use crate::settings::Settings;

/// How many workspaces are worked on at a time: they wait for disks of the API's most of the time.
const WORKERS: usize = 16;

/// The task and its end.
pub(super) struct Controller {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Controller {
    /// Starts it, unless it is switched off.
    pub(super) fn start(
        settings: &Settings,
        place: &Place,
        caches: &Caches,
        metrics: controller::Metrics,
    ) -> Option<Self> {
        if !settings.controller {
            return None;
        }
        let stop = CancellationToken::new();
        let (client, caches) = (place.client().clone(), caches.clone());
        let work = move |stop| {
            let options = controller::Options {
                workers: WORKERS,
                connect_secret: true,
                metrics: metrics.clone(),
                ..Default::default()
            };
            controller::run(client.clone(), caches.clone(), options, stop)
        };
        let task = match &settings.lease {
            None => tokio::spawn(work(stop.clone())),
            Some(wanted) => {
                let timing = Timing::of(wanted.duration);
                let namespace = place.namespace(settings);
                let client = place.client();
                let lease = Lease::new(client, namespace, &wanted.name, lease::holder(), timing);
                let stop = stop.clone();
                tokio::spawn(async move { lease.run(stop, work).await })
            }
        };
        Some(Self { task, stop })
    }

    /// Lets it finish what it does, and gives the lease back.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the controller of workspaces broke");
        }
    }
}
