//! Tells targets what is due: one courier per target, a bounded number of attempts at once, at a
//! bounded rate, and patiently while the target is down.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Delivery, Id, Journal, Place, State, now_ms};
use crate::{
    limits::{Bucket, Rate},
    model::Event,
    targets::{Failure, Target, Telling, Wants, told},
};

/// How fast a target is told.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Attempts at once.
    pub concurrency: usize,
    /// Attempts per second.
    pub rate: Rate,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long a target that fails again and again is left alone.
    pub probe: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            concurrency: 4,
            rate: Rate { per_second: 10.0, burst: 10.0 },
            timeout: Duration::from_secs(10),
            probe: Duration::from_secs(30),
        }
    }
}

/// Failures in a row after which a target counts as down.
const DOWN: u32 = 5;
/// How many notifications of one subject are made at once, if the target gathers them.
const TOGETHER: usize = 500;
/// The longest nap: clocks may jump.
const NAP: Duration = Duration::from_secs(30);

/// All couriers.
#[derive(Debug)]
pub struct Couriers {
    journal: Journal,
    running: Vec<(Arc<dyn Target>, CancellationToken)>,
    tasks: TaskTracker,
}

impl Couriers {
    pub(super) fn start(journal: &Journal, targets: Vec<(Arc<dyn Target>, Pace)>) -> Self {
        let mut couriers =
            Self { journal: journal.clone(), running: Vec::new(), tasks: TaskTracker::new() };
        couriers.replace(targets);
        couriers
    }

    /// Tells these targets from now on. Those that were told before go on undisturbed; attempts at
    /// the others end by themselves.
    pub fn replace(&mut self, targets: Vec<(Arc<dyn Target>, Pace)>) {
        let mut before = std::mem::take(&mut self.running);
        for (target, pace) in targets {
            let known = before.iter().position(|(known, _)| Arc::ptr_eq(known, &target));
            let running = match known {
                Some(index) => before.swap_remove(index),
                None => (Arc::clone(&target), self.spawn(target, pace)),
            };
            self.running.push(running);
        }
        before.into_iter().for_each(|(_, stop)| stop.cancel());
    }

    fn spawn(&self, target: Arc<dyn Target>, pace: Pace) -> CancellationToken {
        let stop = CancellationToken::new();
        let courier = Courier {
            journal: self.journal.clone(),
            target,
            pace,
            rate: Bucket::new(pace.rate),
            places: Arc::new(Semaphore::new(pace.concurrency.max(1))),
            trouble: Arc::default(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(courier.run(stop.clone()));
        stop
    }

    /// Ends once the attempts that are running have ended.
    pub async fn stop(self) {
        self.running.into_iter().for_each(|(_, stop)| stop.cancel());
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// How often a target failed in a row, and when it did last.
#[derive(Debug, Default)]
struct Trouble(parking_lot::Mutex<(u32, Option<Instant>)>);

impl Trouble {
    fn note(&self, failed: bool) {
        let mut state = self.0.lock();
        *state = if failed { (state.0.saturating_add(1), Some(Instant::now())) } else { (0, None) };
    }

    /// How long to leave a target alone that counts as down.
    fn pause(&self, probe: Duration) -> Option<Duration> {
        let (count, last) = *self.0.lock();
        let left = probe.checked_sub(last?.elapsed())?;
        (count >= DOWN && !left.is_zero()).then_some(left)
    }

    fn down(&self) -> bool {
        self.0.lock().0 >= DOWN
    }
}

struct Courier {
    journal: Journal,
    target: Arc<dyn Target>,
    pace: Pace,
    rate: Bucket,
    places: Arc<Semaphore>,
    trouble: Arc<Trouble>,
    tasks: TaskTracker,
}

impl Courier {
    async fn run(self, stop: CancellationToken) {
        let wake = self.journal.shared.waker(self.target.name());
        loop {
            let pause = match self.trouble.pause(self.pace.probe) {
                Some(pause) => pause,
                None => self.round(&stop).await,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = wake.notified(), if self.trouble.pause(self.pace.probe).is_none() => {}
                () = tokio::time::sleep(pause.clamp(Duration::from_millis(1), NAP)) => {}
            }
        }
    }

    /// Attempts what is due and says how long until more is.
    async fn round(&self, stop: &CancellationToken) -> Duration {
        let now = now_ms();
        // One more than can run, so that something is left to wait for.
        let limit = if self.trouble.down() { 1 } else { self.pace.concurrency.max(1) * 4 };
        let found = self.journal.store.due(self.target.name(), now, limit, |place| {
            !self.journal.shared.running.lock().contains(&place)
        });
        let (places, next) = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "cannot read the journal");
                return Duration::from_secs(1);
            }
        };
        let full = places.len() == limit;
        for place in places {
            let permit = tokio::select! {
                biased;
                () = stop.cancelled() => return NAP,
                permit = Arc::clone(&self.places).acquire_owned() => permit,
            };
            while let Err(wait) = self.rate.take() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return NAP,
                    () = tokio::time::sleep(wait.clamp(Duration::from_millis(1), NAP)) => {}
                }
            }
            if self.trouble.pause(self.pace.probe).is_some() {
                break;
            }
            if !self.journal.shared.running.lock().insert(place) {
                continue;
            }
            let attempt = attempt(
                self.journal.clone(),
                Arc::clone(&self.target),
                self.pace.timeout,
                Arc::clone(&self.trouble),
                place,
            );
            self.tasks.spawn(async move {
                attempt.await;
                drop(permit);
            });
        }
        match next {
            // The notes of these attempts wake us.
            _ if full => Duration::from_millis(20),
            Some(at) => Duration::from_millis(at.saturating_sub(now).max(1).unsigned_abs()),
            None => NAP,
        }
    }
}

