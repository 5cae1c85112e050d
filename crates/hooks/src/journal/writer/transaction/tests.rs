//! What is remembered of repeats, and for how long.

use super::*;
use crate::{
    decide::replay::{Policy, Replay},
    journal::{Turn, store::Store},
};

const DAY: i64 = 24 * 3600 * 1000;
const NOW: i64 = 1_735_689_600_000;

/// A store whose clock a test sets.
struct World {
    store: Store,
    options: Options,
    shared: Shared,
    now: i64,
}

impl World {
    fn new() -> Self {
        let store = Store::open(None).unwrap();
        Self { store, options: Options::default(), shared: Shared::default(), now: NOW }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Work<'_>) -> Result<T, Broken>) -> T {
        let database = self.store.database().unwrap();
        let write = Transaction::begin(&database).unwrap();
        let mut work = write.work(&self.options, &self.shared, self.now).unwrap();
        let done = act(&mut work).unwrap();
        work.finish().unwrap();
        write.commit().unwrap();
        done
    }

    fn keep(&self, mut incoming: Incoming) -> Kept {
        self.with(|work| work.keep(&mut incoming)).unwrap()
    }

    fn stored(&self, incoming: Incoming) -> (Id, Vec<Turn>) {
        match self.keep(incoming) {
            Kept::Stored(id, turns) => (id, turns),
            other => panic!("{other:?}"),
        }
    }

    /// Keeps something and has it made.
    fn made(&self, incoming: Incoming) -> Id {
        let (id, turns) = self.stored(incoming);
        for number in 0..turns.len() {
            self.note(id, number, Ok(()));
        }
        id
    }

    fn note(&self, id: Id, number: usize, outcome: Result<(), Failure>) {
        let place = (id, u16::try_from(number).unwrap());
        self.with(|work| work.note(place, &outcome));
        self.shared.running.lock().remove(&place);
    }

    fn sweep(&self) {
        self.with(|work| work.sweep());
    }

    fn fails(&self, id: Id, number: usize) {
        self.note(id, number, Err(Failure::Permanent("no".to_owned())));
    }

    fn states(&self, id: Id) -> Vec<State> {
        let delivery = self.store.delivery(id).unwrap().unwrap();
        delivery.notifications.into_iter().map(|one| one.state).collect()
    }

    fn due(&self, target: &str) -> Vec<Place> {
        self.store.due(target, self.now, 9, |_| true).unwrap().0
    }
}

/// A request with this id and body for these targets.
fn incoming(policy: Policy, id: &str, body: u8, targets: &[&str]) -> Incoming {
    let wanted = targets.iter().map(|target| Wanted {
        target: (*target).to_owned(),
        event: 0,
        subject: "s".to_owned(),
        coalesces: false,
        gathers: None,
        needs_request: false,
        failed: None,
    });
    Incoming {
        endpoint: "code".to_owned(),
        source: "GitHub".to_owned(),
        delivery_id: Some(id.to_owned()),
        body_hash: [body; 32],
        events: Vec::new(),
        skipped: Vec::new(),
        wanted: wanted.collect(),
        replay: Replay::new(policy),
        inline: false,
        dead_letter: None,
        request: None,
    }
}

#[test]
fn all_bodies_of_an_id_are_known() {
    let world = World::new();
    let first = world.made(incoming(Policy::Reject, "hook", 1, &["t"]));
    let second = world.made(incoming(Policy::Reject, "hook", 2, &["t"]));
    let reused = |id| world.store.delivery(id).unwrap().unwrap().id_reused;
    assert_eq!((reused(first), reused(second)), (false, true));
    for body in [1, 2] {
        let kept = world.keep(incoming(Policy::Reject, "hook", body, &["t"]));
        assert_eq!(kept, Kept::Refused, "{body}");
    }
    let suppressed = world.keep(incoming(Policy::Suppress, "hook", 1, &["t"]));
    assert_eq!(suppressed, Kept::Duplicate(first));
    assert_ne!(world.keep(incoming(Policy::Reject, "other", 1, &["t"])), Kept::Refused);
}

#[test]
fn repeats_are_refused_after_the_record_is_gone_and_as_long_as_is_asked() {
    let mut world = World::new();
    let ask = || {
        let mut asked = incoming(Policy::Reject, "id", 1, &["t"]);
        asked.replay.retention = Duration::from_secs(90 * 24 * 3600);
        asked
    };
    let id = world.made(ask());
    for day in [8, 31, 89] {
        world.now = NOW + day * DAY;
        world.sweep();
        assert_eq!(world.store.delivery(id).unwrap(), None, "day {day}");
        assert_eq!(world.keep(ask()), Kept::Refused, "day {day}");
    }
    world.now = NOW + 91 * DAY;
    world.sweep();
    assert!(matches!(world.keep(ask()), Kept::Stored(..)));
}

