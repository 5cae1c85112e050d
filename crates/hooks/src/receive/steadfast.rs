//! Work that is done to its end although nobody waits for it any more. As long as somebody does, it
//! needs no task of its own: most requests never change the thread.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Why there is no outcome: a defect of ours.
pub(super) type Panic = Box<dyn Any + Send>;

/// See the module.
pub(super) struct Steadfast<T: Send + 'static> {
    /// Nothing once it is done.
    work: Option<BoxFuture<'static, Result<T, Panic>>>,
}

impl<T: Send + 'static> Steadfast<T> {
    /// Work that `tracker` knows of until it is done.
    pub(super) fn new(
        tracker: &TaskTracker,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let work = tracker.track_future(AssertUnwindSafe(work).catch_unwind());
        Self { work: Some(work.boxed()) }
    }
}

impl<T: Send + 'static> Future for Steadfast<T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let outcome = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Steadfast<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_is_done_all_the_same() {
        let (tracker, go) = (TaskTracker::new(), Arc::new(Notify::new()));
        let done = Arc::new(AtomicBool::new(false));
        let (until, finished) = (Arc::clone(&go), Arc::clone(&done));
        let mut work = Steadfast::new(&tracker, async move {
            until.notified().await;
            finished.store(true, Ordering::SeqCst);
        });
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        assert!(!done.load(Ordering::SeqCst));
        go.notify_one();
        tracker.close();
        tracker.wait().await;
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn an_outcome_is_given_once_and_a_panic_is_one() {
        let tracker = TaskTracker::new();
        assert!(matches!(Steadfast::new(&tracker, async { 7 }).await, Ok(7)));
        let broken = Steadfast::new(&tracker, async { panic!("a defect") });
        assert!(broken.await.is_err());
        tracker.close();
        tracker.wait().await;
    }
}
