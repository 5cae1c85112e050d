//! Telling the targets while the sender waits.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::Instant;

use super::Endpoint;
use crate::{
    journal::Id,
    meters::Meters,
    model::{Answer, Event},
    sources::Order,
    targets::{Failure, Target, Telling, told},
};

/// A call that a request leads to: whom to tell of which event, and what it is about.
pub(super) struct Call<'a> {
    pub(super) target: &'a Arc<dyn Target>,
    pub(super) event: usize,
    pub(super) subject: String,
}

/// The calls that a request leads to.
pub(super) fn calls<'a>(endpoint: &'a Endpoint, events: &[Event]) -> Vec<Call<'a>> {
    let mut calls = Vec::new();
    for (index, event) in events.iter().enumerate() {
        for target in &endpoint.targets {
            if let Some(subject) = target.subject(event) {
                calls.push(Call { target, event: index, subject });
            }
        }
    }
    calls
}

/// Tells all targets, once, and says what the sender is told.
pub(super) async fn tell(
    endpoint: &Endpoint,
    events: &[Event],
    calls: &[Call<'_>],
    meters: &Meters,
) -> Answer {
    let told = each(endpoint, events, calls, None, meters, |_| true).await;
    let outcomes = told.into_iter().map(|(_, outcome)| outcome.unwrap_or(Ok(())));
    answer(endpoint, &outcomes.fold(Ok(()), Result::and))
}

/// Makes the calls that are wanted, under one deadline. The outcome of a call that was not made is
/// nothing; one failure may end the rest, as the source has it.
pub(super) async fn each(
    endpoint: &Endpoint,
    events: &[Event],
    calls: &[Call<'_>],
    id: Option<Id>,
    meters: &Meters,
    wanted: impl Fn(usize) -> bool,
) -> Vec<(String, Option<Result<(), Failure>>)> {
    let answers = endpoint.source.answers();
    // Who tells its sender nothing of failures has no reason to stop at one.
    let stops = answers.failed.is_some();
    let deadline = Instant::now() + endpoint.inline_time;
    let mut told = Vec::new();
    let mut together = Vec::new();
    let mut failed = false;
    for (number, Call { target, event: index, .. }) in calls.iter().enumerate() {
        let mut outcome = None;
        if wanted(number) {
            let id = id.zip(u16::try_from(number).ok());
            let call = call(endpoint, target, id, &events[*index], deadline, meters);
            match answers.order {
                Order::Sequence if failed && stops => {}
                Order::Sequence => outcome = Some(call.await),
                Order::Together => together.push(async move { (number, call.await) }),
            }
        }
        failed |= matches!(outcome, Some(Err(_)));
        told.push((target.name().to_owned(), outcome));
    }
    for (number, outcome) in join_all(together).await {
        told[number].1 = Some(outcome);
    }
    told
}

/// What the sender is told of the outcome.
pub(super) fn answer(endpoint: &Endpoint, outcome: &Result<(), Failure>) -> Answer {
    let answers = endpoint.source.answers();
    match outcome {
        Ok(()) => answers.done,
        Err(Failure::TimedOut) => answers.timed_out.unwrap_or(answers.done),
        Err(_) => answers.failed.unwrap_or(answers.done),
    }
}

async fn call(
    endpoint: &Endpoint,
    target: &Arc<dyn Target>,
    id: Option<(Id, u16)>,
    event: &Event,
    deadline: Instant,
    meters: &Meters,
) -> Result<(), Failure> {
    let telling = Telling { id, endpoint: &endpoint.name, source: endpoint.source.name(), event };
    let patience = deadline.saturating_duration_since(Instant::now());
    told(&**target, telling, patience, meters).await.inspect_err(|failure| {
        tracing::warn!(
            endpoint = endpoint.name,
            target = target.name(),
            "{} notification failed: {failure}",
            endpoint.source.name()
        );
    })
}
