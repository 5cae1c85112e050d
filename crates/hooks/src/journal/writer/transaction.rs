//! One transaction: the rules of the journal, applied to its tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::take,
    time::Duration,
};

use redb::{Database, ReadableTable as _, Table, WriteTransaction};

use super::super::{
    Delivery, Id, Incoming, Kept, Notification, Options, Payloads, Place, Shared, State, Turn,
    Wanted, keys, ms,
    store::{
        Broken, DEAD, DELIVERIES, DONE, DUE, LANES, META, OPEN, PAYLOADS, REPEATS, REPEATS_UNTIL,
        WAITING, broken,
    },
};
use crate::{
    decide::{
        digest::hex,
        retry::{self, Next},
    },
    targets::Failure,
};

mod again;
mod payloads;
mod repeats;
#[cfg(test)]
mod tests;

use repeats::repeat;

/// How many records one sweep removes; the next one goes on.
const MAX_SWEPT: usize = 5000;
/// The most notifications of one request. Each has a number of two bytes, and so has what is told of
/// it if it is given up.
const MOST: usize = 32 * 1024;

/// An open write transaction.
pub(super) struct Transaction(WriteTransaction);

impl Transaction {
    pub(super) fn begin(database: &Database) -> Result<Self, Broken> {
        database.begin_write().map(Self).map_err(broken)
    }

    pub(super) fn work<'a>(
        &'a self,
        options: &'a Options,
        shared: &'a Shared,
        now: i64,
    ) -> Result<Work<'a>, Broken> {
        let open = |error: redb::TableError| broken(error);
        let deliveries = self.0.open_table(DELIVERIES).map_err(open)?;
        let last = deliveries.last().map_err(broken)?.map_or(0, |(id, _)| id.value());
        let meta = self.0.open_table(META).map_err(open)?;
        let number = |name: &str| {
            let value = meta.get(name).map_err(broken)?;
            Ok::<_, Broken>(value.map_or(0, |value| value.value()))
        };
        let (bytes, payload_bytes) = (number("bytes")?, number("payloads")?);
        Ok(Work {
            last: Id(last),
            claimed: Vec::new(),
            woken: BTreeSet::new(),
            options,
            shared,
            now,
            bytes,
            payload_bytes,
            waiting: BTreeMap::new(),
            deliveries,
            payloads: self.0.open_table(PAYLOADS).map_err(open)?,
            open: self.0.open_table(OPEN).map_err(open)?,
            dead: self.0.open_table(DEAD).map_err(open)?,
            meta,
            due: self.0.open_table(DUE).map_err(open)?,
            lanes: self.0.open_table(LANES).map_err(open)?,
            done: self.0.open_table(DONE).map_err(open)?,
            repeats: self.0.open_table(REPEATS).map_err(open)?,
            repeats_until: self.0.open_table(REPEATS_UNTIL).map_err(open)?,
        })
    }

    /// Returns when everything is on disk.
    pub(super) fn commit(self) -> Result<(), Broken> {
        self.0.commit().map_err(broken)
    }
}

/// The tables of an open transaction.
pub(super) struct Work<'a> {
    pub(super) last: Id,
    /// Notifications that were promised to callers.
    pub(super) claimed: Vec<Place>,
    woken: BTreeSet<String>,
    options: &'a Options,
    shared: &'a Shared,
    now: i64,
    bytes: u64,
    /// Of these, of requests.
    payload_bytes: u64,
    /// How many more notifications of each target wait than before.
    waiting: BTreeMap<String, i64>,
    payloads: Table<'a, u128, &'static [u8]>,
    open: Table<'a, u128, ()>,
    dead: Table<'a, u128, ()>,
    deliveries: Table<'a, u128, &'static [u8]>,
    due: Table<'a, &'static [u8], ()>,
    lanes: Table<'a, &'static [u8], ()>,
    done: Table<'a, (i64, u128), ()>,
    repeats: Table<'a, [u8; 32], (u128, i64)>,
    repeats_until: Table<'a, (i64, [u8; 32]), ()>,
    meta: Table<'a, &'static str, u64>,
}

