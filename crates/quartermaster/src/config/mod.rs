//! The configuration file, `quartermaster.yaml`: one struct per topic.
//!
//! All that is wrong with a file is reported at once, each error with its line: one structural
//! error per topic (unknown or misplaced fields, wrong types) and every value that breaks a rule.

mod reader;
mod topics;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use embedded::node::ImageEntry;
use hooks::limits::Network;
use serde_saphyr::Spanned;
use web::{Cors, identity::HeaderSettings};

pub(crate) use self::topics::{name, secure};
use self::{
    reader::Reader,
    topics::{
        AdmissionFile, AuthFile, ConnectFile, ControllerFile, HooksFile, InstallFile, ListenersFile,
    },
};
use crate::{
    cli::{Auth, ClusterChoice},
    failure::Failure,
};

const SIZE_LIMIT: u64 = 1024 * 1024;
const TOPICS: [&str; 11] = [
    "dataDir",
    "cluster",
    "listeners",
    "auth",
    "connect",
    "install",
    "controller",
    "admission",
    "hooks",
    "images",
    "log",
];

/// Everything that a file may set. All of it is optional.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) cluster: Option<ClusterChoice>,
    pub(crate) listeners: Listeners,
    pub(crate) auth: AuthConfig,
    pub(crate) connect: Connect,
    pub(crate) install: Install,
    pub(crate) controller: Controller,
    pub(crate) admission: Admission,
    pub(crate) hooks: Hooks,
    pub(crate) images: Vec<ImageEntry>,
    pub(crate) log: Option<String>,
}

/// Addresses to listen at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listeners {
    pub(crate) api: Option<SocketAddr>,
    pub(crate) apps: Option<SocketAddr>,
    pub(crate) hooks: Option<SocketAddr>,
    pub(crate) receivers: Option<SocketAddr>,
    pub(crate) ops: Option<SocketAddr>,
    pub(crate) admission: Option<SocketAddr>,
    pub(crate) kube: Option<SocketAddr>,
}

/// Who is the caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AuthConfig {
    pub(crate) mode: Option<Auth>,
    /// For the mode `header`.
    pub(crate) header: HeaderSettings,
    /// For the mode `bearer`: the audiences of tokens, by default those of the cluster's API.
    pub(crate) audiences: Vec<String>,
    /// Which pages of other origins may use the API.
    pub(crate) cors: Cors,
}

impl Default for AuthConfig {
    fn default() -> Self {
        let (mode, header, audiences) = Default::default();
        Self { mode, header, audiences, cors: Cors::readable() }
    }
}

/// How browsers find the way into workspaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Connect {
    /// Address of the API as browsers know it.
    pub(crate) api_url: Option<String>,
    /// Address of the apps listener as browsers know it.
    pub(crate) apps_url: Option<String>,
    /// Workspaces are opened under the API's own host.
    pub(crate) shared_host: bool,
}

/// What is put into the cluster at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Install {
    pub(crate) definitions: Option<bool>,
    pub(crate) samples: Option<bool>,
    pub(crate) webhooks: Option<bool>,
}

/// The controller of workspaces, and the lease that makes it one among replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Controller {
    pub(crate) enabled: Option<bool>,
    pub(crate) lease_namespace: Option<String>,
    pub(crate) lease_name: Option<String>,
    pub(crate) lease_duration: Option<Duration>,
}

/// How API servers reach the admission listener, and what it proves itself with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    /// The Service in our namespace.
    pub(crate) service: Option<String>,
    /// An address instead of a Service.
    pub(crate) url: Option<String>,
    /// A directory with a certificate that somebody else keeps.
    pub(crate) certificate_dir: Option<PathBuf>,
    /// A Secret in our namespace with one.
    pub(crate) certificate_secret: Option<String>,
}

