//! Every write fails once, before it happens or with its answer lost.

use cluster::controller::Outcome;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Secret, Service, ServiceAccount},
};
use rstest::rstest;

use super::{
    super::Options,
    kit::{Fault, World},
};
use crate::model::fixtures;

/// More writes than a pass has.
const TRIES: usize = 12;

#[rstest]
#[tokio::test]
async fn a_failed_write_is_made_good(#[values(Fault::Before, Fault::After)] fault: Fault) {
    let mut failures = 0;
    for nth in 0..TRIES {
        let options = Options { connect_secret: true, now: || 1_000, ..Options::default() };
        let world = World::with(options).await;
        world.create(fixtures::workspace("lab")).await;
        world.wire.fail(nth, fault);
        let first = world.reconcile("lab").await;
        let failed = world.wire.has_failed();
        let (state, message) = world.told("lab").await;
        assert!(matches!(state.as_str(), "Unknown"), "{nth}: {state} {message}");
        if failed {
            failures += 1;
            assert_eq!(first, Outcome::Retry, "{nth}");
        } else {
            assert_eq!(first, Outcome::Done, "{nth}");
        }
        // A retry makes it good, and then there is nothing left to do.
        let mut outcome = first;
        for _ in 0..3 {
            outcome = world.reconcile("lab").await;
        }
        assert_eq!(outcome, Outcome::Done, "{nth}");
        world.only::<ServiceAccount>().await;
        world.only::<StatefulSet>().await;
        world.only::<Service>().await;
        world.only::<Secret>().await;
        assert_eq!(world.told("lab").await.1, "Workspace is in an unknown state", "{nth}");
        world.wire.writes();
        world.reconcile("lab").await;
        assert_eq!(world.wire.writes(), [""; 0], "{nth}");
        if !failed {
            break;
        }
    }
    // Finalizer of the kind, ServiceAccount, Secret, StatefulSet, Service, status.
    assert_eq!(failures, 6);
}