impl Work<'_> {
    /// Keeps a request, unless it repeats another; nothing when there is no room.
    /// What is kept is taken out of it.
    pub(super) fn keep(&mut self, incoming: &mut Incoming) -> Result<Option<Kept>, Broken> {
        if incoming.wanted.len() > MOST {
            return Ok(Some(Kept::TooMany));
        }
        let key = repeat(incoming);
        let before = self.repeats.get(key).map_err(broken)?.map(|value| Id(value.value().0));
        if let Some(before) = before
            && let Some(kept) = self.repeated(before, incoming)?
        {
            return Ok(Some(kept));
        }
        if !self.has_room()? {
            return Ok(None);
        }
        let chance = getrandom::u64().unwrap_or_default();
        let id = Id::after(self.last, self.now, u128::from(chance) << 64);
        self.last = id;
        let mut delivery = Delivery {
            id,
            endpoint: take(&mut incoming.endpoint),
            source: take(&mut incoming.source),
            delivery_id: incoming.delivery_id.take(),
            body_hash: Some(hex(&incoming.body_hash)),
            id_reused: before.is_none() && self.is_known(key)?,
            repeats: 0,
            events: take(&mut incoming.events),
            sealed: None,
            skipped: take(&mut incoming.skipped),
            dead_letter: incoming.dead_letter.take(),
            notifications: Vec::new(),
        };
        if let Some(seal) = &self.shared.seal {
            let Some(closed) = delivery.close(seal) else {
                tracing::error!("an event cannot be encrypted, so it is not kept");
                return Ok(None);
            };
            delivery = closed;
        }
        let mut turns = Vec::new();
        for (number, wanted) in incoming.wanted.iter().enumerate() {
            let place = (id, u16::try_from(number).unwrap_or(u16::MAX));
            let (notification, claimed) = self.place(place, wanted, incoming.inline)?;
            delivery.notifications.push(notification);
            turns.push(if claimed { Turn::Now } else { Turn::Later });
        }
        for index in 0..turns.len() {
            self.bury(&mut delivery, index)?;
        }
        self.keep_payload(id, incoming)?;
        if delivery.finished() {
            self.finished(&delivery)?;
        } else {
            self.open.insert(id.0, ()).map_err(broken)?;
        }
        self.save(&delivery)?;
        self.remember(key, id, &incoming.replay)?;
        Ok(Some(Kept::Stored(id, turns)))
    }

    /// Finds a new notification its place: merged, behind others, or due. Says whether the caller
    /// attempts it.
    fn place(
        &mut self,
        place: Place,
        wanted: &Wanted,
        inline: bool,
    ) -> Result<(Notification, bool), Broken> {
        let mut notification = Notification {
            target: wanted.target.clone(),
            event: wanted.event,
            subject: wanted.subject.clone(),
            needs_request: wanted.needs_request,
            state: State::Pending,
            attempts: 0,
            due: None,
            not_before: wanted.gathers.map(|wait| self.now.saturating_add(ms(wait))),
            last_error: None,
            history: Vec::new(),
            merged: 0,
            merged_ids: Vec::new(),
        };
        let lane = keys::lane(&wanted.target, &wanted.subject);
        let older = self.lane(&lane)?;
        if wanted.coalesces && !inline {
            let waiting = {
                let running = self.shared.running.lock();
                older.iter().find(|older| !running.contains(older)).copied()
            };
            if let Some(parent) = waiting
                && let Some(mut into) = self.load(parent.0)?
                && let Some(known) = into.notifications.get_mut(usize::from(parent.1))
            {
                known.absorb(place.0);
                self.save(&into)?;
                notification.state = State::Merged(parent.0.to_string(), parent.1);
                return Ok((notification, false));
            }
        }
        self.enter_lane(&lane, place, &wanted.target)?;
        let gathers = wanted.gathers.is_some();
        let claimed = inline && !gathers && (older.is_empty() || wanted.coalesces);
        if claimed {
            self.shared.running.lock().insert(place);
            self.claimed.push(place);
        }
        if let Some(failure) = &wanted.failed {
            self.fail(place, &mut notification, failure)?;
        } else if claimed || older.is_empty() {
            let at = notification.not_before.unwrap_or(self.now);
            self.schedule(place, &mut notification, at)?;
        }
        Ok((notification, claimed))
    }

    /// The outcome of an attempt.
    pub(super) fn note(
        &mut self,
        place: Place,
        outcome: &Result<(), Failure>,
    ) -> Result<(), Broken> {
        let Some(mut delivery) = self.load(place.0)? else { return Ok(()) };
        let index = usize::from(place.1);
        let Some(mut notification) = delivery.notifications.get(index).cloned() else {
            return Ok(());
        };
        if notification.state != State::Pending {
            return Ok(());
        }
        self.unschedule(place, &mut notification)?;
        match outcome {
            Ok(()) => {
                notification.attempted(self.now, None);
                notification.state = State::Delivered;
                self.leave_lane(place, &notification)?;
            }
            Err(failure) => self.fail(place, &mut notification, failure)?,
        }
        delivery.notifications[index] = notification;
        self.bury(&mut delivery, index)?;
        if delivery.finished() {
            self.finished(&delivery)?;
        }
        self.save(&delivery)
    }

    /// Has somebody told of a notification that was given up, if that is wanted.
    fn bury(&mut self, delivery: &mut Delivery, index: usize) -> Result<(), Broken> {
        let (Some(target), Some(dead)) =
            (delivery.dead_letter.clone(), delivery.notifications.get(index))
        else {
            return Ok(());
        };
        let gone = self.shared.gone.lock().contains(&dead.target);
        if dead.state != State::Dead || dead.target == target || gone {
            return Ok(());
        }
        let Ok(number) = u16::try_from(delivery.notifications.len()) else { return Ok(()) };
        let wanted = Wanted {
            target,
            event: dead.event,
            subject: dead.subject.clone(),
            coalesces: false,
            gathers: None,
            needs_request: false,
            failed: None,
        };
        let (notification, _) = self.place((delivery.id, number), &wanted, false)?;
        delivery.notifications.push(notification);
        Ok(())
    }

    /// Notes when a delivery finished; what is dead counts as if it had later, so that it stays
    /// longer.
    fn finished(&mut self, delivery: &Delivery) -> Result<(), Broken> {
        let Options { keep_dead, keep_done, .. } = self.options;
        let longer =
            if delivery.dead() { keep_dead.saturating_sub(*keep_done) } else { Duration::ZERO };
        if delivery.dead() {
            self.dead.insert(delivery.id.0, ()).map_err(broken)?;
        }
        self.open.remove(delivery.id.0).map_err(broken)?;
        if !delivery.dead() && self.options.payloads != Payloads::Always {
            self.drop_payload(delivery.id)?;
        }
        let at = self.now.saturating_add(ms(longer));
        self.done.insert((at, delivery.id.0), ()).map(drop).map_err(broken)
    }

    fn fail(
        &mut self,
        place: Place,
        notification: &mut Notification,
        failure: &Failure,
    ) -> Result<(), Broken> {
        notification.attempted(self.now, Some(failure.to_string()));
        let gone = self.shared.gone.lock().contains(&notification.target);
        let luck = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        match retry::after(failure, notification.attempts, &self.options.steps, luck) {
            Next::Retry(pause) if !gone => {
                let at = self.now.saturating_add(ms(pause));
                if notification.not_before.is_some() {
                    // It failed with others, and is made again with the first of them.
                    notification.not_before = Some(at);
                    let lane = keys::lane(&notification.target, &notification.subject);
                    if self.lane(&lane)?.first() != Some(&place) {
                        return Ok(());
                    }
                }
                self.schedule(place, notification, at)
            }
            Next::Retry(_) | Next::Dead => {
                if !gone {
                    tracing::error!(
                        delivery = %place.0,
                        target = notification.target,
                        attempts = notification.attempts,
                        "a notification is given up: {failure}"
                    );
                }
                notification.state = State::Dead;
                self.leave_lane(place, notification)
            }
        }
    }

    /// Removes what is old: finished deliveries, and the memory of repeats.
    pub(super) fn sweep(&mut self) -> Result<(), Broken> {
        let done_before = self.now.saturating_sub(ms(self.options.keep_done));
        self.remove_done(done_before, 0)?;
        self.sweep_payloads()?;
        self.forget_repeats()
    }

    /// Whether one more request can be kept, perhaps in the place of old ones.
    pub(super) fn has_room(&mut self) -> Result<bool, Broken> {
        Ok(self.bytes < self.options.capacity || self.make_room()?)
    }

    /// Removes the oldest finished deliveries until a tenth is free.
    fn make_room(&mut self) -> Result<bool, Broken> {
        let enough = self.options.capacity / 10 * 9;
        while self.bytes > enough {
            if self.remove_done(i64::MAX, enough)? == 0 {
                break;
            }
        }
        Ok(self.bytes < self.options.capacity)
    }

    /// Removes deliveries that finished before a time, oldest first, until so few bytes are left.
    fn remove_done(&mut self, before: i64, enough: u64) -> Result<usize, Broken> {
        let old: Vec<(i64, u128)> = self
            .done
            .range(..(before, 0))
            .map_err(broken)?
            .take(MAX_SWEPT)
            .filter_map(|entry| entry.ok().map(|(key, _)| key.value()))
            .collect();
        let mut removed = 0;
        for key in old {
            if self.bytes <= enough {
                break;
            }
            removed += 1;
            self.done.remove(key).map_err(broken)?;
            // One that is being made again is not old; it comes back when it finishes.
            if self.load(Id(key.1))?.is_some_and(|delivery| delivery.finished()) {
                self.remove(Id(key.1))?;
            }
        }
        Ok(removed)
    }

    /// Removes a delivery.
    fn remove(&mut self, id: Id) -> Result<(), Broken> {
        self.dead.remove(id.0).map_err(broken)?;
        self.drop_payload(id)?;
        if let Some(delivery) = self.load(id)? {
            self.forget_unmade(&delivery)?;
        }
        let gone = self.deliveries.remove(id.0).map_err(broken)?;
        let size = gone.map_or(0, |bytes| bytes.value().len());
        self.bytes = self.bytes.saturating_sub(u64::try_from(size).unwrap_or(0));
        Ok(())
    }

    /// Writes the numbers down, and says whose couriers have work.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Broken> {
        self.meta.insert("bytes", self.bytes).map_err(broken)?;
        self.meta.insert("payloads", self.payload_bytes).map_err(broken)?;
        for (target, more) in take(&mut self.waiting) {
            let name = format!("{WAITING}{target}");
            let before = self.meta.get(&*name).map_err(broken)?.map_or(0, |count| count.value());
            match before.saturating_add_signed(more) {
                0 => drop(self.meta.remove(&*name).map_err(broken)?),
                count => drop(self.meta.insert(&*name, count).map_err(broken)?),
            }
        }
        Ok(self.woken.into_iter().collect())
    }

    fn lane(&self, lane: &[u8]) -> Result<Vec<Place>, Broken> {
        let mut places = Vec::new();
        // Two are enough to know: the one that may be running and the one behind it.
        for entry in self.lanes.range::<&[u8]>(lane..).map_err(broken)?.take(2) {
            let (key, _) = entry.map_err(broken)?;
            let Some(place) =
                key.value().strip_prefix(lane).and_then(|_| keys::read_place(key.value()))
            else {
                break;
            };
            places.push(place);
        }
        Ok(places)
    }

    fn enter_lane(&mut self, lane: &[u8], place: Place, target: &str) -> Result<(), Broken> {
        self.lanes.insert(&*keys::in_lane(lane, place), ()).map_err(broken)?;
        self.count(target, 1);
        Ok(())
    }

    fn count(&mut self, target: &str, more: i64) {
        match self.waiting.get_mut(target) {
            Some(count) => *count += more,
            None => drop(self.waiting.insert(target.to_owned(), more)),
        }
    }

    fn leave_lane(&mut self, place: Place, notification: &Notification) -> Result<(), Broken> {
        let lane = keys::lane(&notification.target, &notification.subject);
        self.lanes.remove(&*keys::in_lane(&lane, place)).map_err(broken)?;
        self.count(&notification.target, -1);
        // The next of the subject may go now, unless it may already.
        let Some(&next) = self.lane(&lane)?.first() else { return Ok(()) };
        let Some(mut delivery) = self.load(next.0)? else { return Ok(()) };
        let Some(mut waiting) = delivery.notifications.get(usize::from(next.1)).cloned() else {
            return Ok(());
        };
        if waiting.due.is_none() {
            let at = waiting.not_before.map_or(self.now, |at| at.max(self.now));
            self.schedule(next, &mut waiting, at)?;
            delivery.notifications[usize::from(next.1)] = waiting;
            self.save(&delivery)?;
        }
        Ok(())
    }

    fn schedule(
        &mut self,
        place: Place,
        notification: &mut Notification,
        at: i64,
    ) -> Result<(), Broken> {
        self.due.insert(&*keys::due(&notification.target, at, place), ()).map_err(broken)?;
        notification.due = Some(at);
        self.woken.insert(notification.target.clone());
        Ok(())
    }

    fn unschedule(&mut self, place: Place, notification: &mut Notification) -> Result<(), Broken> {
        if let Some(at) = notification.due.take() {
            self.due.remove(&*keys::due(&notification.target, at, place)).map_err(broken)?;
        }
        Ok(())
    }

    fn load(&self, id: Id) -> Result<Option<Delivery>, Broken> {
        let bytes = self.deliveries.get(id.0).map_err(broken)?;
        Ok(bytes.and_then(|bytes| Delivery::from_bytes(id, bytes.value())))
    }

    fn save(&mut self, delivery: &Delivery) -> Result<(), Broken> {
        let bytes = delivery.to_bytes();
        let before = self.deliveries.insert(delivery.id.0, &*bytes).map_err(broken)?;
        let freed = before.map_or(0, |bytes| bytes.value().len());
        let grown = self.bytes + u64::try_from(bytes.len()).unwrap_or(0);
        self.bytes = grown.saturating_sub(u64::try_from(freed).unwrap_or(0));
        Ok(())
    }
}
