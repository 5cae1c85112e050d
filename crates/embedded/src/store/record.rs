//! The bytes of one entry of the revision log.

use std::sync::Arc;

use bytes::Bytes;

use super::{Action, Entry};

/// One entry of the log.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) action: Action,
    pub(super) resource: String,
    pub(super) key: Arc<str>,
    pub(super) entry: Entry,
}

/// `action, resource length, key length, gap, resource, key, json`; numbers little-endian.
pub(super) fn encode(action: Action, resource: &str, key: &str, entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(13 + resource.len() + key.len() + entry.json().len());
    bytes.push(match action {
        Action::Put => 1,
        Action::Delete => 2,
    });
    for length in [resource.len(), key.len(), entry.gap()] {
        // Names are bounded by the API to a few hundred bytes.
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes.extend_from_slice(resource.as_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(entry.json());
    bytes
}

/// Reads what [`encode`] wrote; the error says what is wrong with it.
pub(super) fn decode(revision: u64, bytes: &[u8]) -> Result<Record, String> {
    let mut rest = bytes;
    let mut take = |length: usize| {
        let (taken, left) =
            rest.split_at_checked(length).ok_or(format!("record {revision} is cut short"))?;
        rest = left;
        Ok::<_, String>(taken)
    };
    let action = match take(1)? {
        [1] => Action::Put,
        [2] => Action::Delete,
        other => return Err(format!("record {revision} has the unknown action {other:?}")),
    };
    let mut lengths = [0; 3];
    for length in &mut lengths {
        let number = take(4)?.try_into().map_err(|_| "a length is cut short".to_owned())?;
        *length = u32::from_le_bytes(number) as usize;
    }
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| format!("record {revision} is not text"))
    };
    let resource = text(take(lengths[0])?)?;
    let key = text(take(lengths[1])?)?;
    let digits = revision.to_string();
    let json = Bytes::copy_from_slice(rest);
    let gap = lengths[2];
    if json.get(gap..gap + digits.len()) != Some(digits.as_bytes()) {
        return Err(format!("record {revision} does not hold its revision"));
    }
    let entry = Entry::load(json, gap, revision)
        .map_err(|error| format!("record {revision} is not an object: {error}"))?;
    Ok(Record { action, resource, key: key.into(), entry })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::store::Draft;

    #[test]
    fn records_round_trip() {
        let object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"uid": "u"}});
        let entry = Draft::new(object.as_object().unwrap()).into_entry(7);
        let bytes = encode(Action::Delete, "pods", "a/b", &entry);
        let record = decode(7, &bytes).unwrap();
        assert_eq!(record.action, Action::Delete);
        assert_eq!((record.resource.as_str(), &*record.key), ("pods", "a/b"));
        assert_eq!(record.entry.json(), entry.json());
        assert!(decode(8, &bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(1, &bytes);
        }
    }
}
