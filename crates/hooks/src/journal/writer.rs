//! The one thread that writes, and what it writes.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use self::transaction::Transaction;
use super::{
    Again, Id, Incoming, Kept, Options, Place, RedeliverError, Shared, Unavailable, now_ms,
    store::{Broken, Store},
};
use crate::targets::Failure;

mod transaction;

/// How much goes into one transaction.
const MAX_BATCH: usize = 2048;
/// How long notes wait for company when nobody waits for them.
const LINGER: Duration = Duration::from_millis(10);
/// How often old records are swept out.
const SWEEP: Duration = Duration::from_secs(30);
/// How often is tried whether a journal that failed works again: who cannot keep events gets none
/// that would show it.
const PROBE: Duration = Duration::from_secs(1);

/// Something to write.
#[derive(Debug)]
pub(super) enum Op {
    Keep(Box<Incoming>, oneshot::Sender<Result<Kept, Unavailable>>),
    Note(Place, Result<(), Failure>),
    Redeliver(Id, Again, oneshot::Sender<Result<(), RedeliverError>>),
    Forget(Id, oneshot::Sender<Result<(), RedeliverError>>),
    Abandon,
    Flush(oneshot::Sender<()>),
}

impl Op {
    fn awaited(&self) -> bool {
        !matches!(self, Self::Note(..) | Self::Abandon)
    }
}

/// The way to the thread. It ends when the last handle is gone and everything is written.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    sender: mpsc::Sender<Op>,
}

impl Writer {
    pub(super) fn start(store: Store, options: Options, shared: Arc<Shared>) -> Self {
        let (sender, receiver) = mpsc::channel();
        let state = Thread {
            store,
            options,
            shared,
            last: Id(0),
            swept: Instant::now(),
            abandoning: false,
        };
        let name = "journal".to_owned();
        if let Err(error) = thread::Builder::new().name(name).spawn(move || state.run(&receiver)) {
            tracing::error!(%error, "cannot start the journal's thread");
        }
        Self { sender }
    }

    /// Hands something over. If the thread is gone, so is the sender of the answer, which tells.
    pub(super) fn send(&self, op: Op) {
        let _ = self.sender.send(op);
    }
}

struct Thread {
    store: Store,
    options: Options,
    shared: Arc<Shared>,
    last: Id,
    swept: Instant,
    /// Whether there is more to give up of targets that are gone.
    abandoning: bool,
}

