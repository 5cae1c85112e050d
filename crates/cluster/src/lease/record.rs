//! What is known of a Lease: pure functions over the object and our own clock.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use tokio::time::Instant;

/// The Lease as it was last seen, and since when it looks like that.
#[derive(Debug, Default)]
pub(super) struct Record {
    spec: Option<LeaseSpec>,
    since: Option<Instant>,
}

impl Record {
    /// Notes what is there now. Only a change counts as a sign of life of its holder.
    pub(super) fn look(&mut self, live: Option<&Lease>, now: Instant) {
        let spec = live.map(|lease| lease.spec.clone().unwrap_or_default());
        if spec != self.spec || self.since.is_none() {
            self.spec = spec;
            self.since = Some(now);
        }
    }

    fn holder(&self) -> Option<&str> {
        let holder = self.spec.as_ref()?.holder_identity.as_deref()?;
        (!holder.is_empty()).then_some(holder)
    }

    pub(super) fn is_held_by(&self, who: &str) -> bool {
        self.holder() == Some(who)
    }

    /// The other one who holds it, unless its time has run out.
    pub(super) fn held_by_other(&self, us: &str, now: Instant) -> Option<&str> {
        let holder = self.holder().filter(|holder| *holder != us)?;
        let seconds = self.spec.as_ref()?.lease_duration_seconds.unwrap_or(0);
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let since = self.since.unwrap_or(now);
        (now.saturating_duration_since(since) < duration).then_some(holder)
    }

    /// The object to write so that it is ours. The version that was read goes along: of two who try
    /// at once one fails.
    pub(super) fn ours(
        &self,
        name: &str,
        us: &str,
        duration: Duration,
        live: Option<Lease>,
    ) -> Lease {
        let mut lease = live.unwrap_or_default();
        lease.metadata.name = Some(name.to_owned());
        let old = lease.spec.take().unwrap_or_default();
        let stays = old.holder_identity.as_deref() == Some(us);
        let now = MicroTime(jiff::Timestamp::now());
        let transitions = old.lease_transitions.unwrap_or(0);
        let was_held = old.acquire_time.is_some();
        // Whole seconds on the wire: never less than what we count with.
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(us.to_owned()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX).max(1)),
            acquire_time: if stays { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(match (stays, was_held) {
                (false, true) => transitions.saturating_add(1),
                _ => transitions,
            }),
            ..old
        });
        lease
    }
}

/// The object without a holder.
pub(super) fn free(mut lease: Lease) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn held(by: &str, renewed: i64) -> Lease {
        let renewed = jiff::Timestamp::from_second(renewed).unwrap();
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(by.to_owned()),
                lease_duration_seconds: Some(15),
                acquire_time: Some(MicroTime(renewed)),
                renew_time: Some(MicroTime(renewed)),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_holder_keeps_it_for_the_duration_after_its_last_sign_of_life() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut record = Record::default();
        record.look(Some(&held("a", 100)), at(0));
        assert_eq!(record.held_by_other("b", at(14)), Some("a"));
        record.look(Some(&held("a", 100)), at(14));
        assert_eq!(record.held_by_other("b", at(15)), None, "nothing changed for 15 s");
        record.look(Some(&held("a", 102)), at(15));
        assert_eq!(record.held_by_other("b", at(29)), Some("a"), "it lives");
        assert_eq!(record.held_by_other("a", at(0)), None, "ours");
    }

    #[test]
    fn clocks_of_others_do_not_matter() {
        let start = Instant::now();
        for renewed in [-1_000_000_000, 0, 4_000_000_000] {
            let mut record = Record::default();
            record.look(Some(&held("a", renewed)), start);
            assert_eq!(record.held_by_other("b", start + DURATION / 2), Some("a"), "{renewed}");
            assert_eq!(record.held_by_other("b", start + DURATION), None, "{renewed}");
        }
    }

    #[test]
    fn one_that_was_given_back_or_never_held_is_free() {
        let now = Instant::now();
        for lease in [None, Some(Lease::default()), Some(free(held("a", 1)))] {
            let mut record = Record::default();
            record.look(lease.as_ref(), now);
            assert_eq!(record.held_by_other("b", now), None, "{lease:?}");
        }
    }

    #[test]
    fn changes_of_holder_are_counted_and_renewals_are_not() {
        let record = Record::default();
        let spec = |lease: Lease| lease.spec.unwrap();
        let first = record.ours("l", "a", DURATION, None);
        assert_eq!(spec(first.clone()).lease_transitions, Some(0));
        let again = record.ours("l", "a", DURATION, Some(first.clone()));
        assert_eq!(spec(again.clone()).lease_transitions, Some(0));
        assert_eq!(spec(again).acquire_time, spec(first.clone()).acquire_time);
        let other = record.ours("l", "b", DURATION, Some(free(first)));
        assert_eq!(spec(other).lease_transitions, Some(1));
    }

    #[test]
    fn the_wire_never_promises_less_than_we_count_with() {
        let lease = Record::default().ours("l", "a", Duration::from_millis(1500), None);
        assert_eq!(lease.spec.unwrap().lease_duration_seconds, Some(2));
    }
}
