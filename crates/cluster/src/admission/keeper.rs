//! Keeps the certificate of the admission listener good and the cluster's configuration true, by
//! looking at both again and again.
//!
//! Every replica does this by itself: what they share is in a Secret, they all come to the same
//! conclusions, and of two that write at once one is told to look again. What is as it should be is
//! not written.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;
use web::listener::Tls;

use super::{
    certificates::{self, Kept, Pair},
    configuration::Configuration,
};
use crate::error;

/// The Secret with the certificates that we make ourselves.
pub const SECRET: &str = "quartermaster-admission";
/// Label that says that it is ours.
const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "quartermaster");
/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// How often others may be faster before that is strange.
const TRIES: usize = 5;
/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// We make it; it is kept in the Secret [`SECRET`] of this namespace.
    Own {
        /// The namespace.
        namespace: String,
    },
    /// A Secret that somebody else keeps, of the type `kubernetes.io/tls`.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// `tls.crt`, `tls.key` and perhaps `ca.crt` in a directory that somebody else keeps.
    Directory(PathBuf),
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The API refused.
    #[error("cannot {doing} the Secret {name}")]
    Secret {
        /// What was tried.
        doing: &'static str,
        /// Namespace and name.
        name: String,
        /// What the API said.
        source: kube::Error,
    },
    /// There is one of our name that is not ours.
    #[error("the Secret {0} is somebody else's: it has no label {label}={value}",
        label = OURS.0, value = OURS.1)]
    Foreign(String),
    /// The one of somebody else cannot be used.
    #[error("the Secret {name} cannot be used: {reason}")]
    Unusable {
        /// Namespace and name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// What was found is no certificate.
    #[error("cannot serve with the certificate: {0}")]
    Tls(String),
}

/// What is served with, and what API servers have to trust for it.
struct Found {
    certificate: String,
    key: SecretString,
    /// None where whoever keeps the certificate says it too.
    bundle: Option<String>,
}

/// See the module.
pub struct Keeper {
    client: Client,
    certificates: Certificates,
    names: Vec<String>,
    configuration: Option<Configuration>,
    tls: Tls,
    /// What is served with.
    served: Found,
    now: fn() -> Timestamp,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// How a keeper works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the certificate comes from.
    pub certificates: Certificates,
    /// The names that one of our own has to prove.
    pub names: Vec<String>,
    /// What API servers are told; none if somebody else tells them.
    pub configuration: Option<Configuration>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// The time.
    pub now: fn() -> Timestamp,
}

impl Keeper {
    /// Finds or makes a certificate.
    pub async fn new(client: &Client, options: Options) -> Result<Self, KeeperError> {
        let Options { certificates, names, configuration, http2, now } = options;
        let served = find(client, &certificates, &names, now()).await?;
        let (chain, key) = (served.certificate.as_bytes(), served.key.expose_secret().as_bytes());
        let tls = if http2 { Tls::with_http2(chain, key) } else { Tls::of_pem(chain, key) };
        let tls = tls.map_err(KeeperError::Tls)?;
        let client = client.clone();
        Ok(Self { client, certificates, names, configuration, tls, served, now })
    }

