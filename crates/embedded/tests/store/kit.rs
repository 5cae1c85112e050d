//! Writes and what they leave.

use std::{path::Path, sync::Arc};

use embedded::store::{
    Action, Draft, Entry, Expect, OpenError, Store, StoreOptions, Write, WriteError,
};
use serde_json::{Value, json};

pub(crate) const THINGS: &str = "things.example.com";

pub(crate) fn thing(name: &str, text: &str) -> Draft {
    let object = json!({
        "apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"text": text}},
        "text": text,
    });
    Draft::new(object.as_object().unwrap())
}

pub(crate) fn open(directory: &Path) -> Result<Store, OpenError> {
    Store::open(directory, StoreOptions::default())
}

pub(crate) async fn put(
    store: &Store,
    key: &str,
    text: &str,
    expect: Expect,
) -> Result<Arc<Entry>, WriteError> {
    write(store, key, text, expect, Action::Put).await
}

pub(crate) async fn delete(store: &Store, key: &str) -> Result<Arc<Entry>, WriteError> {
    write(store, key, "gone", Expect::Any, Action::Delete).await
}

async fn write(
    store: &Store,
    key: &str,
    text: &str,
    expect: Expect,
    action: Action,
) -> Result<Arc<Entry>, WriteError> {
    let draft = thing(key, text);
    let (resource, key) = (THINGS.into(), key.into());
    store.write(Write { resource, key, expect, requires: None, action, draft }).await
}

pub(crate) fn text(entry: &Entry) -> String {
    let object = entry.object();
    assert_eq!(object["metadata"]["resourceVersion"], entry.revision().to_string());
    object.get("text").and_then(Value::as_str).unwrap().to_owned()
}

/// Keys and texts of all things.
pub(crate) fn contents(store: &Store) -> Vec<(String, String)> {
    let entries = store.list(THINGS, "").entries;
    entries.iter().map(|(key, entry)| (key.to_string(), text(entry))).collect()
}
