//! Telling the targets while the sender waits.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::Instant;

use super::Endpoint;
use crate::{
    journal::Id,
    meters::Meters,
    model::{Answer, Event, Inbound},
    sources::Order,
    targets::{Failure, Request, Target, Telling, Wants, told},
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
            // Who passes the request on does so once, however much happened.
            let again = target.wants() != Wants::Nothing
                && calls.iter().any(|call: &Call<'_>| Arc::ptr_eq(call.target, target));
            if let Some(subject) = target.subject(event).filter(|_| !again) {
                calls.push(Call { target, event: index, subject });
            }
        }
    }
    calls
}

/// What all calls of one request have in common.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// The delivery, if the journal keeps it.
    pub(super) id: Option<Id>,
    /// The sender's name of it.
    pub(super) delivery_id: Option<&'a str>,
    /// Where attempts are counted.
    pub(super) meters: &'a Meters,
    /// The request, if a target needs it.
    pub(super) request: Option<&'a Request>,
}

/// Tells all targets, once, and says what the sender is told.
pub(super) async fn tell(
    endpoint: &Endpoint,
    request: &Inbound<'_>,
    events: &[Event],
    calls: &[Call<'_>],
    meters: &Meters,
    original: Option<&Request>,
) -> Answer {
    let delivery_id = endpoint.source.delivery_id(request);
    let way = Way { id: None, delivery_id: delivery_id.as_deref(), meters, request: original };
    let told = each(endpoint, events, calls, way, |_| true).await;
    let outcomes = told.into_iter().map(|(_, outcome)| outcome.unwrap_or(Ok(())));
    answer(endpoint, &outcomes.fold(Ok(()), Result::and))
}

/// Makes the calls that are wanted, under one deadline. The outcome of a call that was not made is
/// nothing; one failure may end the rest, as the source has it.
pub(super) async fn each(
    endpoint: &Endpoint,
    events: &[Event],
    calls: &[Call<'_>],
    way: Way<'_>,
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
            let id = way.id.zip(u16::try_from(number).ok());
            let call = call(endpoint, target, id, &events[*index], deadline, way);
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
    Way { delivery_id, meters, request, .. }: Way<'_>,
) -> Result<(), Failure> {
    let source = endpoint.source.name();
    let (endpoint_name, more) = (&*endpoint.name, &[]);
    let telling =
        Telling { id, endpoint: endpoint_name, source, delivery_id, event, more, request };
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
