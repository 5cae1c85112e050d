//! The keys of the journal's indexes, made so that their order is the order of work.

use std::ops::RangeInclusive;

use sha2::{Digest as _, Sha256};

use super::{Id, Place};

/// `target, 0`: what all keys of a target begin with.
pub(super) fn prefix(target: &str) -> Vec<u8> {
    [target.as_bytes(), &[0]].concat()
}

/// Of the index of due notifications: target, time, place.
pub(super) fn due(target: &str, at: i64, place: Place) -> Vec<u8> {
    let time = at.max(0).to_be_bytes();
    [&*prefix(target), &time, &place_bytes(place)].concat()
}

/// Time and place of a key made by [`due`].
pub(super) fn read_due(key: &[u8]) -> Option<(i64, Place)> {
    let at = key.len().checked_sub(26)?;
    let (time, place) = key[at..].split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*time), read_place(place)?))
}

/// Of the index of unfinished notifications in order: target, subject.
pub(super) fn lane(target: &str, subject: &str) -> Vec<u8> {
    let hash = Sha256::digest(subject);
    [&*prefix(target), &hash[..16]].concat()
}

/// A place in a lane.
pub(super) fn in_lane(lane: &[u8], place: Place) -> Vec<u8> {
    [lane, &place_bytes(place)].concat()
}

/// The place at the end of a key.
pub(super) fn read_place(key: &[u8]) -> Option<Place> {
    let (rest, number) = key.split_last_chunk::<2>()?;
    let (_, id) = rest.split_last_chunk::<16>()?;
    Some((Id(u128::from_be_bytes(*id)), u16::from_be_bytes(*number)))
}

/// A place as bytes in order.
pub(super) fn place_bytes((id, number): Place) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&id.0.to_be_bytes());
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// What a repeat of a delivery is known by: endpoint and id, then the body.
pub(super) fn repeat(endpoint: &str, id: &[u8], body_hash: &[u8; 32]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(endpoint).chain_update([0]).chain_update(id).finalize();
    let mut named = [0; 16];
    named.copy_from_slice(&hash[..16]);
    with_body(named, body_hash)
}

/// The same of endpoint and id alone, which the first layouts had, and the body.
pub(super) fn with_body(named: [u8; 16], body_hash: &[u8; 32]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&named);
    key[16..].copy_from_slice(&body_hash[..16]);
    key
}

/// All repeats of one endpoint and id, whatever their bodies.
pub(super) fn same_name(key: [u8; 32]) -> RangeInclusive<[u8; 32]> {
    let (mut first, mut last) = (key, key);
    first[16..].fill(0);
    last[16..].fill(u8::MAX);
    first..=last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_keys_sort_by_time_and_are_read_back() {
        let place = |id| (Id(id), 3);
        let (early, late) = (due("t", 5, place(9)), due("t", 6, place(1)));
        assert!(early < late);
        assert_eq!(read_due(&late), Some((6, place(1))));
        assert_eq!(read_due(b"short"), None);
        assert!(late.starts_with(&prefix("t")) && !late.starts_with(&prefix("tt")));
    }

    #[test]
    fn lanes_keep_the_order_of_places() {
        let lane = lane("t", "subject");
        let (one, two) = (in_lane(&lane, (Id(1), 9)), in_lane(&lane, (Id(2), 0)));
        assert!(one < two && one.starts_with(&lane));
        assert_eq!(read_place(&two), Some((Id(2), 0)));
    }
}
