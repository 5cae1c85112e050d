//! The journal with targets that fail as they are told.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::{FutureExt as _, future::BoxFuture};

use super::*;
use crate::{
    decide::replay::Policy,
    limits::Rate,
    model::{EventKind, Repo},
    targets::Telling,
};

/// Records what it is told; fails while it is down.
#[derive(Debug, Default)]
struct Fake {
    down: AtomicBool,
    coalesces: bool,
    gathers: Option<Duration>,
    told: Mutex<Vec<String>>,
}

impl Target for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn subject(&self, event: &Event) -> Option<String> {
        Some(event.repo.as_ref()?.full_name.clone())
    }

    fn coalesces(&self) -> bool {
        self.coalesces
    }

    fn gathers(&self) -> Option<Duration> {
        self.gathers
    }

    fn tell<'a>(&'a self, telling: Telling<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            if self.down.load(Ordering::SeqCst) {
                return Err(Failure::transient("down"));
            }
            let more = telling.more.iter().map(|(_, event)| &*event.event);
            let all: Vec<&str> = std::iter::once(&*telling.event.event).chain(more).collect();
            self.told.lock().push(all.join("+"));
            Ok(())
        }
        .boxed()
    }
}

fn event(name: &str, subject: &str) -> Event {
    let repo = Repo { full_name: subject.to_owned(), urls: Vec::new() };
    Event { repo: Some(repo), ..Event::new(EventKind::GitPush, name) }
}

fn incoming(name: &str, subject: &str, fake: &Fake) -> Incoming {
    let event = event(name, subject);
    let wanted = Wanted {
        target: "fake".to_owned(),
        event: 0,
        subject: subject.to_owned(),
        coalesces: fake.coalesces,
        gathers: fake.gathers,
        needs_request: false,
        failed: None,
    };
    let mut body_hash = [0; 32];
    body_hash[..name.len()].copy_from_slice(name.as_bytes());
    Incoming {
        endpoint: "code".to_owned(),
        source: "GitHub".to_owned(),
        delivery_id: None,
        body_hash,
        events: vec![event],
        skipped: Vec::new(),
        wanted: vec![wanted],
        replay: Replay::new(Policy::Allow),
        inline: false,
        request: None,
        dead_letter: None,
    }
}

fn options(directory: &std::path::Path) -> Options {
    Options {
        directory: Some(directory.to_path_buf()),
        steps: vec![Duration::from_millis(20); 50],
        ..Options::default()
    }
}

