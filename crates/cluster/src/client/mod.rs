//! The client of a cluster that is elsewhere: which one, and what is wrong when it cannot be used.

mod error;
mod health;
mod pace;

use std::fmt;

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use tower::util::option_layer;

use self::pace::PaceLayer;
pub use self::{error::ConnectError, health::Health, pace::Pace};

/// How many connections are opened to get the first answer.
const CONNECTIONS: usize = 8;

/// Which cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// That of the pod we run in; outside of one, that of the kubeconfig.
    Auto,
    /// That of a context of the kubeconfig, by default its current one.
    Kubeconfig(Option<String>),
    /// That of the pod we run in.
    InCluster,
}

/// A cluster that answered.
#[derive(Clone)]
pub struct Connected {
    /// For everything that is done with it. Requests are answered within 15 s or fail, and fail at
    /// once while the API does not answer at all.
    pub client: Client,
    /// Whether it answers now.
    pub health: Health,
    /// Address of the API.
    pub url: String,
    /// The namespace of the context, or the one we run in.
    pub namespace: String,
    /// Its version, such as `v1.34.4`.
    pub version: String,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, namespace, version, .. } = self;
        write!(f, "Connected {{ {url}, {namespace}, {version} }}")
    }
}

/// Connects and asks for the version, so that whatever is wrong is found here and said once.
/// Requests go out at a pace, if there is one.
pub async fn connect(target: &Target, pace: Option<Pace>) -> Result<Connected, ConnectError> {
    let config = config(target).await?;
    let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let namespace = config.default_namespace.clone();
    let unusable = |source: kube::Error| ConnectError::Unusable { reason: error::chain(&source) };
    let plain = Client::try_from(config.clone()).map_err(unusable)?;
    let asked = tokio::time::timeout(health::ANSWER_WITHIN, version(&plain));
    let version = match asked.await {
        Ok(Ok(version)) => version.git_version,
        Ok(Err(source)) => return Err(ConnectError::of(url, &source)),
        Err(_) => return Err(ConnectError::silent(url)),
    };
    let health = Health::start(plain);
    let builder = ClientBuilder::try_from(config).map_err(unusable)?;
    let builder = builder.with_layer(&option_layer(pace.map(PaceLayer)));
    let client = builder.with_layer(&health.layer()).build();
    Ok(Connected { client, health, url, namespace, version })
}

/// A client for a cluster that nobody has asked yet, and the namespace of its context: for who has
/// other work while it is away.
pub async fn unasked(target: &Target) -> Result<(Client, String), ConnectError> {
    let config = config(target).await?;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config);
    let client =
        client.map_err(|source| ConnectError::Unusable { reason: error::chain(&source) })?;
    Ok((client, namespace))
}

/// Asks for the version. A server that refuses our certificate ends the connection when the
/// handshake is over: if that comes before the request is on its way, only a new connection says
/// why.
async fn version(client: &Client) -> Result<Info, kube::Error> {
    let mut left = CONNECTIONS;
    loop {
        left -= 1;
        match client.apiserver_version().await {
            Err(source) if left > 0 && error::says_nothing(&source) => {}
            answer => return answer,
        }
    }
}

async fn config(target: &Target) -> Result<Config, ConnectError> {
    match target {
        Target::InCluster => Config::incluster()
            .map_err(|source| ConnectError::NoPod { reason: error::chain(&source) }),
        Target::Kubeconfig(context) => kubeconfig(context.clone()).await,
        // In a pod there is no doubt, and its errors must not be hidden behind a missing file.
        Target::Auto if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Box::pin(config(&Target::InCluster)).await
        }
        Target::Auto => kubeconfig(None).await.map_err(|error| match error {
            ConnectError::NoKubeconfig { path } => ConnectError::NoCluster { path },
            other => other,
        }),
    }
}

async fn kubeconfig(context: Option<String>) -> Result<Config, ConnectError> {
    let path = kubeconfig_path();
    let broken = |source: &KubeconfigError| ConnectError::BrokenKubeconfig {
        path: path.clone(),
        reason: error::chain(source),
    };
    let file = match Kubeconfig::read() {
        Ok(file) => file,
        Err(KubeconfigError::FindPath) => return Err(ConnectError::NoKubeconfig { path }),
        Err(KubeconfigError::ReadConfig(source, at)) => {
            let path = at.display().to_string();
            return Err(match source.kind() {
                std::io::ErrorKind::NotFound => ConnectError::NoKubeconfig { path },
                _ => ConnectError::BrokenKubeconfig { path, reason: source.to_string() },
            });
        }
        Err(source) => return Err(broken(&source)),
    };
    if let Some(wanted) = context.as_ref().or(file.current_context.as_ref())
        && !file.contexts.iter().any(|known| known.name == *wanted)
    {
        let known = file.contexts.iter().map(|known| known.name.clone()).collect();
        return Err(ConnectError::NoContext { path, wanted: wanted.clone(), known });
    }
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(file, &options).await;
    let config = config.map_err(|source| broken(&source))?;
    // Nothing could be trusted by it, and only the first connection would say so.
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        let reason = "there is no certificate in its certificate authority".to_owned();
        return Err(ConnectError::BrokenKubeconfig { path, reason });
    }
    Ok(config)
}

/// Where the kubeconfig is looked for, for messages.
fn kubeconfig_path() -> String {
    let set = std::env::var("KUBECONFIG").ok().filter(|path| !path.is_empty());
    set.unwrap_or_else(|| "~/.kube/config".to_owned())
}
