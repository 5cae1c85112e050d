//! Hooks of a cluster on a listener of their own: journal, receiver, controller, put together.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use kube::Client;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{Admin, Gate},
    certificates::Certificates,
    controller, journal,
    listener::{self, Handler},
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
    /// What is bounded for all hooks.
    pub limits: receive::Limits,
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
    client: Client,
    receiver: Arc<Receiver>,
    serving: Serving,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to serve the `Hook` objects of the cluster, whose definition must be installed.
    pub async fn start(client: Client, options: Options) -> Result<Self, StartError> {
        let Options { listen, directory, certificates, limits, controller } = options;
        let meters = Arc::<Meters>::default();
        let kept = journal::Options {
            directory: Some(directory),
            meters: Arc::clone(&meters),
            ..journal::Options::default()
        };
        let receiver = Receiver::new(Table::default(), limits, meters);
        let (handler, limits) = (Arc::clone(&receiver), listener::Limits::default());
        let control =
            |stop| controller::run(client.clone(), Arc::clone(&receiver), kept, controller, stop);
        let serving =
            Serving::start(listen, certificates.as_deref(), limits, handler, control).await?;
        Ok(Self { client, receiver, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// What is counted, kept and in use.
    pub fn receiver(&self) -> &Arc<Receiver> {
        &self.receiver
    }

    /// The API for operators; whoever mounts it has to know its callers. `url` goes before the
    /// paths of hooks.
    pub fn admin(&self, gate: Gate, url: Option<String>) -> Arc<Admin> {
        let admin = Admin::new(Arc::clone(&self.receiver), gate, url);
        Arc::new(admin.with_objects(self.client.clone()))
    }

    /// Takes no more requests, finishes what is in flight, writes everything down.
    pub async fn stop(self) {
        self.serving.stop("hooks", self.receiver.finished()).await;
    }
}

/// A listener and the controller that says what is served there.
pub(crate) struct Serving {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    listening: JoinHandle<()>,
    controlling: JoinHandle<()>,
    /// Ends the listener.
    close: watch::Sender<bool>,
    /// Ends the controller.
    stop: CancellationToken,
}

impl Serving {
    /// Starts both; over TLS if there are certificates, which are read anew when they change.
    pub(crate) async fn start<C: Future<Output = ()> + Send + 'static>(
        listen: SocketAddr,
        certificates: Option<&Path>,
        limits: listener::Limits,
        handler: Arc<impl Handler>,
        control: impl FnOnce(CancellationToken) -> C,
    ) -> Result<Self, StartError> {
        let certificates = certificates.map(Certificates::read);
        let certificates = certificates.transpose().map_err(StartError::Certificates)?;
        let tls = certificates.as_ref().map(Certificates::tls);
        let failed = |error| StartError::Listen(listen, error);
        let socket = listener::bind(listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let (close, closed) = watch::channel(false);
        let listening = tokio::spawn(listener::serve(socket, limits, tls, handler, closed));
        let stop = CancellationToken::new();
        if let Some(certificates) = certificates {
            tokio::spawn(certificates.follow(stop.clone()));
        }
        let controlling = tokio::spawn(control(stop.clone()));
        Ok(Self { address, listening, controlling, close, stop })
    }

    /// Takes no more requests, waits until those in flight are finished, ends the controller.
    pub(crate) async fn stop(self, what: &str, finished: impl Future<Output = ()>) {
        // Nobody listens any more: then it has ended already.
        let _ = self.close.send(true);
        let listened = self.listening.await;
        finished.await;
        self.stop.cancel();
        for ended in [listened, self.controlling.await] {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the {what} broke");
            }
        }
    }
}