#[test]
fn what_was_given_up_is_new_once_its_record_is_gone() {
    let world = World::new();
    let (id, _) = world.stored(incoming(Policy::Reject, "id", 1, &["t"]));
    world.fails(id, 0);
    world.with(|work| work.forget(id)).unwrap();
    let (again, _) = world.stored(incoming(Policy::Reject, "id", 1, &["t"]));
    assert_ne!(id, again);
}

#[test]
fn the_memory_of_repeats_is_bounded() {
    let mut world = World::new();
    world.options.capacity = 10 * 1024;
    for body in 0..30 {
        world.now += 1;
        world.made(incoming(Policy::Reject, "id", body, &["t"]));
    }
    let known = |body| world.keep(incoming(Policy::Reject, "id", body, &["t"]));
    assert_eq!((known(29), known(20)), (Kept::Refused, Kept::Refused));
    assert!(matches!(known(19), Kept::Stored(..)));
}

#[test]
fn what_waits_is_hurried_by_a_repeat_and_not_made_twice() {
    for policy in [Policy::Suppress, Policy::Reject] {
        let mut world = World::new();
        let ask = || incoming(policy, "id", 1, &["one", "two"]);
        let (id, _) = world.stored(ask());
        world.note(id, 0, Ok(()));
        world.note(id, 1, Err(Failure::TimedOut));
        assert_eq!(world.due("two"), []);
        world.now += 1;
        assert_eq!(world.stored(ask()), (id, vec![Turn::Past, Turn::Later]));
        assert_eq!((world.due("one"), world.due("two")), (vec![], vec![(id, 1)]));
        let inline = Incoming { inline: true, ..ask() };
        assert_eq!(world.stored(inline), (id, vec![Turn::Past, Turn::Now]));
        // Somebody attempts it already.
        let inline = Incoming { inline: true, ..ask() };
        assert_eq!(world.stored(inline), (id, vec![Turn::Past, Turn::Later]));
        world.note(id, 1, Ok(()));
        assert_eq!(world.states(id), [State::Delivered, State::Delivered]);
        assert_eq!(world.store.depth().unwrap(), 0);
        assert_eq!(world.store.delivery(id).unwrap().unwrap().repeats, 3);
    }
}

#[test]
fn the_dead_are_raised_by_a_repeat_and_the_others_are_not_told_again() {
    let world = World::new();
    let mut asked = incoming(Policy::Reject, "id", 1, &["one", "two"]);
    asked.dead_letter = Some("grave".to_owned());
    let (id, _) = world.stored(asked);
    world.note(id, 0, Ok(()));
    world.fails(id, 1);
    world.note(id, 2, Ok(()));
    assert_eq!(world.states(id), [State::Delivered, State::Dead, State::Delivered]);
    let ask = || incoming(Policy::Reject, "id", 1, &["one", "two"]);
    assert_eq!(world.stored(ask()), (id, vec![Turn::Past, Turn::Later]));
    assert_eq!(world.store.dead(None, 9).unwrap(), []);
    assert_eq!(world.due("two"), [(id, 1)]);
    world.note(id, 1, Ok(()));
    assert_eq!(world.keep(ask()), Kept::Refused);
}

#[test]
fn what_was_merged_into_the_dead_stands_for_itself() {
    let world = World::new();
    let ask = |id: &str| {
        let mut asked = incoming(Policy::Suppress, id, 1, &["t"]);
        asked.wanted[0].coalesces = true;
        asked
    };
    let (parent, _) = world.stored(ask("one"));
    let (merged, _) = world.stored(ask("two"));
    assert!(matches!(world.states(merged)[..], [State::Merged(..)]));
    world.fails(parent, 0);
    assert_eq!(world.stored(ask("two")), (merged, vec![Turn::Later]));
    assert_eq!(world.due("t"), [(merged, 0)]);
    assert_eq!(world.made(ask("two")), merged);
    assert_eq!(world.keep(ask("two")), Kept::Duplicate(merged));
}

#[test]
fn who_is_told_of_something_else_now_is_told_anew_and_allowed_repeats_are() {
    let world = World::new();
    let (first, _) = world.stored(incoming(Policy::Reject, "id", 1, &["one"]));
    let (second, _) = world.stored(incoming(Policy::Reject, "id", 1, &["one", "two"]));
    assert_ne!(first, second);
    let (third, _) = world.stored(incoming(Policy::Allow, "id", 1, &["one", "two"]));
    assert_ne!(second, third);
}

#[test]
fn requests_that_lead_to_more_than_can_be_numbered_are_not_kept() {
    let world = World::new();
    let many = incoming(Policy::Allow, "id", 1, &vec!["t"; MOST + 1]);
    assert_eq!(world.keep(many), Kept::TooMany);
    assert_eq!(world.store.depth().unwrap(), 0);
    let most = incoming(Policy::Allow, "id", 1, &vec!["t"; MOST]);
    assert_eq!(world.stored(most).1.len(), MOST);
}
