//! Who made and changed an object, as annotations of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::extract::Caller;
use crate::model::annotation::{CREATED_BY, UPDATED_AT, UPDATED_BY};

/// Adds who makes the object to its annotations; what a caller claims about that is dropped.
pub(crate) fn audited(
    annotations: BTreeMap<String, String>,
    Caller(identity): &Caller,
) -> BTreeMap<String, String> {
    let mut annotations = annotations;
    annotations.remove(UPDATED_AT);
    annotations.insert(CREATED_BY.to_owned(), identity.user.clone());
    annotations.insert(UPDATED_BY.to_owned(), identity.user.clone());
    annotations
}

/// The annotations that say who changes an object, and when: now.
pub(crate) fn touched(Caller(identity): &Caller) -> [(&'static str, String); 2] {
    [(UPDATED_BY, identity.user.clone()), (UPDATED_AT, now())]
}

/// To the second, like every time of an API server.
fn now() -> String {
    let now = Timestamp::now();
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    whole.to_string()
}
