//! Certificates of the admission listener that we make ourselves: pure functions of what is kept and
//! the time.
//!
//! Each serving certificate has an authority of its own, whose key is forgotten once it has signed:
//! nobody can ever make another one that API servers believe. A new pair is therefore announced
//! (API servers are told to trust both authorities) long before it is served with.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
};
use secrecy::{ExposeSecret as _, SecretString};

/// How long a pair is good.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The next pair is announced when the current one is good for less than this,
const ANNOUNCE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// and served with when it is good for less than this.
const SWITCH: SignedDuration = SignedDuration::from_hours(15 * 24);
/// Clocks go wrong by less than this.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// A serving certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: SecretString,
}

/// All that replicas share.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What API servers trust, in PEM: first the authority of the current pair.
    pub authorities: Vec<String>,
    /// What is served with.
    pub current: Pair,
    /// What will be served with next, once it has been announced for long enough.
    pub next: Option<Pair>,
}

impl Kept {
    /// New ones for these names.
    pub fn new(names: &[String], now: Timestamp) -> Result<Self, rcgen::Error> {
        let (authority, current) = make(names, now)?;
        Ok(Self { authorities: vec![authority], current, next: None })
    }

    /// What API servers should trust, as one text.
    pub fn bundle(&self) -> String {
        self.authorities.concat()
    }
}

/// The certificates of a text in PEM, each by itself.
pub fn split(bundle: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = bundle.find(BEGIN).map_or("", |start| &bundle[start..]);
    while !rest.is_empty() {
        let end = rest[BEGIN.len()..].find(BEGIN).map_or(rest.len(), |at| at + BEGIN.len());
        let (one, more) = rest.split_at(end);
        found.push(one.to_owned());
        rest = more;
    }
    found
}

/// What should be kept instead of what is; none if that is as it should be.
pub fn next(
    kept: Option<&Kept>,
    names: &[String],
    now: Timestamp,
) -> Result<Option<Kept>, rcgen::Error> {
    let Some(kept) = kept else { return Kept::new(names, now).map(Some) };
    let good = |pair: &Pair, at| proves(pair, &kept.authorities, names, at);
    if !good(&kept.current, now) {
        // Damaged, past its time, or for other names: nothing to be careful with.
        return Kept::new(names, now).map(Some);
    }
    if good(&kept.current, now + ANNOUNCE) {
        return Ok(None);
    }
    match &kept.next {
        Some(next) if good(next, now) && good(next, now + ANNOUNCE) => {
            if good(&kept.current, now + SWITCH) {
                return Ok(None);
            }
            let authorities = kept.authorities.iter().rev().cloned().collect();
            Ok(Some(Kept { authorities, current: next.clone(), next: None }))
        }
        _ => {
            let (authority, next) = make(names, now)?;
            let current = kept.authorities.iter().take(1).cloned();
            let authorities = current.chain([authority]).collect();
            Ok(Some(Kept { authorities, current: kept.current.clone(), next: Some(next) }))
        }
    }
}

