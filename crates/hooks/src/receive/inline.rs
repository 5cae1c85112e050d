//! Telling the targets while the sender waits.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::Endpoint;
use crate::{
    model::{Answer, Event},
    sources::Order,
    targets::{Failure, Target},
};

/// Tells all targets, once, under one deadline, and says what the sender is told.
pub(super) async fn tell(endpoint: &Endpoint, events: &[Event]) -> Answer {
    let answers = endpoint.source.answers();
    let deadline = Instant::now() + endpoint.inline_time;
    let mut outcome = Ok(());
    let mut calls = Vec::new();
    for event in events {
        for target in endpoint.targets.iter().filter(|target| target.subject(event).is_some()) {
            let call = call(endpoint, target, event, deadline);
            match answers.order {
                Order::Sequence if outcome.is_ok() => outcome = call.await,
                Order::Sequence => {}
                Order::Together => calls.push(call),
            }
        }
    }
    for result in join_all(calls).await {
        outcome = outcome.and(result);
    }
    match outcome {
        Ok(()) => answers.done,
        Err(Failure::TimedOut) => answers.timed_out.unwrap_or(answers.done),
        Err(_) => answers.failed.unwrap_or(answers.done),
    }
}

async fn call(
    endpoint: &Endpoint,
    target: &Arc<dyn Target>,
    event: &Event,
    deadline: Instant,
) -> Result<(), Failure> {
    let told = timeout_at(deadline, target.tell(event)).await.unwrap_or(Err(Failure::TimedOut));
    told.inspect_err(|failure| log(endpoint, &**target, failure))
}

fn log(endpoint: &Endpoint, target: &dyn Target, failure: &Failure) {
    tracing::warn!(
        endpoint = endpoint.name,
        target = target.name(),
        "{} notification failed: {failure}",
        endpoint.source.name()
    );
}
