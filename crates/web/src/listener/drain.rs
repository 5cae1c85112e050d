//! Ending well: first nothing new, then a grace for what runs, then the end.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One end for all listeners and tunnels of a process.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    stopping: CancellationToken,
    over: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// A process that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that a stop waits for, and ends when the grace is over.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Resolves when new work is no longer wanted.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Stops: resolves when all tasks have ended, or were ended after `grace`. Says whether all
    /// ended by themselves.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return true;
        }
        tracing::warn!(
            open = self.tasks.len(),
            ?grace,
            "ending connections that outlast the grace"
        );
        self.over.cancel();
        self.tasks.wait().await;
        false
    }
}
