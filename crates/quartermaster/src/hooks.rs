//! The `Hook` objects of the cluster, on a listener of their own: it faces the internet, and nothing
//! else shares it.

use std::{net::SocketAddr, path::PathBuf};

use hooks::{
    controller,
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

/// Starts to serve hooks, if that is wanted.
pub(crate) async fn start(
    settings: Option<&HookSettings>,
    client: &Client,
) -> Result<Option<Server>, Failure> {
    let Some(settings) = settings else { return Ok(None) };
    let options = Options {
        listen: settings.listen,
        directory: settings.directory.clone(),
        controller: if settings.own_machine {
            controller::Options::own_machine()
        } else {
            controller::Options {
                allow: settings.options.allow.clone(),
                allow_http: settings.options.allow_http,
                ..controller::Options::default()
            }
        },
    };
    match Server::start(client.clone(), options).await {
        Ok(server) => Ok(Some(server)),
        Err(StartError::Listen(address, error)) => {
            Err(Failure::new(format!("cannot listen at {address}: {error}"))
                .hint("choose another with --hooks-listen ADDR; port 0 takes a free one"))
        }
    }
}
