//! Writes events to the log, to see what would be told.

use futures::{FutureExt as _, future::BoxFuture};

use super::{Failure, Target, Telling};
use crate::model::Event;

/// See the module.
#[derive(Debug)]
pub struct Log {
    name: String,
}

impl Log {
    /// The log, called `name`.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

impl Target for Log {
    fn name(&self) -> &str {
        &self.name
    }

    fn subject(&self, event: &Event) -> Option<String> {
        Some(event.event.clone())
    }

    fn coalesces(&self) -> bool {
        false
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            // As JSON, so that no name can forge a line of the log.
            let event = telling.document(Some(&telling.name()));
            tracing::warn!(target: "hooks::events", endpoint = telling.endpoint, "{event}");
            Ok(())
        }
        .boxed()
    }
}
