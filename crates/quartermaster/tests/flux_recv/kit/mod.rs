//! Starting the receiver, talking to it, and what it talks to.

mod client;
mod daemon;
mod server;

pub(crate) use client::{Answer, answer, exchange, github, post, request, signed};
pub(crate) use daemon::{Behaviour, Call, Daemon};
pub(crate) use server::{Server, free_address};

use std::time::{Duration, Instant};

/// The key of the contract's vectors.
pub(crate) const KEY: &str = "correct-horse-battery-staple-01";

/// Waits until something is true, at most for a while.
#[track_caller]
pub(crate) fn wait_for(what: &str, patience: Duration, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !met() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
