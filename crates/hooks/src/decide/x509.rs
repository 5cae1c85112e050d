//! As much of an X.509 certificate as it takes to verify what its owner signed: how long it is valid,
//! and its public key.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The public key, as a `SubjectPublicKeyInfo`.
    pub key: Vec<u8>,
    /// From which Unix second on it is valid.
    pub from: i64,
    /// Until which.
    pub until: i64,
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The field that only newer versions of the format begin with.
const VERSION: u8 = 0xa0;

/// Reads the DER of a certificate.
pub fn read(der: &[u8]) -> Option<Certificate> {
    let (certificate, _) = field(der, SEQUENCE)?;
    let (mut rest, _) = field(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    let (validity, rest) = field(rest, SEQUENCE)?;
    let (_, _, rest) = any(rest)?;
    let whole = rest;
    let (_, after) = field(rest, SEQUENCE)?;
    let key = whole.get(..whole.len() - after.len())?.to_vec();
    let (tag, from, validity) = any(validity)?;
    let from = time(tag, from)?;
    let (tag, until, _) = any(validity)?;
    Some(Certificate { key, from, until: time(tag, until)? })
}

/// Tag and content of the first element, and what follows it.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        first if first < 0x80 => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of the first element if it has this tag, and what follows it.
fn field(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any(der)?;
    (tag == wanted).then_some((content, rest))
}

fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let at = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    TimeZone::UTC.to_timestamp(at).ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["sns.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let made = params.self_signed(&key).unwrap();
        let read = read(made.der()).unwrap();
        assert_eq!(read.from, 1_709_164_800);
        assert_eq!(read.until, 2_556_144_000);
        use rcgen::PublicKeyData as _;
        assert_eq!(read.key, key.subject_public_key_info());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[&[0x30, 0x83, 0xff, 0xff, 0xff][..], &bytes].concat());
        }
    }
}
