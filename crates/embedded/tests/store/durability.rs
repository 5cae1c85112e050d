//! What was acknowledged stays, whatever happens to the process.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use embedded::store::{Expect, OpenError, WriteError};

use crate::kit::{contents, delete, open, put, text};

#[tokio::test]
async fn a_closed_store_opens_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    put(&store, "a", "1", Expect::Absent).await.unwrap();
    put(&store, "b", "1", Expect::Absent).await.unwrap();
    let a = put(&store, "a", "2", Expect::Any).await.unwrap();
    delete(&store, "b").await.unwrap();
    let revision = store.revision();
    store.close().await;
    assert_eq!(contents(&store), [("a".into(), "2".into())], "reads go on");

    let store = open(directory.path()).unwrap();
    assert_eq!(store.revision(), revision);
    assert_eq!(contents(&store), [("a".into(), "2".into())]);
    let got = store.get(crate::kit::THINGS, "a").unwrap();
    assert_eq!(got.json(), a.json());
    assert_eq!(got.meta(), a.meta());
    let next = put(&store, "c", "1", Expect::Absent).await.unwrap();
    assert_eq!(next.revision(), revision + 1);
}

#[tokio::test]
async fn a_store_that_was_never_closed_opens_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for n in 0..50 {
        put(&store, &format!("k{n:02}"), "x", Expect::Absent).await.unwrap();
    }
    // What a killed process leaves: the file as it is now.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(directory.path().join("store.redb"), copy.path().join("store.redb")).unwrap();
    let copied = open(copy.path()).unwrap();
    assert_eq!(contents(&copied), contents(&store));
    assert_eq!(copied.revision(), store.revision());
    put(&copied, "more", "x", Expect::Absent).await.unwrap();
}

const CHILD: &str = "STORE_TEST_CHILD_DIRECTORY";

/// Not a test by itself: the process that [`acknowledged_writes_survive_kill`] kills.
#[tokio::test]
async fn child_that_writes_until_killed() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let store = open(directory.as_ref()).unwrap();
    let start = store.revision();
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        async move {
            for n in 0.. {
                let value = format!("{start}-{n}");
                let entry = put(&store, &format!("w{writer}"), &value, Expect::Any).await.unwrap();
                println!("acknowledged w{writer} {} {value}", entry.revision());
            }
        }
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn acknowledged_writes_survive_kill() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "durability::child_that_writes_until_killed", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = BTreeMap::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = 40 + round * 37;
        for (count, line) in lines.map_while(Result::ok).enumerate() {
            // The harness writes on the same line before the first acknowledgement.
            if let Some((_, told)) = line.split_once("acknowledged ") {
                let words: Vec<&str> = told.split(' ').collect();
                if let [key, revision, value] = words[..] {
                    let revision: u64 = revision.parse().unwrap();
                    acknowledged.insert(key.to_owned(), (revision, value.to_owned()));
                }
            }
            if count == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(!acknowledged.is_empty());
        let store = open(directory.path()).unwrap();
        for (key, (revision, value)) in &acknowledged {
            let entry = store.get(crate::kit::THINGS, key).unwrap();
            assert!(entry.revision() >= *revision, "{key} fell back");
            if entry.revision() == *revision {
                assert_eq!(text(&entry), *value);
            }
            assert!(store.revision() >= *revision);
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(
        matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    put(&store, "a", "1", Expect::Absent).await.unwrap();
    store.close().await;
    open(directory.path()).unwrap();
}

#[tokio::test]
async fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let _store = open(&directory).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn many_writers_each_get_a_revision_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let writers = (0..64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..20 {
                let key = format!("w{writer}-{n}");
                revisions.push(put(&store, &key, "x", Expect::Absent).await.unwrap().revision());
                assert!(
                    store.get(crate::kit::THINGS, &key).is_some(),
                    "an answered write is visible"
                );
            }
            revisions
        })
    });
    let mut revisions = Vec::new();
    for writer in futures::future::join_all(writers).await {
        revisions.extend(writer.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=1280).collect::<Vec<u64>>());
    assert_eq!(store.count(crate::kit::THINGS), 1280);
}

#[tokio::test]
async fn only_one_of_many_wins_the_same_revision() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let first = put(&store, "a", "0", Expect::Absent).await.unwrap();
    let writers = (0..64).map(|n| {
        let store = store.clone();
        let expect = Expect::Revision(first.revision());
        tokio::spawn(async move { put(&store, "a", &n.to_string(), expect).await })
    });
    let results = futures::future::join_all(writers).await;
    let (won, lost): (Vec<_>, Vec<_>) =
        results.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 63));
    assert!(lost.iter().all(|result| matches!(result, Err(WriteError::Mismatch(Some(_))))));
}
