//! Events: in order, resumable, bounded.

use std::time::Duration;

use embedded::store::{EventKind, Expect, Expired, Store, StoreOptions, Watch};

use crate::kit::{THINGS, contents, delete, open, put, text};

async fn next(watch: &mut Watch) -> Vec<(EventKind, String, String)> {
    let wait = async {
        loop {
            let events = watch.take().unwrap();
            if !events.is_empty() {
                return events;
            }
            watch.changed().await;
        }
    };
    let events = tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    events.iter().map(|event| (event.kind, event.key.to_string(), text(&event.object))).collect()
}

#[tokio::test]
async fn a_watch_gets_what_happens_after_its_revision() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    put(&store, "a", "1", Expect::Absent).await.unwrap();
    let mut watch = store.watch(THINGS, store.revision()).unwrap();
    assert!(watch.take().unwrap().is_empty());
    put(&store, "a", "2", Expect::Any).await.unwrap();
    assert_eq!(next(&mut watch).await, [(EventKind::Modified, "a".into(), "2".into())]);
    put(&store, "b", "1", Expect::Absent).await.unwrap();
    delete(&store, "a").await.unwrap();
    let mut events = next(&mut watch).await;
    if events.len() == 1 {
        events.extend(next(&mut watch).await);
    }
    assert_eq!(
        events,
        [
            (EventKind::Added, "b".into(), "1".into()),
            (EventKind::Deleted, "a".into(), "gone".into()),
        ]
    );
    let mut from_start = store.watch(THINGS, 0).unwrap();
    assert_eq!(from_start.take().unwrap().len(), 4);
}

#[tokio::test]
async fn a_watch_resumes_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let first = put(&store, "a", "1", Expect::Absent).await.unwrap();
    put(&store, "a", "2", Expect::Any).await.unwrap();
    delete(&store, "a").await.unwrap();
    store.close().await;
    let store = open(directory.path()).unwrap();
    let mut watch = store.watch(THINGS, first.revision()).unwrap();
    let events = watch.take().unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].kind, EventKind::Modified);
    assert_eq!(text(events[0].previous.as_ref().unwrap()), "1");
    assert_eq!(events[1].kind, EventKind::Deleted);
}

fn small(directory: &std::path::Path) -> Store {
    let options = StoreOptions { history_events: 8, ..StoreOptions::default() };
    Store::open(directory, options).unwrap()
}

#[tokio::test]
async fn history_is_bounded_and_slow_watches_learn_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = small(directory.path());
    let mut slow = store.watch(THINGS, 0).unwrap();
    for n in 0..20 {
        put(&store, "a", &n.to_string(), Expect::Any).await.unwrap();
    }
    assert_eq!(slow.take().unwrap_err(), Expired { oldest: 12 });
    assert_eq!(store.watch(THINGS, 11).unwrap_err(), Expired { oldest: 12 });
    assert_eq!(store.watch(THINGS, 12).unwrap().take().unwrap().len(), 8);
    assert!(store.list_at(THINGS, "", 11).is_err());
    assert_eq!(text(&store.list_at(THINGS, "", 13).unwrap().entries[0].1), "12");
    // Another resource's events push nothing out.
    assert!(store.watch("others", 0).is_ok());
}

#[tokio::test]
async fn compaction_holds_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..4 {
        let store = small(directory.path());
        assert_eq!(contents(&store), expected, "round {round}");
        for n in 0..30 {
            let key = format!("k{}", n % 7);
            if n % 5 == 4 {
                let _ = delete(&store, &key).await;
            } else {
                put(&store, &key, &format!("{round}-{n}"), Expect::Any).await.unwrap();
            }
        }
        expected = contents(&store);
        let revision = store.revision();
        store.close().await;
        let store = small(directory.path());
        assert_eq!(store.revision(), revision);
        assert_eq!(contents(&store), expected);
        store.close().await;
    }
    // The log keeps the live objects, the history, and what the last batch left.
    let records = records(directory.path());
    assert!(records < 40, "{records} records for {} objects", expected.len());
}

#[tokio::test]
async fn what_a_start_reads_does_not_grow_with_what_happened_before() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { history_events: 80, ..StoreOptions::default() };
    for round in 0..3 {
        let store = Store::open(directory.path(), options.clone()).unwrap();
        for n in 0..100 {
            put(&store, "a", &format!("{round}-{n}"), Expect::Any).await.unwrap();
        }
        let end = store.revision();
        assert_eq!(store.watch(THINGS, end - 80).unwrap().take().unwrap().len(), 80);
        store.close().await;
        // Clients from before go on where they were, unless they were far behind.
        let store = Store::open(directory.path(), options.clone()).unwrap();
        assert_eq!(store.watch(THINGS, end - 10).unwrap().take().unwrap().len(), 10);
        assert_eq!(store.watch(THINGS, end - 11).unwrap_err(), Expired { oldest: end - 10 });
        put(&store, "a", "last", Expect::Any).await.unwrap();
        store.close().await;
        // The ten events, the object before them, and the last write.
        assert_eq!(records(directory.path()), 12, "round {round}");
    }
}

/// How many records the log has.
fn records(directory: &std::path::Path) -> u64 {
    let database = redb::Database::open(directory.join("store.redb")).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let log = redb::TableDefinition::<u64, &[u8]>::new("log");
    redb::ReadableTableMetadata::len(&transaction.open_table(log).unwrap()).unwrap()
}

#[tokio::test]
async fn a_list_can_be_had_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let mut states = Vec::new();
    for n in 0..40 {
        let key = format!("k{}", n % 5);
        if n % 7 == 6 {
            let _ = delete(&store, &key).await;
        } else {
            put(&store, &key, &n.to_string(), Expect::Any).await.unwrap();
        }
        states.push((store.revision(), contents(&store)));
    }
    for (revision, state) in states {
        let listing = store.list_at(THINGS, "", revision).unwrap();
        let was: Vec<_> =
            listing.entries.iter().map(|(key, entry)| (key.to_string(), text(entry))).collect();
        assert_eq!(was, state, "at {revision}");
    }
}