fn fast() -> Pace {
    Pace {
        concurrency: 4,
        rate: Rate { per_second: 100_000.0, burst: 100_000.0 },
        timeout: Duration::from_secs(5),
        probe: Duration::from_millis(50),
    }
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Opens a journal once whoever had it has ended.
async fn reopen(directory: &std::path::Path) -> Journal {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match Journal::open(options(directory)) {
            Err(OpenError::InUse) if tokio::time::Instant::now() < deadline => {}
            opened => return opened.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn stored(kept: Result<Kept, Unavailable>) -> Id {
    match kept {
        Ok(Kept::Stored(id, _)) => id,
        other => panic!("{other:?}"),
    }
}

fn start(journal: &Journal, fake: &Arc<Fake>) -> Couriers {
    journal.couriers(vec![(Arc::clone(fake) as Arc<dyn Target>, fast())])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_told_and_told_again_until_it_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Arc::new(Fake::default());
    fake.down.store(true, Ordering::SeqCst);
    let _couriers = start(&journal, &fake);
    let id = stored(journal.keep(incoming("one", "a", &fake)).await);
    until("a failed attempt", || {
        journal.delivery(id).unwrap().unwrap().notifications[0].attempts > 1
    })
    .await;
    let waiting = journal.delivery(id).unwrap().unwrap();
    assert_eq!(waiting.notifications[0].state, State::Pending);
    assert_eq!(waiting.notifications[0].last_error.as_deref(), Some("down"));
    fake.down.store(false, Ordering::SeqCst);
    until("the delivery", || journal.depth().unwrap() == 0).await;
    assert_eq!(*fake.told.lock(), ["one"]);
    let done = journal.delivery(id).unwrap().unwrap();
    assert_eq!(done.notifications[0].state, State::Delivered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing_and_repeats_nothing_finished() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let journal = Journal::open(options(directory.path())).unwrap();
    for number in 0..20 {
        let name = format!("{number:02}");
        stored(journal.keep(incoming(&name, &name, &fake)).await);
    }
    assert!(matches!(Journal::open(options(directory.path())), Err(OpenError::InUse)));
    drop(journal);
    let journal = reopen(directory.path()).await;
    assert_eq!(journal.depth().unwrap(), 20);
    let couriers = start(&journal, &fake);
    until("all", || journal.depth().unwrap() == 0).await;
    couriers.stop().await;
    let mut told = fake.told.lock().clone();
    told.sort();
    assert_eq!(told, (0..20).map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_keep_their_order_and_do_not_wait_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Arc::new(Fake::default());
    let couriers = start(&journal, &fake);
    let mut keeping = Vec::new();
    for number in 0..60 {
        let subject = ["a", "b", "c"][number % 3];
        keeping.push(journal.keep(incoming(&format!("{subject}{number:02}"), subject, &fake)));
    }
    futures::future::join_all(keeping).await.into_iter().for_each(|kept| {
        stored(kept);
    });
    until("all", || journal.depth().unwrap() == 0).await;
    couriers.stop().await;
    let told = fake.told.lock().clone();
    let mut by_subject = HashMap::<char, Vec<String>>::new();
    for name in told {
        by_subject.entry(name.chars().next().unwrap()).or_default().push(name);
    }
    for names in by_subject.values() {
        assert_eq!(names.len(), 20);
        assert!(names.is_sorted(), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_ones_of_the_same_content_become_one() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Arc::new(Fake { coalesces: true, ..Fake::default() });
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(stored(journal.keep(incoming(&number.to_string(), "a", &fake)).await));
    }
    assert_eq!(journal.depth().unwrap(), 1);
    let parent = journal.delivery(ids[0]).unwrap().unwrap();
    assert_eq!(parent.notifications[0].merged, 9);
    assert_eq!(parent.notifications[0].merged_ids[0], ids[1].to_string());
    let _couriers = start(&journal, &fake);
    until("all", || journal.depth().unwrap() == 0).await;
    assert_eq!(fake.told.lock().len(), 1);
    let child = journal.delivery(ids[9]).unwrap().unwrap();
    assert_eq!(child.notifications[0].state, State::Delivered);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gathered_is_told_together_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Fake { gathers: Some(Duration::from_secs(2)), ..Fake::default() };
    let fake = Arc::new(fake);
    let mut ids = Vec::new();
    for number in 0..4 {
        // Inline or not: nobody tells it now.
        let one = incoming(&number.to_string(), "a", &fake);
        let one = Incoming { inline: number % 2 == 0, ..one };
        match journal.keep(one).await {
            Ok(Kept::Stored(id, claims)) => {
                assert_eq!(claims, [Turn::Later]);
                ids.push(id);
            }
            other => panic!("{other:?}"),
        }
    }
    let waiting = journal.delivery(ids[0]).unwrap().unwrap();
    assert_eq!(waiting.notifications[0].due, Some(ids[0].received_ms() + 2000));
    drop(journal);

    let journal = reopen(directory.path()).await;
    fake.down.store(true, Ordering::SeqCst);
    let _couriers = start(&journal, &fake);
    let attempts = |id| journal.delivery(id).unwrap().unwrap().notifications[0].attempts;
    until("all fail together", || ids.iter().all(|id| attempts(*id) > 1)).await;
    fake.down.store(false, Ordering::SeqCst);
    until("all", || journal.depth().unwrap() == 0).await;
    assert_eq!(*fake.told.lock(), ["0+1+2+3"]);
    for id in ids {
        assert_eq!(journal.delivery(id).unwrap().unwrap().word(), "delivered");
    }

    // What comes later waits anew.
    let id = stored(journal.keep(incoming("later", "a", &fake)).await);
    let waiting = journal.delivery(id).unwrap().unwrap();
    assert_eq!(waiting.notifications[0].due, Some(id.received_ms() + 2000));
    until("the last", || journal.depth().unwrap() == 0).await;
    assert_eq!(fake.told.lock()[1..], ["later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_tried_absorbs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Fake { coalesces: true, ..Fake::default() };
    let inline = Incoming { inline: true, ..incoming("first", "a", &fake) };
    let Ok(Kept::Stored(first, claims)) = journal.keep(inline).await else { panic!() };
    assert_eq!(claims, [Turn::Now]);
    stored(journal.keep(incoming("second", "a", &fake)).await);
    assert_eq!(journal.depth().unwrap(), 2);
    journal.note(first, 0, Ok(()));
    journal.flush().await;
    assert_eq!(journal.depth().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hopeless_ones_die_and_can_be_raised() {
    let directory = tempfile::tempdir().unwrap();
    let steps = vec![Duration::from_millis(1); 2];
    let journal = Journal::open(Options { steps, ..options(directory.path()) }).unwrap();
    let fake = Arc::new(Fake::default());
    fake.down.store(true, Ordering::SeqCst);
    let _couriers = start(&journal, &fake);
    let id = stored(journal.keep(incoming("one", "a", &fake)).await);
    until("death", || journal.depth().unwrap() == 0).await;
    let dead = journal.delivery(id).unwrap().unwrap();
    assert!(dead.dead() && dead.notifications[0].attempts == 3, "{dead:?}");
    assert_eq!(journal.redeliver(Id(7), Again::default()).await, Err(RedeliverError::Unknown));
    fake.down.store(false, Ordering::SeqCst);
    let missing = Again { targets: vec!["other".to_owned()], force: false };
    assert_eq!(journal.redeliver(id, missing).await, Err(RedeliverError::NoTarget));
    assert_eq!(journal.dead(None, 9).unwrap()[0].id, id);
    assert_eq!(journal.redeliver(id, Again::default()).await, Ok(()));
    assert_eq!(journal.dead(None, 9).unwrap(), []);
    until("the delivery", || journal.depth().unwrap() == 0).await;
    assert_eq!(*fake.told.lock(), ["one"]);
}

#[tokio::test]
async fn repeats_are_known_across_restarts_and_reused_ids_are_flagged() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    let journal = Journal::open(options(directory.path())).unwrap();
    let send = |name: &str, policy| Incoming {
        replay: Replay::new(policy),
        delivery_id: Some("id-1".to_owned()),
        ..incoming(name, "a", &fake)
    };
    let first = stored(journal.keep(send("one", Policy::Suppress)).await);
    // While it is unfinished, a repeat goes on with it.
    assert_eq!(stored(journal.keep(send("one", Policy::Suppress)).await), first);
    assert_eq!(journal.delivery(first).unwrap().unwrap().repeats, 1);
    journal.note(first, 0, Ok(()));
    journal.flush().await;
    drop(journal);
    let journal = reopen(directory.path()).await;
    assert_eq!(journal.keep(send("one", Policy::Suppress)).await, Ok(Kept::Duplicate(first)));
    assert_eq!(journal.keep(send("one", Policy::Reject)).await, Ok(Kept::Refused));
    let other = stored(journal.keep(send("two", Policy::Reject)).await);
    assert!(journal.delivery(other).unwrap().unwrap().id_reused);
}

#[tokio::test]
async fn a_full_journal_makes_room_or_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let capacity = 4000;
    let journal = Journal::open(Options { capacity, ..options(directory.path()) }).unwrap();
    let fake = Fake::default();
    let mut ids = Vec::new();
    let full = loop {
        match journal.keep(incoming(&format!("n{}", ids.len()), "a", &fake)).await {
            Ok(Kept::Stored(id, _)) => ids.push(id),
            other => break other,
        }
    };
    assert_eq!(full, Err(Unavailable));
    assert!(ids.len() > 3, "{}", ids.len());
    for id in &ids {
        journal.note(*id, 0, Ok(()));
    }
    journal.flush().await;
    stored(journal.keep(incoming("more", "a", &fake)).await);
    assert_eq!(journal.delivery(ids[0]).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_failed_recovers_without_another_request() {
    let directory = tempfile::tempdir().unwrap();
    let (file, aside) = (directory.path().join("journal.redb"), directory.path().join("aside"));
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Fake::default();
    stored(journal.keep(incoming("one", "a", &fake)).await);
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    journal.store.close();
    assert_eq!(journal.keep(incoming("two", "a", &fake)).await, Err(Unavailable));
    assert!(!journal.keeps());
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    // Notes go into the file again, but nobody may have room for more: a directory is in the way of
    // the attempt to use some.
    let scratch = directory.path().join("journal.probe");
    std::fs::create_dir(&scratch).unwrap();
    until("the file", || journal.depth() == Ok(1)).await;
    journal.note(Id(7), 0, Ok(()));
    journal.flush().await;
    assert!(!journal.keeps());
    std::fs::remove_dir(&scratch).unwrap();
    until("recovery", || journal.keeps()).await;
    assert!(!scratch.exists());
    assert_eq!(journal.depth(), Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_is_well_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(Options { capacity: 1, ..options(directory.path()) }).unwrap();
    let fake = Fake::default();
    let id = stored(journal.keep(incoming("one", "a", &fake)).await);
    assert!(journal.keeps());
    assert_eq!(journal.keep(incoming("two", "a", &fake)).await, Err(Unavailable));
    journal.flush().await;
    assert!(!journal.keeps(), "what is not finished stays");
    journal.note(id, 0, Ok(()));
    until("room", || journal.keeps()).await;
    assert_eq!(journal.delivery(id).unwrap(), None);
}

#[tokio::test]
async fn deliveries_are_listed_newest_first() {
    let journal = Journal::open(Options::default()).unwrap();
    let fake = Fake::default();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(stored(journal.keep(incoming(&number.to_string(), "a", &fake)).await));
    }
    let list = |before, limit| {
        let found = journal.deliveries(before, limit).unwrap();
        found.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 2), [ids[4], ids[3]]);
    assert_eq!(list(Some(ids[3]), 9), [ids[2], ids[1], ids[0]]);
}

#[test]
fn foreign_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("journal.redb"), "not a journal at all").unwrap();
    assert!(Journal::open(options(directory.path())).is_err());
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Journal::open(options(&file)), Err(OpenError::Directory(..))));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_ones_are_swept_out_and_dead_ones_later() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        capacity: 1500,
        steps: Vec::new(),
        keep_done: Duration::from_secs(3600),
        ..options(directory.path())
    };
    let journal = Journal::open(options).unwrap();
    let fake = Fake::default();
    let dead = stored(journal.keep(incoming("dead", "a", &fake)).await);
    journal.note(dead, 0, Err(Failure::TimedOut));
    let mut done = Vec::new();
    for number in 0..8 {
        let id = stored(journal.keep(incoming(&number.to_string(), "b", &fake)).await);
        journal.note(id, 0, Ok(()));
        journal.flush().await;
        done.push(id);
    }
    // Room was made by what finished, oldest first; what died is the last to go.
    assert_eq!(journal.delivery(done[0]).unwrap(), None);
    assert!(journal.delivery(dead).unwrap().unwrap().dead());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_can_be_forgotten_and_the_living_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Fake::default();
    let id = stored(journal.keep(incoming("one", "a", &fake)).await);
    assert_eq!(journal.forget(id).await, Err(RedeliverError::Running));
    journal.note(id, 0, Err(Failure::Permanent("no".to_owned())));
    assert_eq!(journal.forget(id).await, Ok(()));
    assert_eq!(journal.forget(id).await, Err(RedeliverError::Unknown));
    let well = stored(journal.keep(incoming("two", "a", &fake)).await);
    journal.note(well, 0, Ok(()));
    assert_eq!(journal.forget(well).await, Err(RedeliverError::NotDead));
    assert_eq!(journal.figures().unwrap().dead, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_counted_and_given_up_with_its_target() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Fake::default();
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(stored(journal.keep(incoming(name, "a", &fake)).await));
    }
    let figures = journal.figures().unwrap();
    assert_eq!(figures.waiting, [("fake".to_owned(), 3)]);
    assert_eq!((figures.oldest, figures.dead), (Some(ids[0]), 0));
    journal.gone(HashSet::from(["other".to_owned()]));
    journal.flush().await;
    assert_eq!(journal.depth().unwrap(), 3);
    journal.gone(HashSet::from(["fake".to_owned()]));
    journal.flush().await;
    let figures = journal.figures().unwrap();
    assert_eq!((&*figures.waiting, figures.oldest, figures.dead), (&[][..], None, 3));
    let dead = journal.delivery(ids[2]).unwrap().unwrap();
    assert_eq!(dead.notifications[0].last_error.as_deref(), Some("the target is gone"));
    assert_eq!(journal.redeliver(ids[2], Again::default()).await, Err(RedeliverError::NoTarget));
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_ones_can_be_made_due_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let steps = vec![Duration::from_secs(3600)];
    let journal = Journal::open(Options { steps, ..options(directory.path()) }).unwrap();
    let fake = Arc::new(Fake::default());
    let id = stored(journal.keep(incoming("one", "a", &fake)).await);
    journal.note(id, 0, Err(Failure::TimedOut));
    assert_eq!(journal.redeliver(id, Again::default()).await, Err(RedeliverError::Running));
    let _couriers = start(&journal, &fake);
    let force = Again { force: true, ..Again::default() };
    assert_eq!(journal.redeliver(id, force).await, Ok(()));
    until("the delivery", || journal.depth().unwrap() == 0).await;
    let history = journal.delivery(id).unwrap().unwrap().notifications[0].history.clone();
    let errors: Vec<_> = history.iter().map(|attempt| attempt.error.as_deref()).collect();
    assert_eq!(errors, [Some("no answer in time"), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_kept_as_long_as_somebody_may_need_them() {
    let directory = tempfile::tempdir().unwrap();
    let seal = Some(Arc::new(Seal::new(b"0123456789abcdef").unwrap()));
    let fake = Fake::default();
    let request = || {
        let (headers, body) = (http::HeaderMap::new(), bytes::Bytes::from_static(b"secret words"));
        Request { headers, body }
    };
    let send = |name: &str, needs_request| {
        let mut incoming = incoming(name, name, &fake);
        incoming.request = Some(request().to_bytes());
        incoming.wanted[0].needs_request = needs_request;
        incoming
    };
    for (payloads, of_dead, of_done) in
        [(Payloads::Always, true, true), (Payloads::Failed, true, false)]
    {
        let directory = directory.path().join(format!("{payloads:?}"));
        let options = Options { payloads, seal: seal.clone(), ..options(&directory) };
        let journal = Journal::open(options).unwrap();
        let done = stored(journal.keep(send("done", false)).await);
        let dead = stored(journal.keep(send("dead", false)).await);
        assert_eq!(journal.request(done).unwrap(), Some(request()));
        journal.note(done, 0, Ok(()));
        journal.note(dead, 0, Err(Failure::Permanent("no".to_owned())));
        journal.flush().await;
        assert_eq!(journal.request(done).unwrap().is_some(), of_done);
        assert_eq!(journal.request(dead).unwrap().is_some(), of_dead);
        let bytes = std::fs::read(directory.join("journal.redb")).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"secret words"), "it is encrypted");
    }
    let options = Options { payloads: Payloads::Never, ..options(&directory.path().join("never")) };
    let journal = Journal::open(options).unwrap();
    let unneeded = stored(journal.keep(send("one", false)).await);
    let needed = stored(journal.keep(send("two", true)).await);
    assert_eq!(journal.request(unneeded).unwrap(), None);
    assert_eq!(journal.request(needed).unwrap(), Some(request()));
    journal.note(needed, 0, Ok(()));
    journal.flush().await;
    assert_eq!(journal.request(needed).unwrap(), None);
    let again = journal.redeliver(needed, Again::default()).await;
    assert_eq!(again, Err(RedeliverError::Gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_encrypted_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let with = |secret: &[u8]| Options {
        seal: Some(Arc::new(Seal::new(secret).unwrap())),
        ..options(directory.path())
    };
    let fake = Arc::new(Fake::default());
    let send = |name: &str| {
        let mut incoming = incoming(name, "a", &fake);
        incoming.events[0].raw = Some("secret words".into());
        incoming
    };
    let journal = Journal::open(with(b"0123456789abcdef")).unwrap();
    let _couriers = start(&journal, &fake);
    let id = stored(journal.keep(send("one")).await);
    until("the delivery", || journal.depth().unwrap() == 0).await;
    assert_eq!(*fake.told.lock(), ["one"]);
    let expected = send("one").events;
    let read = journal.delivery(id).unwrap().unwrap();
    assert_eq!(read.events, expected);
    assert_eq!(journal.deliveries(None, 9).unwrap(), [read]);
    let bytes = std::fs::read(directory.path().join("journal.redb")).unwrap();
    assert!(!bytes.windows(12).any(|window| window == b"secret words"), "it is encrypted");

    // Without the key there is nothing to tell, and the key brings it back.
    fake.down.store(true, Ordering::SeqCst);
    let waiting = stored(journal.keep(send("two")).await);
    let delivery = journal.store.delivery(waiting).unwrap().unwrap();
    let other = Seal::new(b"0123456789abcdeg").unwrap();
    assert_eq!(delivery.clone().open(Some(&other)).events, []);
    assert_eq!(delivery.clone().open(None).events, []);
    let again = Delivery::from_bytes(waiting, &delivery.to_bytes()).unwrap();
    assert_eq!(again.open(journal.shared.seal.as_deref()).events, send("two").events);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_told_of_the_dead() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(options(directory.path())).unwrap();
    let fake = Arc::new(Fake::default());
    let mut incoming = incoming("one", "a", &fake);
    incoming.wanted[0].target = "broken".to_owned();
    incoming.dead_letter = Some("fake".to_owned());
    let id = stored(journal.keep(incoming).await);
    journal.note(id, 0, Err(Failure::Permanent("no".to_owned())));
    let _couriers = start(&journal, &fake);
    until("the dead letter", || fake.told.lock().len() == 1).await;
    until("the end", || journal.depth().unwrap() == 0).await;
    let dead = journal.dead(None, 9).unwrap();
    let states: Vec<_> = dead[0].notifications.iter().map(|one| one.state.clone()).collect();
    assert_eq!(states, [State::Dead, State::Delivered]);
}

#[tokio::test]
async fn journals_of_the_layout_before_know_what_they_knew() {
    const SEEN: redb::TableDefinition<'_, [u8; 16], ([u8; 32], u128)> =
        redb::TableDefinition::new("seen");
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    let send = || Incoming {
        replay: Replay::new(Policy::Reject),
        delivery_id: Some("id-1".to_owned()),
        ..incoming("one", "a", &fake)
    };
    let journal = Journal::open(options(directory.path())).unwrap();
    let id = stored(journal.keep(send()).await);
    journal.note(id, 0, Ok(()));
    journal.flush().await;
    drop(journal);

    let file = directory.path().join("journal.redb");
    let database = loop {
        match redb::Database::open(&file) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    let write = database.begin_write().unwrap();
    for table in write.list_tables().unwrap().collect::<Vec<_>>() {
        if redb::TableHandle::name(&table).starts_with("repeats") {
            write.delete_table(table).unwrap();
        }
    }
    let mut named = [0; 16];
    let hash: [u8; 32] =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(b"code\0id-1"))
            .into();
    named.copy_from_slice(&hash[..16]);
    write.open_table(SEEN).unwrap().insert(named, (send().body_hash, id.0)).unwrap();
    write.open_table(store::META).unwrap().insert("version", 2).unwrap();
    write.commit().unwrap();
    drop(database);

    let journal = reopen(directory.path()).await;
    assert_eq!(journal.keep(send()).await, Ok(Kept::Refused));
    let other = Incoming { body_hash: [7; 32], ..send() };
    let other = stored(journal.keep(other).await);
    assert!(journal.delivery(other).unwrap().unwrap().id_reused);
}
