//! Who is told that something happened. Each kind of target is one small file: what concerns it,
//! how it is told, what its answers mean.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;

use crate::model::Event;

mod flux_v1;
mod http_client;

pub use flux_v1::FluxV1;

/// Why a target was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It did not answer in time.
    TimedOut,
    /// Trying again may help.
    Transient {
        /// What happened, for the log.
        why: String,
        /// When the target wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It does not know us, or not what we name: perhaps a mistake that somebody mends soon.
    Unwelcome(String),
    /// It will never take this.
    Permanent(String),
}

impl Failure {
    /// Trying again may help, at any time.
    pub fn transient(why: impl Into<String>) -> Self {
        Self::Transient { why: why.into(), retry_after: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Transient { why, .. } | Self::Unwelcome(why) | Self::Permanent(why) => {
                f.write_str(why)
            }
        }
    }
}

/// One target.
pub trait Target: Send + Sync + fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// What the notification is about, if the event concerns this target at all. Notifications of
    /// one subject are made in order.
    fn subject(&self, event: &Event) -> Option<String>;

    /// Whether two notifications of one subject say the same, "look again", so that one will do.
    fn coalesces(&self) -> bool;

    /// Tells it once.
    fn tell<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<(), Failure>>;
}
