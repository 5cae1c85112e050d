//! The topics of the file as they are written, and their checks.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, time::Duration};

use hooks::receive::Limits;
use http::{HeaderName, Uri};
use serde::Deserialize;
use serde_saphyr::Spanned;
use web::{
    Cors,
    identity::{HeaderSettings, Trusted},
};

use super::{
    Admission, AuthConfig, Connect, Controller, Hooks, Install, Listeners, reader::Reader,
};
use crate::cli::Auth;

/// Shorter leases would be lost to a slow disk, longer ones leave workspaces alone for too long.
const LEASE_SECONDS: RangeInclusive<u64> = 3..=600;
/// Bytes of a body: the most is what an endpoint may choose for itself.
const BODY_BYTES: RangeInclusive<usize> = 1..=100 << 20;
/// The most bytes of all bodies in memory: a slip of the finger is caught, a large machine is not.
const MOST_INFLIGHT: usize = 64 << 30;
/// Failures per minute.
const FAILURES: RangeInclusive<u32> = 1..=1_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenersFile {
    api: Option<Spanned<String>>,
    apps: Option<Spanned<String>>,
    hooks: Option<Spanned<String>>,
    receivers: Option<Spanned<String>>,
    ops: Option<Spanned<String>>,
    admission: Option<Spanned<String>>,
    kube: Option<Spanned<String>>,
}

