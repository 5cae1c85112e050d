//! What `up` and `serve` run with: flags and environment over the file over the defaults.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use cluster::client::Target;
use embedded::node::ImageEntry;
use web::{Cors, identity::HeaderSettings};

use crate::{
    cli::{self, Auth, ClusterChoice},
    config::{self, Config, Connect, Controller, Listeners},
    failure::Failure,
    hooks::{HookSettings, ReceiverSettings},
};

const API_PORT: u16 = 4000;
const OPS_PORT: u16 = 4002;
const APPS_PORT: u16 = 4004;
const HOOKS_PORT: u16 = 4001;
const KUBE_PORT: u16 = 4005;

/// Settings of `up` or `serve`, complete and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) cluster: ClusterChoice,
    /// Where `endpoints.json` and the token go.
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) api: SocketAddr,
    pub(crate) apps: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) hooks: Option<HookSettings>,
    /// Where `Receiver` objects of Flux are served.
    pub(crate) receivers: Option<ReceiverSettings>,
    /// Where API servers ask whether objects are accepted.
    pub(crate) admission: Option<Admission>,
    /// Where the API of our own cluster is served.
    pub(crate) kube: Option<SocketAddr>,
    pub(crate) identity: Identity,
    /// Which pages of other origins may use the API.
    pub(crate) cors: Cors,
    pub(crate) connect: Connect,
    pub(crate) definitions: bool,
    pub(crate) samples: bool,
    pub(crate) controller: bool,
    /// Only for a cluster that others use as well.
    pub(crate) lease: Option<Lease>,
    pub(crate) images: Vec<ImageEntry>,
}

/// Who is the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    Local,
    Open,
    Header(HeaderSettings),
    Bearer(Vec<String>),
}

/// The admission listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) listen: SocketAddr,
    /// Whether the cluster's configuration is made if it is missing.
    pub(crate) install: bool,
    pub(crate) options: config::Admission,
}

/// The lease of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    /// By default the namespace that we run in, or that of the context.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) duration: Duration,
}

impl Settings {
    /// `up`: everything on this machine.
    pub(crate) fn up(up: cli::Up, file: Config) -> Result<Self, Failure> {
        let identity = match up.auth.map(Auth::from).or(file.auth.mode).unwrap_or(Auth::Local) {
            Auth::Local => Identity::Local,
            Auth::None => Identity::Open,
            Auth::Header | Auth::Bearer => {
                return Err(Failure::usage("`up` knows the callers of one machine only")
                    .hint("auth.mode is `local` or `none` for `up`; the others are for `serve`"));
            }
        };
        if file.cluster.is_some() {
            return Err(Failure::usage("`up` has a cluster of its own")
                .hint("`quartermaster serve` takes another one; or leave `cluster` out"));
        }
        let data_dir = data_dir(up.data_dir.data_dir.or(file.data_dir))?;
        let flags = [up.listen, up.apps_listen, up.ops_listen];
        let [api, apps, ops] = addresses(flags, &file.listeners, Ipv4Addr::LOCALHOST);
        let receivers = up.receivers.or(file.listeners.receivers);
        let receivers = receivers.map(|listen| ReceiverSettings {
            listen,
            directory: Some(data_dir.join("receivers")),
            own_namespace_only: false,
            own_machine: true,
            options: file.hooks.clone(),
        });
        let hooks = up.hooks_listen.or(file.listeners.hooks);
        let hooks = HookSettings {
            listen: hooks.unwrap_or_else(|| beside(api, HOOKS_PORT)),
            directory: data_dir.join("hooks"),
            own_machine: true,
            options: file.hooks,
        };
        // This one stays on this machine, wherever the API is.
        let near = if api.ip().is_loopback() { api.ip() } else { Ipv4Addr::LOCALHOST.into() };
        let kube = beside(SocketAddr::new(near, api.port()), KUBE_PORT);
        let settings = Self {
            hooks: Some(hooks),
            receivers,
            admission: None,
            cluster: ClusterChoice::Embedded(data_dir.clone()),
            data_dir: Some(data_dir),
            api,
            apps,
            ops,
            kube: Some(up.kube_listen.or(file.listeners.kube).unwrap_or(kube)),
            identity,
            cors: file.auth.cors,
            connect: Connect::default(),
            definitions: true,
            samples: file.install.samples.unwrap_or(true),
            controller: file.controller.enabled.unwrap_or(true),
            lease: None,
            images: file.images,
        };
        settings.check()?;
        Ok(settings)
    }

