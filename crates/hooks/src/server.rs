//! Hooks of a cluster on a listener of their own: journal, receiver, controller, put together.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use kube::Client;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Gate},
    certificates::Certificates,
    controller, journal, listener,
    meters::Meters,
    receive::{self, Receiver, Table},
};

/// Where and how hooks are served.
#[derive(Debug)]
pub struct Options {
    /// The address of the listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The directory of the journal, which is made for the first hook.
    pub directory: PathBuf,
    /// Where the certificate of the listener is, `tls.crt` and `tls.key`; without one it speaks no
    /// TLS.
    pub certificates: Option<PathBuf>,
    /// What hooks may do.
    pub controller: controller::Options,
}

/// Why hooks are not served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or none of this machine.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate cannot be used.
    #[error("{0}")]
    Certificates(String),
}

/// Hooks that are being served.
pub struct Server {
    address: SocketAddr,
    client: Client,
    receiver: Arc<Receiver>,
    listening: JoinHandle<()>,
    controlling: JoinHandle<()>,
    /// Ends the listener.
    close: watch::Sender<bool>,
    /// Ends the controller.
    stop: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to serve the `Hook` objects of the cluster, whose definition must be installed.
    pub async fn start(client: Client, options: Options) -> Result<Self, StartError> {
        let Options { listen, directory, certificates, controller } = options;
        let certificates = certificates.map(|directory| Certificates::read(&directory));
        let certificates = certificates.transpose().map_err(StartError::Certificates)?;
        let tls = certificates.as_ref().map(Certificates::tls);
        let failed = |error| StartError::Listen(listen, error);
        let socket = TcpListener::bind(listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let meters = Arc::<Meters>::default();
        let kept = journal::Options {
            directory: Some(directory),
            meters: Arc::clone(&meters),
            ..journal::Options::default()
        };
        let receiver = Receiver::new(Table::default(), receive::Limits::default(), meters);
        let (close, closed) = watch::channel(false);
        let limits = listener::Limits::default();
        let listening = listener::serve(socket, limits, tls, Arc::clone(&receiver), closed);
        let stop = CancellationToken::new();
        if let Some(certificates) = certificates {
            tokio::spawn(certificates.follow(stop.clone()));
        }
        let controlling =
            controller::run(client.clone(), Arc::clone(&receiver), kept, controller, stop.clone());
        Ok(Self {
            address,
            client,
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

    /// The API for operators; whoever mounts it has to know its callers. `url` goes before the
    /// paths of hooks.
    pub fn admin(&self, gate: Gate, url: Option<String>) -> Arc<Admin> {
        let admin = Admin::new(Arc::clone(&self.receiver), gate, url);
        Arc::new(admin.with_objects(self.client.clone()))
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