impl ListenersFile {
    pub(super) fn check(self, reader: &mut Reader<'_>) -> Listeners {
        Listeners {
            api: reader.address("listeners.api", self.api),
            apps: reader.address("listeners.apps", self.apps),
            hooks: reader.address("listeners.hooks", self.hooks),
            receivers: reader.address("listeners.receivers", self.receivers),
            ops: reader.address("listeners.ops", self.ops),
            admission: reader.address("listeners.admission", self.admission),
            kube: reader.address("listeners.kube", self.kube),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthFile {
    mode: Option<Auth>,
    header: HeaderFile,
    bearer: BearerFile,
    #[serde(rename = "allowedOrigins")]
    allowed_origins: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct HeaderFile {
    user: Option<Spanned<String>>,
    groups: Option<Spanned<String>>,
    user_prefix: Option<String>,
    groups_separator: Option<Spanned<String>>,
    trusted_peers: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BearerFile {
    audiences: Vec<String>,
}

impl AuthFile {
    pub(super) fn check(self, reader: &mut Reader<'_>) -> AuthConfig {
        let file = self.header;
        let default = HeaderSettings::default();
        let user = reader.checked("auth.header.user", file.user, header_name);
        let groups = reader.checked("auth.header.groups", file.groups, header_name);
        let separator =
            reader.checked("auth.header.groupsSeparator", file.groups_separator, |text| {
                let mut characters = text.chars();
                match (characters.next(), characters.next()) {
                    (Some(one), None) => Ok(one),
                    _ => Err("expected one character, such as ','".to_owned()),
                }
            });
        let trusted = file.trusted_peers.map(|peers| {
            let network = |peer| {
                let field = "auth.header.trustedPeers";
                reader.checked(field, Some(peer), |text| {
                    Trusted::parse([text]).map(|_| text.to_owned())
                })
            };
            let good: Vec<String> = peers.into_iter().filter_map(network).collect();
            Trusted::parse(good.iter().map(String::as_str)).unwrap_or_default()
        });
        let cors = self.allowed_origins.into_iter().fold(Cors::readable(), |cors, origin| {
            let with = |text: &str| cors.clone().with_origins([text]);
            reader.checked("auth.allowedOrigins", Some(origin), with).unwrap_or(cors)
        });
        AuthConfig {
            cors,
            mode: self.mode,
            header: HeaderSettings {
                user: user.unwrap_or(default.user),
                groups: groups.unwrap_or(default.groups),
                user_prefix: file.user_prefix.unwrap_or(default.user_prefix),
                groups_separator: separator,
                trusted: trusted.unwrap_or(default.trusted),
            },
            audiences: self.bearer.audiences,
        }
    }
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = text.trim().parse();
    name.map_err(|_| "expected the name of a header, such as kubeflow-userid".to_owned())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct ConnectFile {
    api_url: Option<Spanned<String>>,
    apps_url: Option<Spanned<String>>,
    shared_host: bool,
}

impl ConnectFile {
    pub(super) fn check(self, reader: &mut Reader<'_>) -> Connect {
        Connect {
            api_url: reader.checked("connect.apiUrl", self.api_url, origin),
            apps_url: reader.checked("connect.appsUrl", self.apps_url, origin),
            shared_host: self.shared_host,
        }
    }
}

/// An address without a path: connect paths begin at the root of their host.
fn origin(text: &str) -> Result<String, String> {
    let expected = || "expected an address without a path, such as https://example.org".to_owned();
    let uri: Uri = text.parse().map_err(|_| expected())?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    match (scheme, uri.authority(), uri.path(), uri.query()) {
        (Some(scheme), Some(host), "" | "/", None) => Ok(format!("{scheme}://{host}")),
        _ => Err(expected()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstallFile {
    definitions: Option<bool>,
    samples: Option<bool>,
    webhooks: Option<bool>,
}

impl From<InstallFile> for Install {
    fn from(file: InstallFile) -> Self {
        Self { definitions: file.definitions, samples: file.samples, webhooks: file.webhooks }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ControllerFile {
    enabled: Option<bool>,
    lease: LeaseFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct LeaseFile {
    namespace: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    duration_seconds: Option<Spanned<u64>>,
}

impl ControllerFile {
    pub(super) fn check(self, reader: &mut Reader<'_>) -> Controller {
        let lease = self.lease;
        let lease_namespace = reader.checked("controller.lease.namespace", lease.namespace, name);
        let lease_name = reader.checked("controller.lease.name", lease.name, name);
        let field = "controller.lease.durationSeconds";
        let seconds = within(reader, field, lease.duration_seconds, &LEASE_SECONDS);
        let lease_duration = seconds.map(Duration::from_secs);
        Controller { enabled: self.enabled, lease_namespace, lease_name, lease_duration }
    }
}

/// A number that lies in a range.
fn within<T: PartialOrd + Display>(
    reader: &mut Reader<'_>,
    field: &str,
    number: Option<Spanned<T>>,
    range: &RangeInclusive<T>,
) -> Option<T> {
    let number = number?;
    if range.contains(&number.value) {
        return Some(number.value);
    }
    let (least, most) = (range.start(), range.end());
    reader.problem(&number, &format!("{field}: expected {least} to {most}"));
    None
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AdmissionFile {
    service: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    certificate_dir: Option<Spanned<String>>,
    certificate_secret: Option<Spanned<String>>,
}

impl AdmissionFile {
    pub(super) fn check(self, reader: &mut Reader<'_>) -> Admission {
        if let (Some(_), Some(url)) = (&self.service, &self.url) {
            reader.problem(url, "admission: a service or a url, not both");
        }
        if let (Some(_), Some(secret)) = (&self.certificate_dir, &self.certificate_secret) {
            reader.problem(secret, "admission: a certificateDir or a certificateSecret, not both");
        }
        let directory = reader.checked("admission.certificateDir", self.certificate_dir, absolute);
        let secret = self.certificate_secret;
        Admission {
            service: reader.checked("admission.service", self.service, name),
            url: reader.checked("admission.url", self.url, secure),
            certificate_dir: directory,
            certificate_secret: reader.checked("admission.certificateSecret", secret, name),
        }
    }
}

/// An origin that API servers take.
pub(crate) fn secure(text: &str) -> Result<String, String> {
    let expected = || "expected an address such as https://example.org:9443".to_owned();
    origin(text).ok().filter(|url| url.starts_with("https://")).ok_or_else(expected)
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path).ok_or_else(|| "expected an absolute path".to_owned())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct HooksFile {
    url: Option<Spanned<String>>,
    certificate_dir: Option<Spanned<String>>,
    #[serde(rename = "allowCIDRs")]
    allow_cidrs: Vec<Spanned<String>>,
    #[serde(rename = "allowHTTP")]
    allow_http: bool,
    trusted_proxies: Vec<Spanned<String>>,
    max_body_bytes: Option<Spanned<usize>>,
    max_inflight_bytes: Option<Spanned<usize>>,
    failures_per_minute: Option<Spanned<u32>>,
}

impl HooksFile {
    pub(super) fn check(self, reader: &mut Reader<'_>) -> Hooks {
        let mut networks = |field: &str, list: Vec<Spanned<String>>| {
            let network = |text| reader.checked(field, Some(text), |text| text.parse());
            list.into_iter().filter_map(network).collect()
        };
        let allow = networks("hooks.allowCIDRs", self.allow_cidrs);
        let trusted_proxies = networks("hooks.trustedProxies", self.trusted_proxies);
        let body = within(reader, "hooks.maxBodyBytes", self.max_body_bytes, &BODY_BYTES);
        // One whole body has to fit.
        let inflight_bytes = body.unwrap_or(Limits::default().body_bytes)..=MOST_INFLIGHT;
        let inflight =
            within(reader, "hooks.maxInflightBytes", self.max_inflight_bytes, &inflight_bytes);
        let failures =
            within(reader, "hooks.failuresPerMinute", self.failures_per_minute, &FAILURES);
        let url = reader.checked("hooks.url", self.url, origin);
        let certificates = reader.checked("hooks.certificateDir", self.certificate_dir, absolute);
        Hooks {
            url,
            certificate_dir: certificates,
            allow,
            allow_http: self.allow_http,
            trusted_proxies,
            max_body_bytes: body,
            max_inflight_bytes: inflight,
            failures_per_minute: failures,
        }
    }
}

/// A name as Kubernetes takes it for namespaces; those of leases may be longer and need not be.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = text.bytes().all(|byte| plain(byte) || byte == b'-');
    let ends = [text.bytes().next(), text.bytes().last()].into_iter().flatten().all(plain);
    if inner && ends && (1..=63).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("expected lower-case letters, digits and '-', at most 63 characters".to_owned())
}
