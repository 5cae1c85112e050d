//! Telling the targets of what the journal keeps: nothing that was answered with success is lost.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{
    Endpoint,
    inline::{self, Call},
    reply::Reply,
};
use crate::{
    decide::replay::{Policy, Replay},
    journal::{Incoming, Journal, Kept, Wanted},
    model::{Answer, Event, Inbound},
    targets::Failure,
};

/// The answer when nothing can be kept: never a success that may be untrue.
pub(super) fn unavailable() -> Reply {
    Reply::retry(503, "cannot store the event now", Duration::from_secs(60))
}

/// Keeps everything, then tells the targets: now, or in the background if the sender is answered
/// `first`.
pub(super) async fn everything(
    journal: &Journal,
    endpoint: &Endpoint,
    request: &Inbound<'_>,
    events: Vec<Event>,
    calls: &[Call<'_>],
    first: bool,
    replay: Replay,
) -> Reply {
    let wanted = wanted(calls, |_| None);
    let incoming = incoming(endpoint, request, events.clone(), wanted, replay, !first);
    let (id, claims) = match journal.keep(incoming).await {
        Ok(Kept::Stored(id, _)) if first => return Reply::accepted(id),
        Ok(Kept::Stored(id, claims)) => (id, claims),
        Ok(Kept::Duplicate(id)) if first => return Reply::accepted(id).duplicate(),
        Ok(Kept::Duplicate(id)) => {
            return Reply::from(endpoint.source.answers().done).naming(id).duplicate();
        }
        Ok(Kept::Refused) => return Answer::error(409, "duplicate delivery").into(),
        Err(_) => return unavailable(),
    };
    let told = inline::each(endpoint, &events, calls, Some(id), |number| {
        claims.get(number) == Some(&true)
    })
    .await;
    let mut worst = Ok(());
    for (index, (target, outcome)) in told.into_iter().enumerate() {
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        match outcome {
            Some(outcome) => {
                worst = worst.and(outcome.clone());
                journal.note(id, number, outcome);
            }
            // It waits behind older ones, or its turn did not come.
            None => {
                worst = worst.and(Err(Failure::transient("not tried yet")));
                journal.release(id, number, &target);
            }
        }
    }
    Reply::from(inline::answer(endpoint, &worst)).naming(id)
}

/// Tells the targets and keeps what failed.
pub(super) async fn failures(
    journal: &Journal,
    endpoint: &Endpoint,
    request: &Inbound<'_>,
    events: Vec<Event>,
    calls: &[Call<'_>],
) -> Reply {
    let told = inline::each(endpoint, &events, calls, None, |_| true).await;
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
        return answer.into();
    }
    let replay = Replay::new(Policy::Allow);
    let incoming = incoming(endpoint, request, events, wanted, replay, false);
    match journal.keep(incoming).await {
        Ok(_) => answer.into(),
        Err(_) => unavailable(),
    }
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
        delivery_id: endpoint.source.delivery_id(request).map(|id| {
            // Long enough for every sender's ids; the body counts as well.
            id.chars().take(256).collect()
        }),
        body_hash: Sha256::digest(request.body).into(),
        events,
        wanted,
        replay,
        inline,
    }
}

fn wanted(calls: &[Call<'_>], failed: impl Fn(usize) -> Option<Failure>) -> Vec<Wanted> {
    let wanted = calls.iter().enumerate().map(|(number, call)| Wanted {
        target: call.target.name().to_owned(),
        event: call.event,
        subject: call.subject.clone(),
        coalesces: call.target.coalesces(),
        failed: failed(number),
    });
    wanted.collect()
}
