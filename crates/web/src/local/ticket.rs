//! Tickets: random, good for one use, short-lived, bound to a scope, bounded in number.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{Scope, token};

/// Most tickets that are open at once. Only holders of the token make tickets, so this bounds
/// memory against a program that loops, not against strangers.
const MAX_OPEN: usize = 1024;

#[derive(Debug)]
struct Entry {
    scope: Scope,
    expires: Timestamp,
    serial: u64,
}

#[derive(Debug, Default)]
struct Open {
    entries: HashMap<String, Entry>,
    serial: u64,
}

/// The open tickets of this process. They die with it.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    open: Mutex<Open>,
}

impl Tickets {
    /// Makes a ticket. When too many are open, the oldest gives way.
    pub(super) fn issue(
        &self,
        scope: Scope,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, token::TokenError> {
        let ticket = token::random_text()?;
        let expires = now.saturating_add(lifetime).unwrap_or(Timestamp::MAX);
        let mut open = self.open.lock();
        open.entries.retain(|_, entry| entry.expires > now);
        if open.entries.len() >= MAX_OPEN {
            let oldest = open.entries.iter().min_by_key(|(_, entry)| entry.serial);
            if let Some(oldest) = oldest.map(|(ticket, _)| ticket.clone()) {
                open.entries.remove(&oldest);
            }
        }
        open.serial += 1;
        let serial = open.serial;
        open.entries.insert(ticket.clone(), Entry { scope, expires, serial });
        Ok(ticket)
    }

    /// Uses a ticket up. One that is shown at the wrong place is used up as well.
    pub(super) fn redeem(&self, scope: &Scope, ticket: &str, now: Timestamp) -> bool {
        let entry = self.open.lock().entries.remove(ticket);
        entry.is_some_and(|entry| entry.scope == *scope && entry.expires > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_ticket_works_once_in_time_and_at_its_place() {
        let tickets = Tickets::default();
        let here = Scope::api();
        let there = Scope::new("connect", &["ns", "name", "uid"]);
        let issue = || tickets.issue(here.clone(), MINUTE, at(0)).unwrap();

        let ticket = issue();
        assert!(tickets.redeem(&here, &ticket, at(59)));
        assert!(!tickets.redeem(&here, &ticket, at(59)), "a second use");
        assert!(!tickets.redeem(&here, &issue(), at(60)), "too late");
        let ticket = issue();
        assert!(!tickets.redeem(&there, &ticket, at(1)), "another scope");
        assert!(!tickets.redeem(&here, &ticket, at(1)), "burnt by the wrong use");
        assert!(!tickets.redeem(&here, "", at(1)));
    }

    #[test]
    fn the_oldest_ticket_gives_way() {
        let tickets = Tickets::default();
        let first = tickets.issue(Scope::api(), MINUTE, at(0)).unwrap();
        let second = tickets.issue(Scope::api(), MINUTE, at(0)).unwrap();
        for _ in 0..MAX_OPEN - 1 {
            tickets.issue(Scope::api(), MINUTE, at(0)).unwrap();
        }
        assert_eq!(tickets.open.lock().entries.len(), MAX_OPEN);
        assert!(!tickets.redeem(&Scope::api(), &first, at(1)));
        assert!(tickets.redeem(&Scope::api(), &second, at(1)));
    }
}