    /// For the listener; follows what is found later.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Looks again and again until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut told = None;
        loop {
            tokio::select! {
                trouble = self.look() => {
                    if let Some(trouble) = trouble.as_ref().filter(|new| told.as_ref() != Some(*new)) {
                        tracing::warn!("admission: {trouble}");
                    }
                    told = trouble;
                }
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One look at everything; says what is wrong.
    pub async fn look(&mut self) -> Option<String> {
        let certificate = self.renew().await.err().map(|error| error::chain(&error));
        let configuration = match &self.configuration {
            None => None,
            Some(wanted) => {
                let applied = wanted.apply(&self.client, self.served.bundle.as_deref()).await;
                match applied {
                    Ok(written) => {
                        if written {
                            tracing::info!(name = wanted.name, "webhook configuration written");
                        }
                        None
                    }
                    Err(error) => Some(format!(
                        "cannot keep the ValidatingWebhookConfiguration {}: {}",
                        wanted.name,
                        error::chain(&error)
                    )),
                }
            }
        };
        certificate.or(configuration)
    }

    async fn renew(&mut self) -> Result<(), KeeperError> {
        let found = find(&self.client, &self.certificates, &self.names, (self.now)()).await?;
        let same = found.certificate == self.served.certificate
            && found.key.expose_secret() == self.served.key.expose_secret();
        if !same {
            let key = found.key.expose_secret().as_bytes();
            self.tls.replace(found.certificate.as_bytes(), key).map_err(KeeperError::Tls)?;
            tracing::info!("admission: a new certificate is served with");
        }
        self.served = found;
        Ok(())
    }
}

async fn find(
    client: &Client,
    certificates: &Certificates,
    names: &[String],
    now: Timestamp,
) -> Result<Found, KeeperError> {
    match certificates {
        Certificates::Own { namespace } => own(client, namespace, names, now).await,
        Certificates::Secret { namespace, name } => foreign(client, namespace, name).await,
        Certificates::Directory(directory) => in_directory(directory),
    }
}

async fn own(
    client: &Client,
    namespace: &str,
    names: &[String],
    now: Timestamp,
) -> Result<Found, KeeperError> {
    let api = Api::<Secret>::namespaced(client.clone(), namespace);
    let full = format!("{namespace}/{SECRET}");
    let failed = |doing| {
        let name = full.clone();
        move |source| KeeperError::Secret { doing, name, source }
    };
    for _ in 0..TRIES {
        let live = api.get_opt(SECRET).await.map_err(failed("read"))?;
        if live.as_ref().is_some_and(|live| !is_ours(live)) {
            return Err(KeeperError::Foreign(full));
        }
        let kept = live.as_ref().and_then(read);
        let Some(wanted) = certificates::next(kept.as_ref(), names, now)? else {
            // There is one, or a new one would be wanted.
            let Some(kept) = kept else { continue };
            let bundle = Some(kept.bundle());
            let Pair { certificate, key } = kept.current;
            return Ok(Found { certificate, key, bundle });
        };
        let params = PostParams::default();
        let written = match live {
            None => api.create(&params, &secret(&wanted, None)).await,
            Some(live) => api.replace(SECRET, &params, &secret(&wanted, Some(live))).await,
        };
        match written {
            // What was written is read again: that is what the others see.
            Ok(_) => tracing::info!(secret = full, "certificates written"),
            // Another replica made some: they are as good.
            Err(error) if error::is_conflict(&error) || error::is_already_exists(&error) => {}
            Err(source) => return Err(failed("write")(source)),
        }
    }
    Err(KeeperError::Unusable {
        name: full,
        reason: "it does not stay as it is written".to_owned(),
    })
}

fn is_ours(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(OURS.0)).is_some_and(|value| value == OURS.1)
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.clone()).ok()
}

fn read(secret: &Secret) -> Option<Kept> {
    let pair = |certificate, key| {
        let (certificate, key) = (text(secret, certificate)?, text(secret, key)?);
        Some(Pair { certificate, key: key.into() })
    };
    Some(Kept {
        authorities: certificates::split(&text(secret, "ca.crt")?),
        current: pair("tls.crt", "tls.key")?,
        next: pair("next.crt", "next.key"),
    })
}

fn secret(kept: &Kept, live: Option<Secret>) -> Secret {
    let mut secret = live.unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some([(OURS.0.to_owned(), OURS.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    });
    let mut data = vec![
        ("ca.crt", kept.bundle()),
        ("tls.crt", kept.current.certificate.clone()),
        ("tls.key", kept.current.key.expose_secret().to_owned()),
    ];
    if let Some(next) = &kept.next {
        data.push(("next.crt", next.certificate.clone()));
        data.push(("next.key", next.key.expose_secret().to_owned()));
    }
    let data = data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
    secret.data = Some(data.collect());
    secret
}

async fn foreign(client: &Client, namespace: &str, name: &str) -> Result<Found, KeeperError> {
    let full = format!("{namespace}/{name}");
    let secret = Api::<Secret>::namespaced(client.clone(), namespace).get(name).await;
    let secret = secret.map_err(|source| {
        let name = full.clone();
        KeeperError::Secret { doing: "read", name, source }
    })?;
    let needed = |key| {
        let (name, reason) = (full.clone(), format!("it has no text {key}"));
        text(&secret, key).ok_or(KeeperError::Unusable { name, reason })
    };
    Ok(Found {
        certificate: needed("tls.crt")?,
        key: needed("tls.key")?.into(),
        bundle: text(&secret, "ca.crt"),
    })
}

fn in_directory(directory: &Path) -> Result<Found, KeeperError> {
    let read = |name: &str| {
        let path = directory.join(name);
        let text = fs::metadata(&path).and_then(|metadata| match metadata.len() {
            ..=MAX_FILE => fs::read_to_string(&path),
            bytes => Err(io::Error::other(format!("it has {bytes} bytes"))),
        });
        text.map_err(|source| KeeperError::File { path, source })
    };
    let bundle = match read("ca.crt") {
        Ok(bundle) => Some(bundle),
        Err(KeeperError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Found { certificate: read("tls.crt")?, key: read("tls.key")?.into(), bundle })
}