/// What goes for all webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// Address of the hooks listener as senders know it.
    pub(crate) url: Option<String>,
    /// Where the certificate of the hooks listener is.
    pub(crate) certificate_dir: Option<PathBuf>,
    /// Addresses that targets may be at although they are not public.
    pub(crate) allow: Vec<Network>,
    /// Whether targets may be reached without TLS.
    pub(crate) allow_http: bool,
    /// Proxies that are believed when they say who called.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Bytes of a body.
    pub(crate) max_body_bytes: Option<usize>,
    /// Bytes of all bodies in memory.
    pub(crate) max_inflight_bytes: Option<usize>,
    /// How often an address may fail.
    pub(crate) failures_per_minute: Option<u32>,
}

impl Config {
    /// Reads the file that a command line names, if it names one.
    pub(crate) fn load_optional(path: Option<&Path>) -> Result<Self, Failure> {
        path.map_or_else(|| Ok(Self::default()), Self::load)
    }

    /// Reads a file; the error holds everything that is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::usage(format!("cannot read the configuration {}: {error}", path.display()))
        };
        if std::fs::metadata(path).map_err(unreadable)?.len() > SIZE_LIMIT {
            return Err(unreadable(std::io::Error::other("larger than 1 MiB")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, name: &str) -> Result<Self, Failure> {
        let mut reader = Reader { text, name, problems: Vec::new() };
        reader.check_topics();
        let data_dir: Option<String> = reader.topic("dataDir");
        let cluster: Option<Spanned<String>> = reader.topic("cluster");
        let listeners: ListenersFile = reader.topic("listeners").unwrap_or_default();
        let auth: AuthFile = reader.topic("auth").unwrap_or_default();
        let connect: ConnectFile = reader.topic("connect").unwrap_or_default();
        let install: InstallFile = reader.topic("install").unwrap_or_default();
        let controller: ControllerFile = reader.topic("controller").unwrap_or_default();
        let admission: AdmissionFile = reader.topic("admission").unwrap_or_default();
        let hooks: HooksFile = reader.topic("hooks").unwrap_or_default();
        let images: Vec<Spanned<ImageEntry>> = reader.topic("images").unwrap_or_default();
        let log: Option<Spanned<String>> = reader.topic("log");
        let config = Self {
            data_dir: data_dir.map(PathBuf::from),
            cluster: reader.checked("cluster", cluster, |text| text.parse()),
            listeners: listeners.check(&mut reader),
            auth: auth.check(&mut reader),
            connect: connect.check(&mut reader),
            install: install.into(),
            controller: controller.check(&mut reader),
            admission: admission.check(&mut reader),
            hooks: hooks.check(&mut reader),
            images: images.into_iter().map(|image| reader.image(image)).collect(),
            log: reader.filter(log),
        };
        match reader.problems.len() {
            0 => Ok(config),
            1 => Err(Failure::usage(reader.problems.remove(0))),
            count => Err(Failure::usage(format!(
                "{name} has {count} errors\n\n{}",
                reader.problems.join("\n\n")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "\
dataDir: /srv/quartermaster
listeners:
  api: 127.0.0.1:5000
auth:
  mode: none
images:
- image: registry.example.org/notebook:*
  command: [jupyter, lab]
  env: {LANG: C.UTF-8}
log: info,embedded=debug
";

    #[test]
    fn a_full_file_is_read() {
        let config = Config::parse(FULL, "q.yaml").unwrap();
        assert_eq!(config.data_dir, Some("/srv/quartermaster".into()));
        assert_eq!(config.listeners.api, Some("127.0.0.1:5000".parse().unwrap()));
        assert_eq!(config.auth.mode, Some(Auth::None));
        assert_eq!(config.images[0].command, ["jupyter", "lab"]);
        assert_eq!(config.log.as_deref(), Some("info,embedded=debug"));
        assert_eq!(Config::parse("", "q.yaml").unwrap(), Config::default());
        assert_eq!(Config::parse("# nothing\n", "q.yaml").unwrap(), Config::default());
    }

    const CLUSTER: &str = "\
cluster: kubeconfig:prod
auth:
  mode: header
  header:
    user: ' x-user '
    groups: x-groups
    userPrefix: ''
    groupsSeparator: ','
    trustedPeers: [10.0.0.0/8, 192.0.2.7]
  bearer: {audiences: [quartermaster]}
  allowedOrigins: [https://portal.example.org]
connect:
  apiUrl: https://notebooks.example.org/
  appsUrl: https://apps.example.org
install: {definitions: false, samples: true, webhooks: false}
listeners: {admission: '0.0.0.0:9443'}
admission: {service: door, certificateDir: /certificates}
controller:
  enabled: true
  lease: {namespace: q, name: leader, durationSeconds: 30}
hooks:
  trustedProxies: [10.0.0.0/8]
  maxBodyBytes: 26214400
  maxInflightBytes: 1073741824
  failuresPerMinute: 300
";

    #[test]
    fn a_file_for_a_cluster_is_read() {
        let config = Config::parse(CLUSTER, "q.yaml").unwrap();
        let target = cluster::client::Target::Kubeconfig(Some("prod".to_owned()));
        assert_eq!(config.cluster, Some(ClusterChoice::Elsewhere(target)));
        assert_eq!(config.auth.mode, Some(Auth::Header));
        assert_eq!(config.auth.header.user, "x-user");
        assert_eq!(config.auth.header.user_prefix, "");
        assert_eq!(config.auth.header.groups_separator, Some(','));
        assert!(config.auth.header.trusted.contains("10.9.9.9".parse().unwrap()));
        assert!(!config.auth.header.trusted.contains("127.0.0.1".parse().unwrap()));
        assert_eq!(config.auth.audiences, ["quartermaster"]);
        let origins = Cors::readable().with_origins(["https://portal.example.org"]).unwrap();
        assert_eq!(config.auth.cors, origins);
        assert_eq!(config.connect.api_url.as_deref(), Some("https://notebooks.example.org"));
        assert_eq!(
            config.install,
            Install { definitions: Some(false), samples: Some(true), webhooks: Some(false) }
        );
        assert_eq!(config.listeners.admission, Some("0.0.0.0:9443".parse().unwrap()));
        assert_eq!(config.admission.service.as_deref(), Some("door"));
        assert_eq!(config.admission.certificate_dir, Some("/certificates".into()));
        assert_eq!(config.controller.lease_duration, Some(Duration::from_secs(30)));
        assert_eq!(config.hooks.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(config.hooks.max_body_bytes, Some(25 << 20));
        assert_eq!(config.hooks.max_inflight_bytes, Some(1 << 30));
        assert_eq!(config.hooks.failures_per_minute, Some(300));
    }

    #[test]
    fn every_error_of_a_file_for_a_cluster_is_reported_at_once() {
        let text = "\
cluster: kubconfig
auth:
  mode: header
  header:
    user: ''
    groups: 'no header'
    groupsSeparator: '::'
    trustedPeers: [10.0.0.0/40, anywhere]
  allowedOrigins: [https://portal.example.org, portal.example.org, '*']
connect:
  apiUrl: notebooks.example.org
  appsUrl: ftp://apps.example.org
  sharedHost: maybe
controller:
  lease: {namespace: 'Not A Name', durationSeconds: 1}
admission: {service: a/b, url: 'http://example.org', certificateDir: here, certificateSecret: s}
hooks: {trustedProxies: [ingress], maxBodyBytes: 0, maxInflightBytes: 1000, failuresPerMinute: 0}
";
        let report = Config::parse(text, "q.yaml").unwrap_err().to_string();
        insta::assert_snapshot!(report);
    }

    #[test]
    fn every_error_of_a_file_is_reported_at_once() {
        let text = "\
listners: {}
listeners:
  api: localhost
  apps: 127.0.0.1:99999
auth:
  mode: trust
images:
- image: x
  comand: [y]
log: 'a=b=c'
";
        let report = Config::parse(text, "q.yaml").unwrap_err().to_string();
        insta::assert_snapshot!(report);
    }

    #[test]
    fn broken_yaml_is_reported_once() {
        let report = Config::parse("a: [", "q.yaml").unwrap_err().to_string();
        assert_eq!(report.matches("q.yaml").count(), 1, "{report}");
        let report = Config::parse("just text", "q.yaml").unwrap_err().to_string();
        assert!(report.contains("mapping"), "{report}");
    }
}
