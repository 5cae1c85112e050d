//! The certificate authority of a data directory: programs that trust it talk to its owner's server.
//!
//! Its key and certificate are one private file. It has no end in sight, because whoever trusts it
//! got it from a file of the same directory, and it can vouch for this machine only. What it vouches
//! with is made at every start, kept in memory, and made again while the program runs, so that
//! nothing on the disk goes out of date. A file that is damaged, that others can read or whose parts
//! do not fit is replaced, never used.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
        pem::PemObject as _,
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Clock,
    private::{read_private, replace_private},
};

const FILE: &str = "authority.pem";
/// Longest file that is read; anything above is not ours.
const MAX_LENGTH: u64 = 16 << 10;
/// How long a serving certificate is good, and how long it is used.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
const IN_USE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Clocks go wrong by less than this.
const SKEW: SignedDuration = SignedDuration::from_hours(24);
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The file cannot be read or written.
    #[error("cannot read or make the certificate authority {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A certificate cannot be used.
    #[error("cannot use a certificate")]
    Tls(#[from] rustls::Error),
    /// There is no certificate that could be trusted.
    #[error("cannot trust a certificate: {0}")]
    Trust(String),
}

/// The authority of a data directory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    /// The authority in `directory`, made on first use and in place of one that is no good.
    pub fn load_or_create(directory: &Path) -> Result<Self, AuthorityError> {
        let path = directory.join(FILE);
        let fail = |source| AuthorityError::Io { path: path.clone(), source };
        match read_private(&path, MAX_LENGTH) {
            Ok(file) => {
                let reason = if file.is_exposed() {
                    format!("other users of this machine can read it (mode {:04o})", file.mode)
                } else {
                    match Self::parse(&file.text.unwrap_or_default()) {
                        Ok(authority) => return Ok(authority),
                        Err(error) => error.to_string(),
                    }
                };
                tracing::warn!(
                    file = %path.display(),
                    reason,
                    "a new certificate authority replaces one that is no good; old copies of the \
                     kubeconfig no longer work"
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        let key = KeyPair::generate()?;
        let certificate = own_params().self_signed(&key)?;
        let text = SecretString::from(format!("{}{}", key.serialize_pem(), certificate.pem()));
        replace_private(&path, text.expose_secret()).map_err(fail)?;
        Self::parse(text.expose_secret())
    }

    fn parse(text: &str) -> Result<Self, AuthorityError> {
        let start = text.find(CERTIFICATE).unwrap_or(text.len());
        let (key, pem) = text.split_at(start);
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| AuthorityError::Trust(error.to_string()))?;
        let issuer = Issuer::new(own_params(), KeyPair::from_pem(key)?);
        let authority = Self { issuer, certificate, pem: pem.to_owned() };
        // The key may be another one's, the certificate may be past its time or no authority's.
        authority.issue(&[Ipv4Addr::LOCALHOST.into()], Timestamp::now())?;
        Ok(authority)
    }

    /// The certificate to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The TLS side of a server that is reached at these addresses of this machine, or by the name
    /// `localhost`.
    pub fn server_config(
        self: Arc<Self>,
        addresses: Vec<IpAddr>,
        clock: Clock,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let now = clock();
        let current = Mutex::new((now, self.issue(&addresses, now)?));
        let resolver = Resolver { authority: self, addresses, clock, current };
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Makes a certificate and checks that it proves what it should.
    fn issue(
        &self,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut names: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        names.push("localhost".into());
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name("quartermaster");
        set_validity(&mut params, now - SKEW, now + LIFETIME);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;

        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .map_err(|error| AuthorityError::Trust(error.to_string()))?;
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for &address in addresses {
            let name = ServerName::from(address);
            verifier.verify_server_cert(certificate.der(), &[], &name, &[], moment)?;
        }
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider)?))
    }
}

/// What an authority is. The same every time: what it signs names it by this.
fn own_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("quartermaster on this machine");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".into()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                Ipv6Addr::LOCALHOST.into(),
                128,
            )),
        ],
        excluded_subtrees: Vec::new(),
    });
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// From when until when a certificate counts, in whole days.
fn set_validity(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    params.not_before = day(from);
    params.not_after = day(until);
}

/// Gives each handshake a certificate that is still good.
struct Resolver {
    authority: Arc<Authority>,
    addresses: Vec<IpAddr>,
    clock: Clock,
    current: Mutex<(Timestamp, Arc<CertifiedKey>)>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Resolver {
    fn current(&self) -> Arc<CertifiedKey> {
        let now = (self.clock)();
        let mut current = self.current.lock();
        if now.duration_since(current.0).abs() > IN_USE {
            match self.authority.issue(&self.addresses, now) {
                Ok(key) => *current = (now, key),
                Err(error) => tracing::error!(%error, "the certificate cannot be renewed"),
            }
        }
        current.1.clone()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        sync::atomic::{AtomicI64, Ordering},
    };

    use super::*;

    fn addresses() -> Vec<IpAddr> {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    }

    #[test]
    fn it_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(directory.path()).unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = Authority::load_or_create(directory.path()).unwrap();
        assert_eq!(first.pem(), second.pem());
        assert!(!first.pem().contains("PRIVATE KEY"), "{}", first.pem());
        assert!(!format!("{first:?}").contains("BEGIN"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        second.issue(&addresses(), Timestamp::now()).unwrap();
    }

    #[test]
    fn it_vouches_for_this_machine_only() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(directory.path()).unwrap();
        let elsewhere = "192.0.2.1".parse().unwrap();
        let error = authority.issue(&[elsewhere], Timestamp::now()).unwrap_err();
        assert!(matches!(error, AuthorityError::Tls(_)), "{error}");
    }

    #[test]
    fn what_is_no_good_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let first = Authority::load_or_create(directory.path()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let other = tempfile::tempdir().unwrap();
        Authority::load_or_create(other.path()).unwrap();
        let foreign = fs::read_to_string(other.path().join(FILE)).unwrap();
        let (key, _) = text.split_at(text.find(CERTIFICATE).unwrap());
        let (_, certificate) = foreign.split_at(foreign.find(CERTIFICATE).unwrap());
        let mut last = first.pem().to_owned();
        for damaged in [
            String::new(),
            text[..text.len() / 2].to_owned(),
            key.to_owned(),
            format!("{key}{certificate}"),
            "x".repeat(1 << 20),
        ] {
            fs::write(&path, &damaged).unwrap();
            let authority = Authority::load_or_create(directory.path()).unwrap();
            assert_ne!(authority.pem(), last);
            last = authority.pem().to_owned();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let authority = Authority::load_or_create(directory.path()).unwrap();
        assert_ne!(authority.pem(), last, "a key that others may have seen");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn certificates_are_renewed_while_it_runs() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::load_or_create(directory.path()).unwrap());
        let days = Arc::new(AtomicI64::new(0));
        let clock: Clock = {
            let days = days.clone();
            Arc::new(move || {
                let hours = 24 * days.load(Ordering::Relaxed);
                Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000 + hours)
            })
        };
        let now = clock();
        let current = Mutex::new((now, authority.issue(&addresses(), now).unwrap()));
        let resolver = Resolver { authority, addresses: addresses(), clock, current };
        let mut seen = vec![resolver.current()];
        for (day, renewed) in [(29, false), (31, true), (60, false), (400, true), (0, true)] {
            days.store(day, Ordering::Relaxed);
            let key = resolver.current();
            assert_eq!(!Arc::ptr_eq(&key, seen.last().unwrap()), renewed, "day {day}");
            seen.push(key);
        }
    }
}