    /// `serve`: a cluster that is there.
    pub(crate) fn serve(serve: cli::Serve, file: Config) -> Result<Self, Failure> {
        let identity = match serve.auth.or(file.auth.mode).unwrap_or(Auth::Header) {
            Auth::Local => Identity::Local,
            Auth::Header => Identity::Header(file.auth.header),
            Auth::Bearer => Identity::Bearer(file.auth.audiences),
            Auth::None => {
                return Err(Failure::usage("`serve` does not work without authentication")
                    .hint("auth.mode is `header`, `bearer` or `local`"));
            }
        };
        let cluster = serve.cluster.or(file.cluster);
        let cluster = cluster.unwrap_or(ClusterChoice::Elsewhere(Target::Auto));
        let data_dir = match (serve.data_dir.or(file.data_dir), &cluster, &identity) {
            (Some(dir), ..) => Some(data_dir(Some(dir))?),
            (None, ClusterChoice::Embedded(dir), _) => Some(data_dir(Some(dir.clone()))?),
            // Beside that of `up`, which may run on this machine as well.
            (None, _, Identity::Local) => Some(data_dir(None)?.join("serve")),
            _ => None,
        };
        let everywhere = match identity {
            Identity::Local => Ipv4Addr::LOCALHOST,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let flags = [serve.listen, serve.apps_listen, serve.ops_listen];
        let [api, apps, ops] = addresses(flags, &file.listeners, everywhere);
        let lease = match cluster {
            ClusterChoice::Embedded(_) => None,
            ClusterChoice::Elsewhere(_) => Some(file.controller.lease()),
        };
        let own_machine = identity == Identity::Local;
        let receivers = serve.receivers.or(file.listeners.receivers);
        let receivers = receivers.map(|listen| ReceiverSettings {
            listen,
            directory: data_dir.as_ref().map(|dir| dir.join("receivers")),
            own_namespace_only: serve.no_cross_namespace_refs,
            own_machine,
            options: file.hooks.clone(),
        });
        let hooks = match (serve.hooks_listen.or(file.listeners.hooks), &data_dir) {
            (None, _) => None,
            (Some(listen), Some(dir)) => {
                let (directory, options) = (dir.join("hooks"), file.hooks);
                Some(HookSettings { listen, directory, own_machine, options })
            }
            (Some(_), None) => {
                return Err(Failure::usage("hooks need a directory for their journal")
                    .hint("say it with --data-dir DIR, on a disk that lasts"));
            }
        };
        let admission = match (serve.admission_listen.or(file.listeners.admission), &cluster) {
            (None, _) => None,
            (Some(listen), ClusterChoice::Elsewhere(_)) => {
                let install = file.install.webhooks.unwrap_or(true);
                Some(Admission { listen, install, options: file.admission })
            }
            (Some(_), ClusterChoice::Embedded(_)) => {
                return Err(Failure::usage("a cluster of our own knows the rules by itself")
                    .hint("leave the admission listener out; it is for a Kubernetes cluster"));
            }
        };
        let settings = Self {
            hooks,
            receivers,
            admission,
            cluster,
            data_dir,
            api,
            apps,
            ops,
            kube: None,
            identity,
            cors: file.auth.cors,
            connect: file.connect,
            definitions: serve.install_definitions.or(file.install.definitions).unwrap_or(true),
            samples: serve.install_samples || file.install.samples.unwrap_or(false),
            controller: file.controller.enabled.unwrap_or(true),
            lease,
            images: file.images,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Failure> {
        if let Some(address) = self.kube.filter(|address| !address.ip().is_loopback()) {
            return Err(Failure::usage(format!(
                "the kube listener cannot use {address}: the Kubernetes API of `up` is for this \
                 machine only"
            ))
            .hint("listen at 127.0.0.1 or [::1]; to reach it from elsewhere use an SSH tunnel"));
        }
        for (name, address) in [("api", self.api), ("apps", self.apps), ("ops", self.ops)] {
            if self.identity == Identity::Local && !address.ip().is_loopback() {
                return Err(Failure::usage(format!(
                    "the {name} listener cannot use {address}: `local` authentication is for this \
                     machine only"
                ))
                .hint(
                    "listen at 127.0.0.1 or [::1]; to reach it from elsewhere use an SSH tunnel",
                ));
            }
        }
        if self.cors != Cors::readable()
            && matches!(self.identity, Identity::Local | Identity::Open)
        {
            return Err(Failure::usage("auth.allowedOrigins is for `header` and `bearer` only")
                .hint("on one machine no page of another origin may act as you"));
        }
        if self.connect.shared_host && matches!(self.identity, Identity::Local | Identity::Open) {
            return Err(Failure::usage("connect.sharedHost is for `header` and `bearer` only")
                .hint(
                    "on one machine workspaces have a port of their own, so that what runs in them \
                 cannot act as you",
                ));
        }
        Ok(())
    }
}

impl Controller {
    fn lease(&self) -> Lease {
        Lease {
            namespace: self.lease_namespace.clone(),
            name: self.lease_name.clone().unwrap_or_else(|| "quartermaster".to_owned()),
            duration: self.lease_duration.unwrap_or(Duration::from_secs(15)),
        }
    }
}

/// The addresses of api, apps and ops.
fn addresses(
    [api, apps, ops]: [Option<SocketAddr>; 3],
    file: &Listeners,
    default: Ipv4Addr,
) -> [SocketAddr; 3] {
    let api = api.or(file.api).unwrap_or(SocketAddr::new(IpAddr::V4(default), API_PORT));
    // Neighbours stay beside the API: same address, and free ports if it takes a free one.
    let apps = apps.or(file.apps).unwrap_or_else(|| beside(api, APPS_PORT));
    let ops = ops.or(file.ops).unwrap_or_else(|| beside(api, OPS_PORT));
    [api, apps, ops]
}

/// A neighbour of the API.
fn beside(api: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(api.ip(), if api.port() == 0 { 0 } else { port })
}

/// The data directory asked for, or the one of this user.
pub(crate) fn data_dir(wanted: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let absolute =
        |variable| std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
    let dir = wanted
        .or_else(|| absolute("XDG_DATA_HOME").map(|data| data.join("quartermaster")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/quartermaster")))
        .ok_or_else(|| {
            Failure::usage("cannot tell where to keep data: HOME is not set")
                .hint("say it with --data-dir DIR")
        })?;
    std::path::absolute(&dir)
        .map_err(|error| Failure::usage(format!("cannot use {}: {error}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> cli::Up {
        cli::Up {
            data_dir: cli::DataDir { data_dir: Some("/data".into()) },
            listen: None,
            apps_listen: None,
            ops_listen: None,
            hooks_listen: None,
            receivers: None,
            kube_listen: None,
            config: None,
            auth: None,
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let settings = Settings::up(up(), Config::default()).unwrap();
        let addresses = |settings: &Settings| {
            let kube = settings.kube.unwrap();
            [settings.api, settings.apps, settings.ops, kube].map(|a| a.to_string())
        };
        assert_eq!(
            addresses(&settings),
            ["127.0.0.1:4000", "127.0.0.1:4004", "127.0.0.1:4002", "127.0.0.1:4005"]
        );

        let mut file = Config::default();
        file.auth.mode = Some(Auth::None);
        file.listeners.api = Some("127.0.0.1:1".parse().unwrap());
        file.listeners.ops = Some("127.0.0.1:2".parse().unwrap());
        let flags = cli::Up { listen: Some("[::1]:0".parse().unwrap()), ..up() };
        let settings = Settings::up(flags, file).unwrap();
        assert_eq!(addresses(&settings), ["[::1]:0", "[::1]:0", "127.0.0.1:2", "[::1]:0"]);
        assert_eq!(settings.identity, Identity::Open);
    }

    #[test]
    fn local_authentication_stays_on_this_machine() {
        for listen in ["0.0.0.0:4000", "[::]:0", "192.0.2.1:80"] {
            let flags = || cli::Up { listen: Some(listen.parse().unwrap()), ..up() };
            assert!(Settings::up(flags(), Config::default()).is_err(), "{listen}");
            let open = cli::Up { auth: Some(cli::LocalAuth::None), ..flags() };
            let settings = Settings::up(open, Config::default()).unwrap();
            assert!(settings.kube.unwrap().ip().is_loopback(), "{listen}");
            let kube = cli::Up { kube_listen: Some(listen.parse().unwrap()), ..up() };
            assert!(Settings::up(kube, Config::default()).is_err(), "{listen}");
        }
    }

    fn serve() -> cli::Serve {
        cli::Serve::default()
    }

    #[test]
    fn serve_faces_the_network_and_believes_a_proxy_beside_it() {
        let settings = Settings::serve(serve(), Config::default()).unwrap();
        assert_eq!(settings.cluster, ClusterChoice::Elsewhere(Target::Auto));
        assert_eq!(settings.identity, Identity::Header(HeaderSettings::default()));
        assert_eq!(settings.api.to_string(), "0.0.0.0:4000");
        assert_eq!(settings.data_dir, None, "nothing is written to disk");
        assert!(settings.definitions && settings.controller && !settings.samples);
        assert_eq!(settings.lease.unwrap().duration, Duration::from_secs(15));
    }

    #[test]
    fn serve_for_one_person_stays_on_this_machine() {
        let flags =
            || cli::Serve { auth: Some(Auth::Local), data_dir: Some("/data".into()), ..serve() };
        let settings = Settings::serve(flags(), Config::default()).unwrap();
        assert_eq!(settings.api.to_string(), "127.0.0.1:4000");
        let open = cli::Serve { listen: Some("0.0.0.0:1".parse().unwrap()), ..flags() };
        assert!(Settings::serve(open, Config::default()).is_err());
        let none = cli::Serve { auth: Some(Auth::None), ..serve() };
        assert!(Settings::serve(none, Config::default()).is_err());
        let mut shared = Config::default();
        shared.connect.shared_host = true;
        assert!(Settings::serve(flags(), shared).is_err());
        let mut visited = Config::default();
        visited.auth.cors = Cors::readable().with_origins(["https://portal.example.org"]).unwrap();
        assert!(Settings::serve(flags(), visited).is_err());
    }

    #[test]
    fn up_refuses_what_only_a_cluster_has() {
        let mut file = Config::default();
        file.auth.mode = Some(Auth::Header);
        assert!(Settings::up(up(), file).is_err());
        let file = Config {
            cluster: Some(ClusterChoice::Elsewhere(Target::InCluster)),
            ..Config::default()
        };
        assert!(Settings::up(up(), file).is_err());
    }
}
