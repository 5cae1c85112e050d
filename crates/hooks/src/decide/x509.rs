//! As much of an X.509 certificate as it takes to verify what its owner signed: how long it is valid,
//! and its public key; and whose it is.

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
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
/// The field that only newer versions of the format begin with.
const VERSION: u8 = 0xa0;

/// Reads the DER of a certificate.
pub fn read(der: &[u8]) -> Option<Certificate> {
    let (validity, rest) = field(after_issuer(der)?, SEQUENCE)?;
    let (_, _, rest) = any(rest)?;
    let whole = rest;
    let (_, after) = field(rest, SEQUENCE)?;
    let key = whole.get(..whole.len() - after.len())?.to_vec();
    let (tag, from, validity) = any(validity)?;
    let from = time(tag, from)?;
    let (tag, until, _) = any(validity)?;
    Some(Certificate { key, from, until: time(tag, until)? })
}

/// What of a certificate follows its issuer: validity, subject, key and more.
fn after_issuer(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = field(der, SEQUENCE)?;
    let (mut rest, _) = field(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = any(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = any(rest)?.2;
    }
    Some(rest)
}

/// Whose certificate it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// The common names of the subject, and the DNS names, URIs and e-mail addresses beside it, of the
    /// DER of a certificate. Nothing is verified here.
    pub fn read(der: &[u8]) -> Option<Self> {
        const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
        const ALTERNATIVES: &[u8] = &[0x55, 0x1d, 0x11];
        let (_, _, rest) = any(after_issuer(der)?)?;
        let (subject, rest) = field(rest, SEQUENCE)?;
        let mut names = Vec::new();
        for (_, set) in elements(subject) {
            for (_, pair) in elements(set) {
                let (name, value) = field(pair, OBJECT_ID)?;
                let (_, value, _) = any(value)?;
                names.extend(text(value).filter(|_| name == COMMON_NAME));
            }
        }
        for (_, list) in elements(any(rest)?.2).filter(|(tag, _)| *tag == EXTENSIONS) {
            for (_, extension) in elements(field(list, SEQUENCE)?.0) {
                let (name, value) = field(extension, OBJECT_ID)?;
                let value = elements(value).find(|(tag, _)| *tag == OCTETS);
                let Some((_, value)) = value.filter(|_| name == ALTERNATIVES) else { continue };
                let known = elements(field(value, SEQUENCE)?.0)
                    .filter(|(tag, _)| [EMAIL, DNS_NAME, URI].contains(tag));
                names.extend(known.filter_map(|(_, value)| text(value)));
            }
        }
        Some(Self(names))
    }

    /// Whether it has any of these.
    pub fn any(&self, of: &[String]) -> bool {
        self.0.iter().any(|name| of.contains(name))
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.is_empty())
}

/// Tags and contents of all elements, as far as they can be read.
fn elements(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = any(der)?;
        der = rest;
        Some((tag, content))
    })
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

    #[test]
    fn names_are_those_of_the_subject_and_beside_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["ci.example".to_owned()]).unwrap();
        let uri = "spiffe://example/ci".to_owned().try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        params.distinguished_name.push(rcgen::DnType::CommonName, "ci");
        let made = params.self_signed(&key).unwrap();
        let names = Names::read(made.der()).unwrap();
        assert_eq!(names.0, ["ci", "ci.example", "spiffe://example/ci"]);
        assert!(names.any(&["x".to_owned(), "ci".to_owned()]));
        assert!(!names.any(&["Example".to_owned()]) && !names.any(&[]));
        for cut in 0..made.der().len() {
            let cut = Names::read(&made.der()[..cut]).unwrap_or_default();
            assert!(cut.0.is_empty(), "{cut:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Names::read(&bytes);
            let _ = read(&bytes);
            let _ = read(&[&[0x30, 0x83, 0xff, 0xff, 0xff][..], &bytes].concat());
        }
    }
}