/// An authority and what it vouches with, for one time only.
fn make(names: &[String], now: Timestamp) -> Result<(String, Pair), rcgen::Error> {
    let mut authority = params(Vec::new(), "quartermaster admission authority", now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate()?;
    let root = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut own = params(names.to_vec(), "quartermaster admission", now)?;
    own.use_authority_key_identifier_extension = true;
    own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = own.signed_by(&key, &issuer)?.pem();
    let key = SecretString::from(key.serialize_pem());
    Ok((root, Pair { certificate, key }))
}

fn params(
    names: Vec<String>,
    name: &str,
    now: Timestamp,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    params.not_before = day(now - SKEW);
    params.not_after = day(now + LIFETIME);
    Ok(params)
}

/// Whether clients that trust one of these authorities believe at this time that a server with this
/// pair has all these names.
fn proves(pair: &Pair, authorities: &[String], names: &[String], at: Timestamp) -> bool {
    let check = || {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).ok()?).ok()?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .ok()?;
        let (first, between) = chain.split_first()?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.expose_secret().as_bytes()).ok()?;
        CertifiedKey::from_der(chain.clone(), key, &provider).ok()?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().ok()?;
        let seconds = u64::try_from(at.as_second()).ok()?;
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        names.iter().try_for_each(|name| {
            let name = ServerName::try_from(name.as_str()).ok()?;
            verifier.verify_server_cert(first, between, &name, &[], moment).ok().map(drop)
        })
    };
    check().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["hook.team.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * (20_000 + day))
    }

    #[test]
    fn a_pair_is_announced_before_it_is_served_with() {
        let first = next(None, &names(), day(0)).unwrap().unwrap();
        assert!(first.next.is_none());
        for early in [0, 1, 30, 59] {
            assert!(next(Some(&first), &names(), day(early)).unwrap().is_none(), "day {early}");
        }
        let announced = next(Some(&first), &names(), day(61)).unwrap().unwrap();
        assert_eq!(announced.current.certificate, first.current.certificate);
        assert_eq!(announced.authorities.len(), 2);
        assert_eq!(announced.authorities[0], first.authorities[0]);
        for waiting in [61, 70, 74] {
            let more = next(Some(&announced), &names(), day(waiting)).unwrap();
            assert!(more.is_none(), "day {waiting}");
        }
        let switched = next(Some(&announced), &names(), day(76)).unwrap().unwrap();
        let announced_pair = announced.next.as_ref().unwrap();
        assert_eq!(switched.current.certificate, announced_pair.certificate);
        assert!(switched.next.is_none());
        // Whoever was told of the announcement believes both, before and after.
        for pair in [&first.current, &switched.current] {
            for bundle in [&announced.authorities, &switched.authorities] {
                assert!(proves(pair, bundle, &names(), day(76)));
            }
        }
        assert!(next(Some(&switched), &names(), day(76)).unwrap().is_none());
        let third = next(Some(&switched), &names(), day(61 + 61)).unwrap().unwrap();
        assert_eq!(third.authorities.len(), 2, "the oldest is trusted no more");
        assert_eq!(third.authorities[0], switched.authorities[0]);
    }

    #[test]
    fn what_is_no_good_is_replaced_at_once() {
        let good = Kept::new(&names(), day(0)).unwrap();
        let other = Kept::new(&names(), day(0)).unwrap();
        let damaged = |edit: &dyn Fn(&mut Kept)| {
            let mut kept = good.clone();
            edit(&mut kept);
            kept
        };
        for (what, kept, at) in [
            ("no authority", damaged(&|kept| kept.authorities.clear()), 0),
            ("foreign", damaged(&|kept| kept.authorities = other.authorities.clone()), 0),
            ("other key", damaged(&|kept| kept.current.key = other.current.key.clone()), 0),
            ("nonsense", damaged(&|kept| kept.current.certificate = "x".to_owned()), 0),
            ("cut", damaged(&|kept| kept.current.certificate.truncate(99)), 0),
            ("too old", good.clone(), 91),
            ("too young", good.clone(), -5),
        ] {
            let new = next(Some(&kept), &names(), day(at)).unwrap().unwrap();
            assert!(proves(&new.current, &new.authorities, &names(), day(at)), "{what}");
            assert_eq!(new.authorities.len(), 1, "{what}");
        }
        let elsewhere = vec!["hook.other.svc".to_owned()];
        assert!(next(Some(&good), &elsewhere, day(0)).unwrap().is_some());
    }

    #[test]
    fn a_bundle_comes_apart_as_it_was() {
        let made = Kept::new(&names(), day(0)).unwrap();
        let two = [made.authorities[0].clone(), made.current.certificate.clone()];
        assert_eq!(split(&two.concat()), two);
        assert_eq!(split(&format!("# mine\n{}", two[0])), two[..1]);
        assert!(split("").is_empty() && split("nonsense").is_empty());
    }
}
