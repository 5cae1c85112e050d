//! What operators ask for: make it again, forget it, give up what nobody is left to be told.

use redb::ReadableTable as _;

use super::{
    super::super::{
        Again, Id, Notification, Place, RedeliverError, State, keys,
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
                // One in its way is older; it keeps its turn.
                if notification.due.is_some() {
                    self.unschedule(place, &mut notification)?;
                    self.schedule(place, &mut notification, self.now)?;
                }
            } else {
                let lane = keys::lane(&notification.target, &notification.subject);
                let free = self.lane(&lane)?.is_empty();
                self.enter_lane(&lane, place, &notification.target)?;
                notification.state = State::Pending;
                notification.attempts = 0;
                if free {
                    self.schedule(place, &mut notification, self.now)?;
                }
            }
            delivery.notifications[index] = notification;
        }
        self.dead.remove(id.0).map_err(broken)?;
        self.open.insert(id.0, ()).map_err(broken)?;
        self.save(&delivery)?;
        Ok(Ok(()))
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
