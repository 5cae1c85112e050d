//! Payloads at rest: as they are, or sealed with a key of the owner's.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use sha2::{Digest as _, Sha256};

use super::Id;

/// The shortest secret that a key is made of.
const SHORTEST: usize = 16;
const NONCE: usize = 12;
/// What sealed payloads begin with; others begin with something else.
const SEALED: u8 = 1;
const PLAIN: u8 = 0;

/// A key for payloads.
pub struct Seal(RandomizedNonceKey);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// A key made of this secret.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < SHORTEST {
            return Err(format!("the encryption key has fewer than {SHORTEST} bytes"));
        }
        let key = Sha256::digest(secret);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key);
        key.map(Self).map_err(|_| "the encryption key cannot be used".to_owned())
    }
}

/// A payload as it is written. It can be opened as that of this delivery only.
pub(super) fn close(seal: Option<&Seal>, id: Id, payload: &[u8]) -> Option<Vec<u8>> {
    let Some(Seal(key)) = seal else { return Some([&[PLAIN], payload].concat()) };
    let aad = Aad::from(id.0.to_be_bytes());
    let mut payload = payload.to_vec();
    let nonce = key.seal_in_place_append_tag(aad, &mut payload).ok()?;
    Some([&[SEALED], &nonce.as_ref()[..], &payload].concat())
}

/// A payload as it was before [`close`].
pub(super) fn open(seal: Option<&Seal>, id: Id, written: &[u8]) -> Option<Vec<u8>> {
    match written.split_first()? {
        (&PLAIN, payload) => Some(payload.to_vec()),
        (&SEALED, rest) => {
            let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
            let mut payload = sealed.to_vec();
            let aad = Aad::from(id.0.to_be_bytes());
            let opened = seal?.0.open_in_place(Nonce::from(nonce), aad, &mut payload).ok()?;
            let length = opened.len();
            payload.truncate(length);
            Some(payload)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_opens_and_only_as_the_right_delivery() {
        let seal = |secret: &[u8]| Seal::new(secret).unwrap();
        let (one, two) = (seal(b"0123456789abcdef"), seal(b"0123456789abcdeg"));
        let id = Id(7);
        for key in [None, Some(&one)] {
            let written = close(key, id, b"payload").unwrap();
            assert_eq!(open(key, id, &written).as_deref(), Some(&b"payload"[..]));
        }
        let written = close(Some(&one), id, b"payload").unwrap();
        assert!(!written.windows(7).any(|window| window == b"payload"));
        assert_eq!(open(Some(&two), id, &written), None);
        assert_eq!(open(None, id, &written), None);
        assert_eq!(open(Some(&one), Id(8), &written), None);
        for cut in 0..written.len() {
            assert_eq!(open(Some(&one), id, &written[..cut]), None);
        }
        assert!(Seal::new(b"short").is_err());
    }
}
