//! Hooks of a cluster on a listener of their own: journal, receiver, controller, put together.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use kube::Client;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Admin,
    controller, journal, listener,
    receive::{self, Receiver, Table},
};

/// Where and how hooks are served.
#[derive(Debug)]
pub struct Options {
    /// The address of the listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The directory of the journal, which is made for the first hook.
    pub directory: PathBuf,
    /// What hooks may do.
    pub controller: controller::Options,
}

/// Why hooks are not served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or none of this machine.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// Hooks that are being served.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    receiver: Arc<Receiver>,
    listening: JoinHandle<()>,
    controlling: JoinHandle<()>,
    /// Ends the listener.
    close: watch::Sender<bool>,
    /// Ends the controller.
    stop: CancellationToken,
}

impl Server {
    /// Starts to serve the `Hook` objects of the cluster, whose definition must be installed.
    pub async fn start(client: Client, options: Options) -> Result<Self, StartError> {
        let Options { listen, directory, controller } = options;
        let failed = |error| StartError::Listen(listen, error);
        let socket = TcpListener::bind(listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let kept = journal::Options { directory: Some(directory), ..journal::Options::default() };
        let receiver = Receiver::new(Table::default(), receive::Limits::default());
        let (close, closed) = watch::channel(false);
        let limits = listener::Limits::default();
        let listening = listener::serve(socket, limits, Arc::clone(&receiver), closed);
        let stop = CancellationToken::new();
        let controlling =
            controller::run(client, Arc::clone(&receiver), kept, controller, stop.clone());
        Ok(Self {
            address,
            receiver,
            listening: tokio::spawn(listening),
            controlling: tokio::spawn(controlling),
            close,
            stop,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The API for operators; whoever mounts it has to know its callers.
    pub fn admin(&self) -> Arc<Admin> {
        Admin::new(Arc::clone(&self.receiver), None)
    }

    /// Takes no more requests, finishes what is in flight, writes everything down.
    pub async fn stop(self) {
        // Nobody listens any more: then it has ended already.
        let _ = self.close.send(true);
        let listened = self.listening.await;
        self.receiver.finished().await;
        self.stop.cancel();
        for ended in [listened, self.controlling.await] {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the hooks broke");
            }
        }
    }
}
