//! What `up` runs with: flags and environment over the file over the defaults.

use std::{net::SocketAddr, path::PathBuf};

use embedded::node::ImageEntry;

use crate::{
    cli::{self, Auth},
    config::Config,
    failure::Failure,
};

const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4000);
const OPS_PORT: u16 = 4002;
const APPS_PORT: u16 = 4004;

/// Settings of `up`, complete and checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) api: SocketAddr,
    pub(crate) apps: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) auth: Auth,
    pub(crate) images: Vec<ImageEntry>,
}

impl Settings {
    /// Puts the layers on top of each other.
    pub(crate) fn resolve(up: cli::Up, file: Config) -> Result<Self, Failure> {
        let api = up.listen.or(file.listeners.api).unwrap_or(API);
        // Neighbours stay beside the API: same address, and free ports if it takes a free one.
        let beside = |port| SocketAddr::new(api.ip(), if api.port() == 0 { 0 } else { port });
        let settings = Self {
            data_dir: data_dir(up.data_dir.data_dir.or(file.data_dir))?,
            api,
            apps: up.apps_listen.or(file.listeners.apps).unwrap_or_else(|| beside(APPS_PORT)),
            ops: up.ops_listen.or(file.listeners.ops).unwrap_or_else(|| beside(OPS_PORT)),
            auth: up.auth.or(file.auth).unwrap_or(Auth::Local),
            images: file.images,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Failure> {
        for (name, address) in [("api", self.api), ("apps", self.apps), ("ops", self.ops)] {
            if self.auth == Auth::Local && !address.ip().is_loopback() {
                return Err(Failure::usage(format!(
                    "the {name} listener cannot use {address}: `local` authentication is for this \
                     machine only"
                ))
                .hint(
                    "listen at 127.0.0.1 or [::1]; to reach it from elsewhere use an SSH tunnel",
                ));
            }
        }
        Ok(())
    }
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
            config: None,
            auth: None,
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let settings = Settings::resolve(up(), Config::default()).unwrap();
        let addresses = [settings.api, settings.apps, settings.ops].map(|a| a.to_string());
        assert_eq!(addresses, ["127.0.0.1:4000", "127.0.0.1:4004", "127.0.0.1:4002"]);

        let mut file = Config { auth: Some(Auth::None), ..Config::default() };
        file.listeners.api = Some("127.0.0.1:1".parse().unwrap());
        file.listeners.ops = Some("127.0.0.1:2".parse().unwrap());
        let flags = cli::Up { listen: Some("[::1]:0".parse().unwrap()), ..up() };
        let settings = Settings::resolve(flags, file).unwrap();
        let addresses = [settings.api, settings.apps, settings.ops].map(|a| a.to_string());
        assert_eq!(addresses, ["[::1]:0", "[::1]:0", "127.0.0.1:2"]);
        assert_eq!(settings.auth, Auth::None);
    }

    #[test]
    fn local_authentication_stays_on_this_machine() {
        for listen in ["0.0.0.0:4000", "[::]:0", "192.0.2.1:80"] {
            let flags = || cli::Up { listen: Some(listen.parse().unwrap()), ..up() };
            assert!(Settings::resolve(flags(), Config::default()).is_err(), "{listen}");
            let open = cli::Up { auth: Some(Auth::None), ..flags() };
            assert!(Settings::resolve(open, Config::default()).is_ok(), "{listen}");
        }
    }
}