impl Thread {
    fn run(mut self, receiver: &mpsc::Receiver<Op>) {
        loop {
            let mut batch = match receiver.recv_timeout(self.patience()) {
                Ok(op) => vec![op],
                Err(mpsc::RecvTimeoutError::Timeout) => Vec::new(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let deadline = Instant::now() + LINGER;
            let mut hurry = batch.first().is_none_or(Op::awaited);
            while batch.len() < MAX_BATCH {
                let more = if hurry {
                    receiver.try_recv().ok()
                } else {
                    let left = deadline.saturating_duration_since(Instant::now());
                    receiver.recv_timeout(left).ok()
                };
                match more {
                    Some(op) => {
                        hurry |= op.awaited();
                        batch.push(op);
                    }
                    None => break,
                }
            }
            self.write(batch);
        }
    }

    /// How long nothing is written if nobody asks.
    fn patience(&self) -> Duration {
        match (self.failing(), self.abandoning) {
            (true, _) => PROBE,
            (false, true) => Duration::ZERO,
            (false, false) => SWEEP,
        }
    }

    fn failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    fn write(&mut self, mut batch: Vec<Op>) {
        let outcome = self.commit(&mut batch);
        if let Err(error) = &outcome {
            // Once is enough for those who wait.
            if !batch.is_empty() || !self.failing() {
                tracing::error!(%error, "cannot write the journal");
            }
            self.store.close();
        }
        self.note_health(&batch, outcome.as_ref().ok());
        let mut done = outcome.ok();
        let mut answers = done
            .as_mut()
            .map(|done| std::mem::take(&mut done.answers))
            .unwrap_or_default()
            .into_iter();
        for op in batch {
            match (op, done.is_some().then(|| answers.next()).flatten()) {
                (Op::Keep(_, reply), Some(Answer::Kept(kept))) => {
                    let _ = reply.send(Ok(kept));
                }
                (Op::Keep(_, reply), _) => {
                    let _ = reply.send(Err(Unavailable));
                }
                (
                    Op::Redeliver(_, _, reply) | Op::Forget(_, reply),
                    Some(Answer::Redelivered(done)),
                ) => {
                    let _ = reply.send(done);
                }
                (Op::Redeliver(_, _, reply) | Op::Forget(_, reply), _) => {
                    let _ = reply.send(Err(Unavailable.into()));
                }
                (Op::Abandon, _) => {}
                (Op::Flush(reply), _) => {
                    let _ = reply.send(());
                }
                (Op::Note(place, _), _) => {
                    self.shared.running.lock().remove(&place);
                }
            }
        }
        for target in done.into_iter().flat_map(|done| done.woken) {
            self.shared.waker(&target).notify_one();
        }
    }

    /// Says whether events can be kept: what this batch tells about it, or else whether there is
    /// room again.
    fn note_health(&self, batch: &[Op], done: Option<&Done>) {
        let before = self.failing();
        let failing = match done {
            None => true,
            Some(done) => match stored(batch, done) {
                Some(stored) => !stored,
                None => before && !(done.room && self.store.can_grow()),
            },
        };
        if before && !failing {
            tracing::info!("the journal can keep events again");
        }
        self.shared.failing.store(failing, Ordering::Relaxed);
    }

    fn commit(&mut self, batch: &mut [Op]) -> Result<Done, Broken> {
        if self.store.database().is_err() {
            self.store.reopen().map_err(|error| {
                let error = std::io::Error::other(error.to_string());
                Box::new(redb::Error::Io(error))
            })?;
        }
        let database = self.store.database()?;
        let sweep = self.swept.elapsed() >= SWEEP;
        let mut abandoning = self.abandoning;
        let failing = self.failing();
        if batch.is_empty() && !sweep && !abandoning && !failing {
            return Ok(Done::default());
        }
        let mut claimed = Vec::new();
        let outcome = (|| {
            let write = Transaction::begin(&database)?;
            let mut done = Done::default();
            let mut work = write.work(&self.options, &self.shared, now_ms())?;
            work.last = work.last.max(self.last);
            for op in batch {
                done.answers.push(match op {
                    Op::Keep(incoming, _) => match work.keep(incoming)? {
                        Some(kept) => Answer::Kept(kept),
                        None => Answer::Nothing,
                    },
                    Op::Note(place, outcome) => {
                        work.note(*place, outcome)?;
                        Answer::Nothing
                    }
                    Op::Redeliver(id, again, _) => Answer::Redelivered(work.redeliver(*id, again)?),
                    Op::Forget(id, _) => Answer::Redelivered(work.forget(*id)?),
                    Op::Abandon => {
                        abandoning = true;
                        Answer::Nothing
                    }
                    Op::Flush(_) => Answer::Nothing,
                });
                claimed.append(&mut work.claimed);
            }
            if sweep {
                work.sweep()?;
            }
            if abandoning {
                self.abandoning = work.abandon()?;
            }
            done.room = failing && work.has_room()?;
            self.last = work.last;
            done.woken = work.finish()?;
            write.commit()?;
            Ok(done)
        })();
        if sweep {
            self.swept = Instant::now();
        }
        if outcome.is_err() {
            let mut running = self.shared.running.lock();
            for place in &claimed {
                running.remove(place);
            }
        }
        outcome
    }
}

/// What a transaction brought.
#[derive(Debug, Default)]
struct Done {
    answers: Vec<Answer>,
    woken: Vec<String>,
    /// Whether there is room in a journal that had none.
    room: bool,
}

/// Whether the last request that needed room got it, if any did.
fn stored(batch: &[Op], done: &Done) -> Option<bool> {
    batch.iter().zip(&done.answers).rev().find_map(|(op, answer)| match (op, answer) {
        (Op::Keep(..), Answer::Kept(Kept::Stored(..))) => Some(true),
        (Op::Keep(..), Answer::Nothing) => Some(false),
        _ => None,
    })
}

#[derive(Debug)]
enum Answer {
    Kept(Kept),
    Redelivered(Result<(), RedeliverError>),
    /// Nothing was asked, or there was no room.
    Nothing,
}