async fn attempt(
    journal: Journal,
    target: Arc<dyn Target>,
    patience: Duration,
    trouble: Arc<Trouble>,
    place: Place,
) {
    let (id, number) = place;
    let delivery = journal.delivery(id).ok().flatten();
    let notification = delivery.as_ref().and_then(|one| one.notifications.get(usize::from(number)));
    if notification.is_some_and(|notification| notification.state != State::Pending) {
        // It was made with others before its turn.
        journal.release(id, number, target.name());
        return;
    }
    let gathers = target.gathers().is_some();
    let subject = notification.map(|notification| &*notification.subject).filter(|_| gathers);
    let others = subject.map(|subject| gather(&journal, &*target, subject, place));
    let (places, more): (Vec<_>, Vec<_>) = others.unwrap_or_default().into_iter().unzip();
    // A request that cannot be read is as good as none.
    let wants = target.wants() != Wants::Nothing;
    let request = wants.then(|| journal.request(id).ok().flatten()).flatten();
    let telling = delivery.as_ref().and_then(|delivery| {
        Some(Telling {
            id: Some(place),
            endpoint: &delivery.endpoint,
            source: &delivery.source,
            delivery_id: delivery.delivery_id.as_deref(),
            event: delivery.events.get(notification?.event)?,
            more: &more,
            request: request.as_ref(),
        })
    });
    let outcome = match telling {
        Some(telling) => {
            let told = told(&*target, telling, patience, &journal.shared.meters).await;
            trouble.note(matches!(told, Err(Failure::TimedOut | Failure::Transient { .. })));
            told
        }
        None => Err(Failure::Permanent("the event is gone".to_owned())),
    };
    if let Err(failure) = &outcome {
        tracing::warn!(delivery = %id, target = target.name(), "notification failed: {failure}");
    }
    for (id, number) in places {
        journal.note(id, number, outcome.clone());
    }
    journal.note(id, number, outcome);
}

/// Claims the notifications of a subject that wait behind one: they are made with it. Each comes
/// with its event.
fn gather(
    journal: &Journal,
    target: &dyn Target,
    subject: &str,
    first: Place,
) -> Vec<(Place, (Id, Event))> {
    let behind = journal.store.behind(target.name(), subject, first, TOGETHER);
    let mut last: Option<Delivery> = None;
    let mut gathered = Vec::new();
    for place in behind.unwrap_or_default() {
        // Those of one delivery follow each other.
        if last.as_ref().is_none_or(|last| last.id != place.0) {
            last = journal.delivery(place.0).ok().flatten();
        }
        let event = last.as_ref().and_then(|delivery| {
            let notification = delivery.notifications.get(usize::from(place.1))?;
            let pending = notification.state == State::Pending;
            delivery.events.get(notification.event).filter(|_| pending).cloned()
        });
        if let Some(event) = event
            && journal.shared.running.lock().insert(place)
        {
            gathered.push((place, (place.0, event)));
        }
    }
    gathered
}
