//! One test at a time on a cluster that many share.

use parking_lot::{Condvar, Mutex};

static HOLDER: Mutex<Option<(String, usize)>> = Mutex::new(None);
static FREE: Condvar = Condvar::new();

/// The cluster is this test's; a test may have several.
pub(crate) struct Turn(());

impl Turn {
    /// Waits for the turn of a test, and tells whether it has only now begun. Each test has a thread
    /// and a runtime of its own, so waiting holds nobody up.
    pub(crate) fn take(test: &str) -> (Self, bool) {
        let mut holder = HOLDER.lock();
        FREE.wait_while(&mut holder, |holder| {
            holder.as_ref().is_some_and(|(other, _)| other != test)
        });
        let (_, count) = holder.get_or_insert_with(|| (test.to_owned(), 0));
        *count += 1;
        let first = *count == 1;
        (Self(()), first)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut holder = HOLDER.lock();
        let over = holder.as_mut().is_none_or(|(_, count)| {
            *count -= 1;
            *count == 0
        });
        if over {
            *holder = None;
            FREE.notify_all();
        }
    }
}
