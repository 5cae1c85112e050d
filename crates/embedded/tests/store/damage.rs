//! Files that are not a store, or no longer one.

use embedded::store::{Expect, OpenError};
use proptest::prelude::*;

use crate::kit::{open, put};

fn refused(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    std::fs::write(&path, bytes).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the file was changed");
    let text = error.to_string();
    assert!(text.contains("store.redb"), "{text}");
    assert!(matches!(error, OpenError::Unusable { .. } | OpenError::Format { .. }), "{text}");
    text
}

#[test]
fn foreign_files_are_refused_and_left_alone() {
    refused(b"");
    refused(b"hello");
    refused(&vec![0; 1 << 20]);
    let text = refused(&b"SQLite format 3\0".repeat(1000));
    assert!(text.contains("it was left as it is"), "{text}");
}

#[test]
fn a_file_of_another_program_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("theirs");
    transaction.open_table(table).unwrap().insert("a", 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("another program made it"), "{error}");
    let database = redb::Database::open(&path).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    assert_eq!(transaction.open_table(table).unwrap().get("a").unwrap().unwrap().value(), 1);
}

#[test]
fn another_format_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &str>::new("about");
    transaction.open_table(table).unwrap().insert("format", "quartermaster-store-99").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("quartermaster-store-99"), "{error}");
}

async fn sample() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for n in 0..40 {
        put(&store, &format!("k{n}"), &"x".repeat(200), Expect::Any).await.unwrap();
    }
    store.close().await;
    std::fs::read(directory.path().join("store.redb")).unwrap()
}

#[tokio::test]
async fn a_cut_file_is_refused() {
    let bytes = sample().await;
    for left in [100, 4096, bytes.len() / 2] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        std::fs::write(&path, &bytes[..left]).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Unusable { .. }), "{left}: {error}");
    }
}

#[test]
fn any_damage_is_refused_or_harmless() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bytes = runtime.block_on(sample());
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() };
    proptest!(config, |(at in 0..bytes.len(), length in 1_usize..4000, value in any::<u8>())| {
        let mut damaged = bytes.clone();
        let end = (at + length).min(damaged.len());
        damaged[at..end].fill(value);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("store.redb"), &damaged).unwrap();
        // No panic, and what opens can be read.
        if let Ok(store) = open(directory.path()) {
            crate::kit::contents(&store);
        }
    });
}
