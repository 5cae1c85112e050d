//! The certificate authority of one cluster, its certificates, and kubeconfigs that use them.

use std::{
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

/// The address of the service `kubernetes` in the default namespace.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// An authority whose files are in one directory.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    pub(super) directory: PathBuf,
}

impl Authority {
    pub(super) fn new(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named("quartermaster-testenv", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        write(&directory.join("ca.crt"), &certificate)?;
        write(&directory.join("ca.key"), &key.serialize_pem())?;
        // What signs the tokens of service accounts is a key without a certificate.
        let tokens = KeyPair::generate()?;
        write(&directory.join("service-account.key"), &tokens.serialize_pem())?;
        write(&directory.join("service-account.pub"), &tokens.public_key_pem())?;
        Ok(Self { issuer: Issuer::new(params, key), certificate, directory })
    }

    /// Writes `NAME.crt` and `NAME.key` of a server.
    pub(super) fn server(&self, name: &str, addresses: &[Ipv4Addr]) -> Result<()> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        let addresses = addresses.iter().chain([&Ipv4Addr::LOCALHOST, &SERVICE]);
        params
            .subject_alt_names
            .extend(addresses.map(|address| SanType::IpAddress(IpAddr::V4(*address))));
        params.distinguished_name = named(name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params)?;
        Ok(())
    }

    /// Writes certificate, key and `NAME.kubeconfig` of a user; gives the kubeconfig.
    pub(super) fn user(&self, name: &str, user: &User<'_>, server: &str) -> Result<PathBuf> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = named(user.name, user.group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.sign(name, params)?;
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testenv", "cluster": {
                "server": server,
                "certificate-authority-data": BASE64.encode(&self.certificate),
            }}],
            "users": [{"name": name, "user": {
                "client-certificate-data": BASE64.encode(certificate),
                "client-key-data": BASE64.encode(key),
            }}],
            "contexts": [{"name": "testenv", "context": {"cluster": "testenv", "user": name}}],
            "current-context": "testenv",
        });
        let file = self.directory.join(format!("{name}.kubeconfig"));
        write(&file, &format!("{kubeconfig:#}\n"))?;
        Ok(file)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Result<(String, String)> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        write(&self.directory.join(format!("{name}.crt")), &certificate)?;
        write(&self.directory.join(format!("{name}.key")), &key)?;
        Ok((certificate, key))
    }
}

/// Whom a client certificate names.
pub(super) struct User<'a> {
    pub(super) name: &'a str,
    pub(super) group: Option<&'a str>,
}

fn named(name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    if let Some(organization) = organization {
        all.push(DnType::OrganizationName, organization);
    }
    all.push(DnType::CommonName, name);
    all
}

/// A file that only its owner reads.
fn write(file: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", file.display()))
}
