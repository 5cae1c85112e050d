//! The `Hook` objects of the cluster, on a listener of their own: it faces the internet, and nothing
//! else shares it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use hooks::{
    controller,
    limits::Rate,
    meters::Meters,
    receive::{Limits, Receiver},
    receivers,
    server::{Options, Server, StartError},
};
use kube::Client;

use crate::{config::Hooks, failure::Failure};

/// Where hooks are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HookSettings {
    pub(crate) listen: SocketAddr,
    /// Of the journal.
    pub(crate) directory: PathBuf,
    /// Whether this is a machine of one's own, on which targets may be at any address.
    pub(crate) own_machine: bool,
    pub(crate) options: Hooks,
}

/// Where `Receiver` objects of Flux are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiverSettings {
    pub(crate) listen: SocketAddr,
    /// Of the journal; without one it is in memory.
    pub(crate) directory: Option<PathBuf>,
    /// Whether objects of other namespaces are out of their reach.
    pub(crate) own_namespace_only: bool,
    pub(crate) own_machine: bool,
    pub(crate) options: Hooks,
}

/// What hooks and receivers may do.
fn rules(own_machine: bool, options: &Hooks) -> controller::Options {
    if own_machine {
        return controller::Options::own_machine();
    }
    controller::Options {
        allow: options.allow.clone(),
        allow_http: options.allow_http,
        ..controller::Options::default()
    }
}

/// What is bounded for all of them.
fn limits(options: &Hooks) -> Limits {
    let default = Limits::default();
    let failures = options.failures_per_minute.map(|per_minute| {
        let per_minute = f64::from(per_minute);
        Rate { per_second: per_minute / 60.0, burst: 2.0 * per_minute }
    });
    Limits {
        body_bytes: options.max_body_bytes.unwrap_or(default.body_bytes),
        inflight_bytes: options.max_inflight_bytes.unwrap_or(default.inflight_bytes),
        failures: failures.unwrap_or(default.failures),
        trusted_proxies: options.trusted_proxies.clone(),
        ..default
    }
}

/// Starts to serve receivers, if that is wanted, and to count beside these hooks.
pub(crate) async fn start_receivers(
    settings: Option<&ReceiverSettings>,
    hooks: Option<&Server>,
    client: &Client,
) -> Result<Option<receivers::Server>, Failure> {
    let Some(settings) = settings else { return Ok(None) };
    let options = receivers::Options {
        listen: settings.listen,
        certificates: settings.options.certificate_dir.clone(),
        own_namespace_only: settings.own_namespace_only,
        rules: rules(settings.own_machine, &settings.options),
        directory: settings.directory.clone(),
        limits: limits(&settings.options),
        meters: Arc::new(
            hooks.map_or_else(Meters::default, |one| one.receiver().meters().beside()),
        ),
    };
    if options.directory.is_none() {
        tracing::warn!("what receivers could not tell is kept in memory only: no --data-dir DIR");
    }
    let started = receivers::Server::start(client.clone(), options).await;
    started.map(Some).map_err(|error| not_started(error, "--receivers=ADDR"))
}

/// Starts to serve hooks, if that is wanted.
pub(crate) async fn start(
    settings: Option<&HookSettings>,
    client: &Client,
) -> Result<Option<Server>, Failure> {
    let Some(settings) = settings else { return Ok(None) };
    let options = Options {
        listen: settings.listen,
        directory: settings.directory.clone(),
        certificates: settings.options.certificate_dir.clone(),
        limits: limits(&settings.options),
        controller: rules(settings.own_machine, &settings.options),
    };
    let started = Server::start(client.clone(), options).await;
    started.map(Some).map_err(|error| not_started(error, "--hooks-listen ADDR"))
}

/// What hooks and receivers count.
pub(crate) fn counting(
    hooks: Option<&Server>,
    receivers: Option<&receivers::Server>,
) -> Vec<Arc<Receiver>> {
    let hooks = hooks.map(Server::receiver);
    hooks.into_iter().chain(receivers.map(receivers::Server::receiver)).map(Arc::clone).collect()
}

fn not_started(error: StartError, flag: &str) -> Failure {
    match error {
        StartError::Listen(address, error) => {
            Failure::new(format!("cannot listen at {address}: {error}"))
                .hint(format!("choose another with {flag}; port 0 takes a free one"))
        }
        StartError::Certificates(problem) => {
            Failure::new(problem).hint("hooks.certificateDir has tls.crt and tls.key, in PEM")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_file() {
        let options = Hooks {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            max_body_bytes: Some(1),
            max_inflight_bytes: Some(2),
            failures_per_minute: Some(30),
            ..Hooks::default()
        };
        let (set, default) = (limits(&options), limits(&Hooks::default()));
        assert_eq!((set.body_bytes, set.inflight_bytes), (1, 2));
        assert_eq!(set.trusted_proxies, options.trusted_proxies);
        // Thirty is the default.
        assert_eq!(set.failures, default.failures);
        assert_eq!(default.body_bytes, Limits::default().body_bytes);
        assert!(default.trusted_proxies.is_empty());
    }
}
