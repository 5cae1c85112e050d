//! Finds the old value that belongs to a new one, to let unchanged parts of an object be (an update
//! is not refused for what it does not touch) and to compare old and new in transition rules.

use serde_json::Value;

use super::node::{ListType, Node};

/// The old value of the field `name`, if both objects have it.
pub(crate) fn field<'a>(old: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    old?.as_object()?.get(name)
}

/// The old elements of a list, found by the keys of new ones.
pub(crate) struct Elements<'a> {
    keys: &'a [String],
    old: &'a [Value],
    by_key: Option<std::collections::HashMap<String, &'a Value>>,
}

impl<'a> Elements<'a> {
    /// Only the elements of lists with keys can be told apart; for other lists nothing is found.
    pub(crate) fn of(node: &'a Node, old: Option<&'a Value>) -> Self {
        match (&node.list, old.and_then(Value::as_array)) {
            (ListType::Map(keys), Some(old)) => Self { keys, old, by_key: None },
            _ => Self { keys: &[], old: &[], by_key: None },
        }
    }

    /// The old element with the same keys as `new`.
    pub(crate) fn get(&mut self, new: &Value) -> Option<&'a Value> {
        if self.keys.is_empty() || self.old.is_empty() {
            return None;
        }
        let (keys, old) = (self.keys, self.old);
        let by_key = self.by_key.get_or_insert_with(|| {
            // The first of several elements with equal keys wins.
            old.iter().rev().filter_map(|item| Some((key(keys, item)?, item))).collect()
        });
        by_key.get(&key(keys, new)?).copied()
    }
}

fn key(keys: &[String], item: &Value) -> Option<String> {
    let map = item.as_object()?;
    let parts: Vec<Option<&Value>> = keys.iter().map(|key| map.get(key)).collect();
    serde_json::to_string(&parts).ok()
}
