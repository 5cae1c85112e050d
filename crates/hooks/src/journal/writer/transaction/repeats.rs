//! The memory of repeats (contract §3.3). It outlives the deliveries: what was made is not made again
//! because its record is gone.

use std::time::Duration;

use redb::{ReadableTable as _, ReadableTableMetadata as _};

use super::{
    super::super::{
        Delivery, Id, Incoming, Kept, State, Wanted, keys, ms,
        store::{Broken, broken},
    },
    MAX_SWEPT, Work,
};
use crate::decide::{
    digest,
    replay::{self, Earlier, Policy, Replay, Verdict},
};

/// For so many bytes of capacity one repeat is remembered.
const BYTES_EACH: u64 = 1024;

/// What repeats of a request are known by.
pub(super) fn repeat(incoming: &Incoming) -> [u8; 32] {
    key(&incoming.endpoint, incoming.delivery_id.as_deref(), &incoming.body_hash)
}

/// The same by its parts; without a name of the sender's the body is its own.
fn key(endpoint: &str, name: Option<&str>, body_hash: &[u8; 32]) -> [u8; 32] {
    keys::repeat(endpoint, name.map_or(&body_hash[..], str::as_bytes), body_hash)
}

/// Whether these are the notifications that a delivery began with: nobody changed who is told of
/// what.
fn leads_to(delivery: &Delivery, wanted: &[Wanted]) -> bool {
    let known = &delivery.notifications;
    let same = |(one, wanted): (&super::Notification, &Wanted)| {
        one.target == wanted.target && one.event == wanted.event
    };
    // Others follow if some were given up and somebody is told of that.
    let mut more = known.iter().skip(wanted.len());
    known.len() >= wanted.len()
        && known.iter().zip(wanted).all(same)
        && more.all(|one| Some(&one.target) == delivery.dead_letter.as_ref())
}

impl Work<'_> {
    /// What becomes of a request that repeats this delivery; nothing if it is one of its own.
    pub(super) fn repeated(&mut self, id: Id, incoming: &Incoming) -> Result<Option<Kept>, Broken> {
        let earlier = self.load(id)?;
        let known = self.judge(id, earlier.as_ref());
        match (replay::verdict(&incoming.replay, Some(known)), earlier) {
            (Verdict::Duplicate, _) => return Ok(Some(Kept::Duplicate(id))),
            (Verdict::Refuse, _) => return Ok(Some(Kept::Refused)),
            (Verdict::Resume, Some(earlier)) if leads_to(&earlier, &incoming.wanted) => {
                return self.resume(earlier, incoming).map(Some);
            }
            (Verdict::Process | Verdict::Resume, Some(mut earlier)) if !earlier.finished() => {
                earlier.repeats = earlier.repeats.saturating_add(1);
                self.save(&earlier)?;
            }
            (Verdict::Process | Verdict::Resume, _) => {}
        }
        Ok(None)
    }

    /// What is known of an earlier delivery. One whose record is gone was made: those that were not
    /// are forgotten with it.
    fn judge(&self, id: Id, earlier: Option<&Delivery>) -> Earlier {
        let age = self.now.saturating_sub(id.received_ms()).max(0);
        Earlier {
            delivered: earlier.is_none_or(|earlier| self.all_made(earlier)),
            age: Duration::from_millis(age.unsigned_abs()),
        }
    }

    fn all_made(&self, delivery: &Delivery) -> bool {
        delivery.notifications.iter().all(|one| self.made(&one.state))
    }

    /// Whether a notification was made, perhaps as another that it was merged into.
    pub(super) fn made(&self, state: &State) -> bool {
        match state {
            State::Delivered => true,
            State::Pending | State::Dead => false,
            State::Merged(into, number) => {
                let parent = into.parse().ok().and_then(|id| self.load(id).ok().flatten());
                parent
                    .and_then(|parent| parent.notifications.into_iter().nth(usize::from(*number)))
                    .is_none_or(|parent| parent.state == State::Delivered)
            }
        }
    }

    /// Whether the sender's name of a delivery is known, with whatever body.
    pub(super) fn is_known(&self, key: [u8; 32]) -> Result<bool, Broken> {
        let mut known = self.repeats.range(keys::same_name(key)).map_err(broken)?;
        Ok(known.next().is_some())
    }

    /// Remembers a delivery as long as a repeat of it may matter.
    pub(super) fn remember(
        &mut self,
        key: [u8; 32],
        id: Id,
        replay: &Replay,
    ) -> Result<(), Broken> {
        let refused = match replay.policy {
            Policy::Reject => replay.retention,
            Policy::Allow | Policy::Suppress => replay.window,
        };
        let until = self.now.saturating_add(ms(refused.max(self.options.keep_dead)));
        self.forget_repeat(key)?;
        self.repeats.insert(key, (id.0, until)).map_err(broken)?;
        self.repeats_until.insert((until, key), ()).map_err(broken)?;
        while self.repeats.len().map_err(broken)? > self.options.capacity / BYTES_EACH {
            let first = self.repeats_until.first().map_err(broken)?.map(|(key, _)| key.value().1);
            let Some(first) = first else { break };
            self.forget_repeat(first)?;
        }
        Ok(())
    }

    fn forget_repeat(&mut self, key: [u8; 32]) -> Result<(), Broken> {
        let known = self.repeats.remove(key).map_err(broken)?.map(|value| value.value());
        if let Some((_, until)) = known {
            self.repeats_until.remove((until, key)).map_err(broken)?;
        }
        Ok(())
    }

    /// Forgets a delivery that was not made, so that a repeat is a new one.
    pub(super) fn forget_unmade(&mut self, delivery: &Delivery) -> Result<(), Broken> {
        let hash = delivery.body_hash.as_ref().and_then(|text| digest::unhex(text.as_bytes()));
        let Some(Ok(hash)) = hash.map(<[u8; 32]>::try_from) else { return Ok(()) };
        let key = key(&delivery.endpoint, delivery.delivery_id.as_deref(), &hash);
        let newest = self.repeats.get(key).map_err(broken)?.map(|value| value.value().0);
        if newest == Some(delivery.id.0) && !self.all_made(delivery) {
            self.forget_repeat(key)?;
        }
        Ok(())
    }

    /// Forgets what no repeat matters of any more.
    pub(super) fn forget_repeats(&mut self) -> Result<(), Broken> {
        let old: Vec<_> = self
            .repeats_until
            .range(..(self.now, [0; 32]))
            .map_err(broken)?
            .take(MAX_SWEPT)
            .filter_map(|entry| entry.ok().map(|(key, _)| key.value().1))
            .collect();
        old.into_iter().try_for_each(|key| self.forget_repeat(key))
    }
}
