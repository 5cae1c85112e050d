//! A target that is told of some events only.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{Failure, Target, Telling, Wants};
use crate::{decide::filter::Filter, model::Event};

/// See the module.
#[derive(Debug)]
pub struct Filtered {
    target: Arc<dyn Target>,
    filter: Filter,
}

impl Filtered {
    /// The target, told of what passes.
    pub fn new(target: Arc<dyn Target>, filter: Filter) -> Self {
        Self { target, filter }
    }
}

impl Target for Filtered {
    fn name(&self) -> &str {
        self.target.name()
    }

    fn subject(&self, event: &Event) -> Option<String> {
        self.filter.passes(event).then(|| self.target.subject(event)).flatten()
    }

    fn filter(&self) -> Option<&Filter> {
        Some(&self.filter)
    }

    fn coalesces(&self) -> bool {
        self.target.coalesces()
    }

    fn gathers(&self) -> Option<Duration> {
        self.target.gathers()
    }

    fn side_effects(&self) -> bool {
        self.target.side_effects()
    }

    fn wants(&self) -> Wants {
        self.target.wants()
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        self.target.tell(telling)
    }
}
