//! A full disk: the write is refused, nothing of it stays, everything else goes on.

use embedded::store::{Expect, StorageError, Store, StoreOptions, WriteError};

use crate::kit::{contents, delete, open, put};

async fn fill(store: &Store) -> usize {
    let big = "x".repeat(200_000);
    for n in 0..10_000 {
        match put(store, &format!("big{n:04}"), &big, Expect::Absent).await {
            Ok(_) => {}
            Err(WriteError::Storage(StorageError::Full)) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk is never full");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions { max_file_bytes: 6 << 20, ..StoreOptions::default() };
    let store = Store::open(directory.path(), options).unwrap();
    let stored = fill(&store).await;
    assert!(stored > 2, "{stored}");
    assert_eq!(contents(&store).len(), stored, "reads go on, and see no half-done write");
    let revision = store.revision();
    let again = put(&store, "again", &"x".repeat(400_000), Expect::Absent).await;
    assert!(matches!(again, Err(WriteError::Storage(StorageError::Full))), "{again:?}");

    store.set_max_file_bytes(64 << 20);
    let next = put(&store, "small", "y", Expect::Absent).await.unwrap();
    assert_eq!(next.revision(), revision + 1, "refused writes took no revision");
    delete(&store, "big0000").await.unwrap();
    let before = contents(&store);
    store.close().await;

    let store = open(directory.path()).unwrap();
    assert_eq!(contents(&store), before, "nothing of a refused write is on disk");
}

/// The same with a real file system that is full, where the machine lets us make one.
#[tokio::test]
async fn a_full_file_system_refuses_writes_and_recovers() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(mount.path())
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        // The bounded file above shows the same.
        return;
    }
    let result = tokio::spawn({
        let directory = mount.path().join("data");
        async move {
            let store = open(&directory).unwrap();
            put(&store, "first", "y", Expect::Absent).await.unwrap();
            let stored = fill(&store).await;
            assert_eq!(contents(&store).len(), stored + 1);
            let ballast = directory.join("ballast");
            // Space comes back when the file system grows.
            let grown = std::process::Command::new("mount")
                .args(["-o", "remount,size=64m"])
                .arg(directory.parent().unwrap())
                .status();
            assert!(grown.unwrap().success());
            std::fs::write(&ballast, b"fits").unwrap();
            put(&store, "after", "y", Expect::Absent).await.unwrap();
            let before = contents(&store);
            store.close().await;
            let store = open(&directory).unwrap();
            assert_eq!(contents(&store), before);
            store.close().await;
        }
    })
    .await;
    let unmounted = std::process::Command::new("umount").arg(mount.path()).status();
    result.unwrap();
    assert!(unmounted.unwrap().success());
}
