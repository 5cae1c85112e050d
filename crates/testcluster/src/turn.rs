//! One test at a time on a cluster that many share.

use parking_lot::{Condvar, Mutex};

static HOLDER: Mutex<Option<String>> = Mutex::new(None);
static FREE: Condvar = Condvar::new();

/// The cluster is this test's, until it lets go.
pub(crate) struct Turn(());

impl Turn {
    /// Waits for the turn of a test. Each has a thread and a runtime of its own, so waiting holds
    /// nobody up.
    pub(crate) fn take(test: &str) -> Self {
        let mut holder = HOLDER.lock();
        assert!(holder.as_deref() != Some(test), "a test has one cluster at a time");
        FREE.wait_while(&mut holder, |holder| holder.is_some());
        *holder = Some(test.to_owned());
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *HOLDER.lock() = None;
        FREE.notify_one();
    }
}
