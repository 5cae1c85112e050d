//! What is made again, because an operator asks for it or because the sender repeats it, and what is
//! forgotten or given up.

use redb::ReadableTable as _;

use super::{
    super::super::{
        Again, Delivery, Id, Incoming, Kept, Notification, Place, RedeliverError, State, Turn,
        Wanted, keys,
        store::{Broken, broken},
    },
    MAX_SWEPT, Work,
};
use crate::targets::Failure;

impl Work<'_> {
    /// Makes finished notifications of a delivery again.
    pub(in super::super) fn redeliver(
        &mut self,
        id: Id,
        again: &Again,
    ) -> Result<Result<(), RedeliverError>, Broken> {
        let Some(mut delivery) = self.load(id)? else { return Ok(Err(RedeliverError::Unknown)) };
        if !again.force && !delivery.finished() {
            return Ok(Err(RedeliverError::Running));
        }
        let gone = self.shared.gone.lock().clone();
        let chosen = |one: &Notification| {
            let named =
                again.targets.is_empty() || again.targets.iter().any(|name| one.is_for(name));
            // Who is told of the dead is not told again by itself.
            let grave =
                again.targets.is_empty() && delivery.dead_letter.as_ref() == Some(&one.target);
            named && !grave && !gone.contains(&one.target)
        };
        let numbers: Vec<usize> = (0..delivery.notifications.len())
            .filter(|&index| chosen(&delivery.notifications[index]))
            .collect();
        if numbers.is_empty() {
            return Ok(Err(RedeliverError::NoTarget));
        }
        let kept = self.payloads.get(id.0).map_err(broken)?.is_some();
        let needs = |&index: &usize| delivery.notifications[index].needs_request;
        if !kept && numbers.iter().any(needs) {
            return Ok(Err(RedeliverError::Gone));
        }
        for index in numbers {
            let place = (id, u16::try_from(index).unwrap_or(u16::MAX));
            let mut notification = delivery.notifications[index].clone();
            if notification.state == State::Pending {
                self.hurry(place, &mut notification)?;
            } else {
                self.raise(place, &mut notification)?;
            }
            delivery.notifications[index] = notification;
        }
        self.reopen(&delivery)?;
        self.save(&delivery)?;
        Ok(Ok(()))
    }

    /// Makes due now what waits. What is behind an older one keeps its turn.
    fn hurry(&mut self, place: Place, notification: &mut Notification) -> Result<(), Broken> {
        if notification.due.is_some() {
            self.unschedule(place, notification)?;
            self.schedule(place, notification, self.now)?;
        }
        Ok(())
    }

    /// Makes something pending that was finished.
    fn raise(&mut self, place: Place, notification: &mut Notification) -> Result<(), Broken> {
        let lane = keys::lane(&notification.target, &notification.subject);
        let free = self.lane(&lane)?.is_empty();
        self.enter_lane(&lane, place, &notification.target)?;
        notification.state = State::Pending;
        notification.attempts = 0;
        if free {
            self.schedule(place, notification, self.now)?;
        }
        Ok(())
    }

    /// Counts a delivery as one with something left to do.
    fn reopen(&mut self, delivery: &Delivery) -> Result<(), Broken> {
        self.dead.remove(delivery.id.0).map_err(broken)?;
        self.open.insert(delivery.id.0, ()).map(drop).map_err(broken)
    }

    /// Goes on with a delivery that its sender repeats: what was made stays made, the rest is due
    /// now. Says whose turn each notification is.
    pub(super) fn resume(
        &mut self,
        mut earlier: Delivery,
        incoming: &Incoming,
    ) -> Result<Kept, Broken> {
        earlier.repeats = earlier.repeats.saturating_add(1);
        let mut turns = Vec::new();
        for (index, wanted) in incoming.wanted.iter().enumerate() {
            let place = (earlier.id, u16::try_from(index).unwrap_or(u16::MAX));
            let mut notification = earlier.notifications[index].clone();
            turns.push(if self.go_on(place, &mut notification)? {
                self.turn(place, wanted, &notification, incoming.inline)
            } else {
                Turn::Past
            });
            earlier.notifications[index] = notification;
        }
        if self.payloads.get(earlier.id.0).map_err(broken)?.is_none() {
            self.keep_payload(earlier.id, incoming)?;
        }
        if !earlier.finished() {
            self.reopen(&earlier)?;
        }
        self.save(&earlier)?;
        Ok(Kept::Stored(earlier.id, turns))
    }

    /// Makes a notification due now, unless it was made: then there is nothing left to do.
    fn go_on(&mut self, place: Place, notification: &mut Notification) -> Result<bool, Broken> {
        match &notification.state {
            State::Pending => self.hurry(place, notification)?,
            state if self.made(state) => return Ok(false),
            // What was merged into one that was not made stands for itself again.
            State::Delivered | State::Dead | State::Merged(..) => {
                self.raise(place, notification)?
            }
        }
        Ok(true)
    }

    /// Whose turn one is that is gone on with.
    fn turn(
        &mut self,
        place: Place,
        wanted: &Wanted,
        notification: &Notification,
        inline: bool,
    ) -> Turn {
        let first = notification.due.is_some() || wanted.coalesces;
        if !inline || wanted.gathers.is_some() || !first {
            return Turn::Later;
        }
        let free = self.shared.running.lock().insert(place);
        if free {
            self.claimed.push(place);
        }
        // Nothing is wrong with doing twice at once what may become one.
        if free || wanted.coalesces { Turn::Now } else { Turn::Later }
    }

    /// Forgets a delivery that was given up.
    pub(in super::super) fn forget(
        &mut self,
        id: Id,
    ) -> Result<Result<(), RedeliverError>, Broken> {
        let Some(delivery) = self.load(id)? else { return Ok(Err(RedeliverError::Unknown)) };
        if !delivery.finished() {
            return Ok(Err(RedeliverError::Running));
        }
        if !delivery.dead() {
            return Ok(Err(RedeliverError::NotDead));
        }
        self.remove(id)?;
        Ok(Ok(()))
    }

    /// Gives up what waits for targets that are gone; says whether there is more.
    pub(in super::super) fn abandon(&mut self) -> Result<bool, Broken> {
        let gone = self.shared.gone.lock().clone();
        let mut more = false;
        for target in &gone {
            let places = self.waiting_for(target)?;
            more |= places.len() == MAX_SWEPT;
            for place in places {
                // What is being attempted ends with its attempt.
                if self.shared.running.lock().contains(&place) {
                    continue;
                }
                let failure = Failure::Permanent("the target is gone".to_owned());
                self.note(place, &Err(failure))?;
            }
        }
        Ok(more)
    }

    fn waiting_for(&self, target: &str) -> Result<Vec<Place>, Broken> {
        let prefix = keys::prefix(target);
        let mut places = Vec::new();
        for entry in self.lanes.range::<&[u8]>(&*prefix..).map_err(broken)?.take(MAX_SWEPT) {
            let (key, _) = entry.map_err(broken)?;
            let place = key.value().strip_prefix(&*prefix).and(keys::read_place(key.value()));
            let Some(place) = place else { break };
            places.push(place);
        }
        Ok(places)
    }
}
