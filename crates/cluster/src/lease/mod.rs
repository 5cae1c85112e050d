//! One leader among replicas, by a `coordination.k8s.io` Lease.
//!
//! Whoever's name is in the Lease leads; the others wait until it was not renewed for its duration.
//! That time is measured by each replica itself from the moment it saw the last renewal, so clocks
//! that disagree do no harm: times of other machines are written for humans and never read. Who
//! cannot renew stops before the others may take over.

mod record;

use std::{future::Future, time::Duration};

use k8s_openapi::api::coordination::v1::Lease as Object;
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::record::Record;
use crate::error;

/// How long a leader stays one without renewing, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Others wait this long after the last renewal that they saw.
    pub duration: Duration,
    /// A leader gives up when it could not renew for this long; shorter than the duration.
    pub give_up: Duration,
    /// Time between two renewals, or two looks.
    pub retry: Duration,
}

impl Timing {
    /// The proportions that Kubernetes' own components use (15 s, 10 s, 2 s).
    pub fn of(duration: Duration) -> Self {
        Self { duration, give_up: duration * 2 / 3, retry: duration * 2 / 15 }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::of(Duration::from_secs(15))
    }
}

/// A Lease and our name in it.
#[derive(Debug, Clone)]
pub struct Lease {
    api: Api<Object>,
    namespace: String,
    name: String,
    holder: String,
    timing: Timing,
}

/// What came of one try to hold the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Try {
    /// It is ours for another duration.
    Held,
    /// It is somebody else's.
    Theirs(String),
    /// Somebody wrote it at the same time; the next look tells who and what.
    Raced,
}

impl Lease {
    /// The lease of that name; `holder` must differ between replicas, see [`holder`].
    pub fn new(
        client: &Client,
        namespace: &str,
        name: &str,
        holder: String,
        timing: Timing,
    ) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            holder,
            timing,
        }
    }

    /// Works whenever the lease is ours, until `shutdown`; then the work is asked to end and the
    /// lease given back, so that another replica goes on at once.
    ///
    /// The token given to `work` asks it to end. When the lease is lost the work is dropped instead:
    /// another replica may have begun.
    pub async fn run<F, W>(&self, shutdown: CancellationToken, work: F)
    where
        F: Fn(CancellationToken) -> W,
        W: Future<Output = ()>,
    {
        let mut record = Record::default();
        let mut told = None;
        while !shutdown.is_cancelled() {
            let asked = Instant::now();
            match self.attempt(&mut record).await {
                // An answer that took too long says nothing about now.
                Ok(Try::Held) if asked.elapsed() < self.timing.give_up => {
                    told = None;
                    tracing::info!(lease = self.name, holder = self.holder, "leading");
                    self.lead(&mut record, asked, &shutdown, &work).await;
                }
                Ok(Try::Held | Try::Raced) => {}
                Ok(Try::Theirs(holder)) => {
                    if told.as_ref() != Some(&holder) {
                        tracing::info!(lease = self.name, leader = holder, "standing by");
                        told = Some(holder);
                    }
                }
                Err(error) => {
                    tracing::warn!(lease = self.name, %error, "the lease cannot be read or taken");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.timing.retry) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Works and renews until the work ends, the lease is lost, or everything ends.
    async fn lead<W: Future<Output = ()>>(
        &self,
        record: &mut Record,
        mut renewed: Instant,
        shutdown: &CancellationToken,
        work: impl Fn(CancellationToken) -> W,
    ) {
        let mut work = std::pin::pin!(work(shutdown.child_token()));
        loop {
            let renewal = async {
                tokio::time::sleep(self.timing.retry).await;
                let asked = Instant::now();
                let left = (renewed + self.timing.give_up).saturating_duration_since(asked);
                (asked, tokio::time::timeout(left, self.attempt(record)).await)
            };
            let (asked, outcome) = tokio::select! {
                () = &mut work => break,
                renewal = renewal => renewal,
            };
            match outcome {
                // Counted from before the request: that is the latest that others can count from.
                Ok(Ok(Try::Held)) => renewed = asked,
                Ok(Ok(Try::Theirs(leader))) => {
                    tracing::error!(lease = self.name, leader, "somebody took the lease: stopping");
                    return;
                }
                Ok(Ok(Try::Raced)) => {
                    tracing::debug!(lease = self.name, "lease written by another")
                }
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "lease not renewed"),
                Err(_) => tracing::warn!(lease = self.name, "lease not renewed in time"),
            }
            if renewed.elapsed() >= self.timing.give_up {
                tracing::error!(lease = self.name, "the lease could not be renewed: stopping");
                return;
            }
        }
        let released = tokio::time::timeout(self.timing.retry, self.release(record)).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!(
                lease = self.name,
                "the lease was not given back: it runs out by itself"
            );
        }
    }

    /// Takes or renews the lease if it may be.
    async fn attempt(&self, record: &mut Record) -> Result<Try, kube::Error> {
        let live = self.api.get_opt(&self.name).await?;
        record.look(live.as_ref(), Instant::now());
        if let Some(holder) = record.held_by_other(&self.holder, Instant::now()) {
            return Ok(Try::Theirs(holder.to_owned()));
        }
        let wanted = record.ours(&self.name, &self.holder, self.timing.duration, live);
        let created = wanted.metadata.resource_version.is_none();
        let params = PostParams::default();
        let written = match created {
            true => self.api.create(&params, &wanted).await,
            false => self.api.replace(&self.name, &params, &wanted).await,
        };
        match written {
            Ok(written) => {
                record.look(Some(&written), Instant::now());
                Ok(Try::Held)
            }
            Err(error) if error::is_conflict(&error) || error::is_already_exists(&error) => {
                Ok(Try::Raced)
            }
            Err(error) => Err(error),
        }
    }

    async fn release(&self, record: &mut Record) -> Result<(), kube::Error> {
        let Some(live) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        record.look(Some(&live), Instant::now());
        if !record.is_held_by(&self.holder) {
            return Ok(());
        }
        let free = record::free(live);
        self.api.replace(&self.name, &PostParams::default(), &free).await?;
        tracing::info!(lease = self.name, namespace = self.namespace, "lease given back");
        Ok(())
    }
}

/// A name that no other replica has: that of the machine or pod, and a random part for two on one
/// machine and for the next life of the same pod.
pub fn holder() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{host}_{random:016x}")
}

#[cfg(test)]
mod tests;
