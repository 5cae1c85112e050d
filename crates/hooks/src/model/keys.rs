//! The shared secrets of one endpoint, several at once while one replaces another.

use std::fmt;

/// One shared secret: the raw bytes of its file.
#[derive(Clone)]
pub struct Key {
    bytes: Vec<u8>,
    /// The bytes without the one line end that editors and `echo` leave behind. Headers cannot
    /// carry it, so a sender never means it.
    trimmed: Option<usize>,
    not_after: Option<i64>,
    /// When it was made or changed last, in Unix seconds, as far as is known.
    since: Option<i64>,
}

impl Key {
    /// A key that verifies until the given Unix second, or for ever.
    pub fn new(bytes: Vec<u8>, not_after: Option<i64>) -> Self {
        let trimmed =
            bytes.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
        Self {
            trimmed: trimmed.map(<[u8]>::len).filter(|&len| len > 0),
            not_after,
            since: None,
            bytes,
        }
    }

    /// Says when it was made or changed last, in Unix seconds.
    #[must_use]
    pub fn since(self, since: Option<i64>) -> Self {
        Self { since, ..self }
    }

    /// The raw bytes: what the endpoint's path is made from.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Until which Unix second it counts.
    pub fn not_after(&self) -> Option<i64> {
        self.not_after
    }

    /// Whether the key still counts.
    pub fn valid_at(&self, now: i64) -> bool {
        self.not_after.is_none_or(|end| now <= end)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// All keys of an endpoint. Any of them verifies.
#[derive(Debug, Clone, Default)]
pub struct Keys(pub Vec<Key>);

impl Keys {
    /// Whether any key passes. All are tried, whatever the first one says, so that the time taken
    /// tells nothing.
    pub fn any(&self, now: i64, mut passes: impl FnMut(&[u8]) -> bool) -> bool {
        let mut found = false;
        for key in self.0.iter().filter(|key| key.valid_at(now)) {
            found |= passes(&key.bytes);
            if let Some(len) = key.trimmed {
                found |= passes(&key.bytes[..len]);
            }
        }
        found
    }

    /// When the newest key was made or changed last, in Unix seconds, if that is known.
    pub fn newest(&self) -> Option<i64> {
        self.0.iter().filter_map(|key| key.since).max()
    }

    /// Whether the owner asked for an endpoint without a secret: an empty key that was allowed by
    /// name.
    pub fn open(&self) -> bool {
        self.0.iter().any(|key| key.bytes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(keys: Keys, now: i64) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        keys.any(now, |key| {
            seen.push(key.to_vec());
            true
        });
        seen
    }

    #[test]
    fn every_valid_key_is_tried_with_and_without_its_line_end() {
        let keys = Keys(vec![
            Key::new(b"new\r\n".to_vec(), None),
            Key::new(b"old".to_vec(), Some(10)),
            Key::new(b"\n".to_vec(), None),
        ]);
        assert_eq!(tried(keys.clone(), 10), [&b"new\r\n"[..], b"new", b"old", b"\n"]);
        assert_eq!(tried(keys, 11), [&b"new\r\n"[..], b"new", b"\n"]);
    }

    #[test]
    fn keys_are_unprintable() {
        assert!(!format!("{:?}", Key::new(b"s3cret".to_vec(), None)).contains("s3cret"));
    }
}
