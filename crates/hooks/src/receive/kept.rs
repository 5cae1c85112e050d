//! Telling the targets of what the journal keeps: nothing that was answered with success is lost.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{
    Endpoint, Fate,
    inline::{self, Call, Way},
    reply::Reply,
};
use crate::{
    decide::replay::{Policy, Replay},
    journal::{Id, Incoming, Journal, Kept, Turn, Wanted},
    meters::Meters,
    model::{Answer, Event, Inbound},
    targets::{Failure, Request, Wants},
};

/// The answer when nothing can be kept: never a success that may be untrue.
pub(super) fn unavailable() -> (Reply, Fate) {
    let reply = Reply::retry(503, "cannot store the event now", Duration::from_secs(60));
    (reply, Fate::Rejected("store", "the journal cannot keep it".into()))
}

/// What keeping a request needs.
pub(super) struct Keeper<'a> {
    pub(super) journal: &'a Journal,
    pub(super) endpoint: &'a Endpoint,
    pub(super) request: &'a Inbound<'a>,
    pub(super) meters: &'a Meters,
    pub(super) original: Option<&'a Request>,
}

impl Keeper<'_> {
    /// Keeps everything, then tells the targets: now, or in the background if the sender is
    /// answered `first`.
    pub(super) async fn everything(
        &self,
        events: Vec<Event>,
        calls: &[Call<'_>],
        first: bool,
        replay: Replay,
    ) -> (Reply, Fate) {
        let Self { journal, endpoint, request, original, .. } = *self;
        let wanted = wanted(calls, |_| None);
        // Only who tells the targets itself needs the events afterwards.
        let own = if first { Vec::new() } else { events.clone() };
        let mut incoming = incoming(endpoint, request, events, wanted, replay, !first);
        incoming.request = original.map(Request::to_bytes);
        let told = |id| Fate::Told(Some(id));
        match journal.keep(incoming).await {
            Ok(Kept::Stored(id, _)) if first => (Reply::accepted(id), told(id)),
            Ok(Kept::Stored(id, turns)) => {
                let outcome = self.tell(id, &own, calls, &turns).await;
                (Reply::from(inline::answer(endpoint, &outcome)).naming(id), told(id))
            }
            Ok(Kept::Duplicate(id)) => {
                let reply = if first {
                    Reply::accepted(id)
                } else {
                    Reply::from(endpoint.source.answers().done).naming(id)
                };
                (reply.duplicate(), Fate::Duplicate(Some(id)))
            }
            Ok(Kept::Refused) => {
                (Answer::error(409, "duplicate delivery").into(), Fate::Duplicate(None))
            }
            Ok(Kept::TooMany) => {
                let fate = Fate::Rejected("events", "more notifications than can be kept".into());
                (Answer::error(413, "too many events").into(), fate)
            }
            Err(_) => unavailable(),
        }
    }

    /// Makes the first attempts, and notes how they ended.
    async fn tell(
        &self,
        id: Id,
        events: &[Event],
        calls: &[Call<'_>],
        turns: &[Turn],
    ) -> Result<(), Failure> {
        let turn = |number: usize| turns.get(number).copied().unwrap_or(Turn::Later);
        let delivery_id = named(self.endpoint, self.request);
        let delivery_id = delivery_id.as_deref();
        let way = Way { id: Some(id), delivery_id, meters: self.meters, request: self.original };
        let mine = |number| turn(number) == Turn::Now;
        let told = inline::each(self.endpoint, events, calls, way, mine).await;
        let mut worst = Ok(());
        for (index, (target, outcome)) in told.into_iter().enumerate() {
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            match (outcome, turn(index)) {
                (Some(outcome), _) => {
                    worst = worst.and(outcome.clone());
                    self.journal.note(id, number, outcome);
                }
                (None, Turn::Past) => {}
                // It waits for others, as it should.
                (None, Turn::Later)
                    if calls.get(index).is_some_and(|call| call.target.gathers().is_some()) => {}
                // It waits behind older ones, or its turn did not come.
                (None, turn) => {
                    worst = worst.and(Err(Failure::transient("not tried yet")));
                    if turn == Turn::Now {
                        self.journal.release(id, number, &target);
                    }
                }
            }
        }
        worst
    }
}

/// Tells the targets and keeps what failed.
pub(super) async fn failures(
    keeper: Keeper<'_>,
    events: Vec<Event>,
    calls: &[Call<'_>],
) -> (Reply, Fate) {
    let Keeper { journal, endpoint, request, meters, original } = keeper;
    let delivery_id = named(endpoint, request);
    let way = Way { id: None, delivery_id: delivery_id.as_deref(), meters, request: original };
    let told = inline::each(endpoint, &events, calls, way, |_| true).await;
    let mut worst = Ok(());
    let mut failed = Vec::new();
    for (_, outcome) in told {
        worst = worst.and(outcome.clone().unwrap_or(Ok(())));
        failed.push(outcome.and_then(Result::err));
    }
    let wanted = wanted(calls, |number| failed.get(number).cloned().flatten());
    let wanted: Vec<Wanted> = wanted.into_iter().filter(|wanted| wanted.failed.is_some()).collect();
    let answer = inline::answer(endpoint, &worst);
    if wanted.is_empty() || answer.status >= 300 {
        return (answer.into(), Fate::Told(None));
    }
    let replay = Replay::new(Policy::Allow);
    let mut incoming = incoming(endpoint, request, events, wanted, replay, false);
    incoming.request = original.map(Request::to_bytes);
    match journal.keep(incoming).await {
        Ok(Kept::Stored(id, _)) => (answer.into(), Fate::Told(Some(id))),
        // Nothing repeats anything here, so that it was not kept.
        Ok(_) | Err(_) => unavailable(),
    }
}

/// The sender's name of a delivery.
fn named(endpoint: &Endpoint, request: &Inbound<'_>) -> Option<String> {
    // Long enough for every sender's ids; the body counts as well.
    endpoint.source.delivery_id(request).map(|id| id.chars().take(256).collect())
}

fn incoming(
    endpoint: &Endpoint,
    request: &Inbound<'_>,
    events: Vec<Event>,
    wanted: Vec<Wanted>,
    replay: Replay,
    inline: bool,
) -> Incoming {
    Incoming {
        endpoint: endpoint.name.clone(),
        source: endpoint.source.name().to_owned(),
        delivery_id: named(endpoint, request),
        skipped: skipped(endpoint, &wanted),
        body_hash: Sha256::digest(request.body).into(),
        events,
        wanted,
        replay,
        inline,
        dead_letter: endpoint.dead_letter.clone(),
        request: None,
    }
}

fn wanted(calls: &[Call<'_>], failed: impl Fn(usize) -> Option<Failure>) -> Vec<Wanted> {
    let wanted = calls.iter().enumerate().map(|(number, call)| Wanted {
        target: call.target.name().to_owned(),
        event: call.event,
        subject: call.subject.clone(),
        coalesces: call.target.coalesces(),
        gathers: call.target.gathers(),
        needs_request: call.target.wants() != Wants::Nothing,
        failed: failed(number),
    });
    wanted.collect()
}

/// The targets whose own filters let nothing pass.
fn skipped(endpoint: &Endpoint, wanted: &[Wanted]) -> Vec<String> {
    let filtered = endpoint.targets.iter().filter(|target| target.filter().is_some());
    let left = filtered.filter(|target| wanted.iter().all(|one| one.target != target.name()));
    left.map(|target| target.name().to_owned()).collect()
}
