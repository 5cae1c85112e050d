//! Random writes against a plain map.

use std::collections::BTreeMap;

use embedded::store::{Expect, WriteError};
use proptest::prelude::*;

use crate::kit::{contents, delete, open, put};

#[derive(Debug, Clone)]
enum Step {
    Create(u8, u8),
    Overwrite(u8, u8),
    Replace(u8, u8),
    ReplaceStale(u8),
    Delete(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_u8..4;
    prop_oneof![
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Create(key, value)),
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Overwrite(key, value)),
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Replace(key, value)),
        1 => key.clone().prop_map(Step::ReplaceStale),
        2 => key.prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ]
}

#[test]
fn the_store_is_a_map_with_revisions() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..24))| {
        runtime.block_on(run(steps))?;
    });
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    let mut model: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut revision = 0;
    for step in steps {
        let name = |key: u8| format!("k{key}");
        let result = match &step {
            Step::Create(key, value) => {
                let result = put(&store, &name(*key), &value.to_string(), Expect::Absent).await;
                prop_assert_eq!(result.is_ok(), !model.contains_key(&name(*key)));
                Some((name(*key), Some(value.to_string()), result))
            }
            Step::Overwrite(key, value) => {
                let result = put(&store, &name(*key), &value.to_string(), Expect::Any).await;
                Some((name(*key), Some(value.to_string()), result))
            }
            Step::Replace(key, value) => {
                let known = model.get(&name(*key)).map_or(u64::MAX, |(revision, _)| *revision);
                let expect = Expect::Revision(known);
                let result = put(&store, &name(*key), &value.to_string(), expect).await;
                prop_assert_eq!(result.is_ok(), model.contains_key(&name(*key)));
                Some((name(*key), Some(value.to_string()), result))
            }
            Step::ReplaceStale(key) => {
                let result = put(&store, &name(*key), "never", Expect::Revision(0)).await;
                prop_assert!(matches!(result, Err(WriteError::Mismatch(_))));
                None
            }
            Step::Delete(key) => {
                let result = delete(&store, &name(*key)).await;
                prop_assert_eq!(result.is_ok(), model.contains_key(&name(*key)));
                Some((name(*key), None, result))
            }
            Step::Reopen => {
                store.close().await;
                store = open(directory.path()).unwrap();
                None
            }
        };
        if let Some((key, value, Ok(entry))) = result {
            revision += 1;
            prop_assert_eq!(entry.revision(), revision);
            match value {
                Some(value) => model.insert(key, (revision, value)),
                None => model.remove(&key),
            };
        }
        prop_assert_eq!(store.revision(), revision);
        let expected: Vec<_> =
            model.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect();
        prop_assert_eq!(contents(&store), expected);
    }
    Ok(())
}
