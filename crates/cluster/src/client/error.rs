//! Why a cluster cannot be used, and what to do about it.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError};

pub(super) use crate::error::chain;

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a pod nor a kubeconfig.
    #[error("there is no cluster: this is no pod, and there is no kubeconfig at {path}")]
    NoCluster {
        /// Where it was looked for.
        path: String,
    },
    /// Not in a pod, or in one without a service account.
    #[error("this is not a pod with a service account: {reason}")]
    NoPod {
        /// What is missing.
        reason: String,
    },
    /// There is no such file.
    #[error("there is no kubeconfig at {path}")]
    NoKubeconfig {
        /// Where it was looked for.
        path: String,
    },
    /// The file cannot be read.
    #[error("the kubeconfig {path} cannot be used: {reason}")]
    BrokenKubeconfig {
        /// Which file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The file has no such context.
    #[error("the kubeconfig {path} has no context {wanted:?}")]
    NoContext {
        /// Which file.
        path: String,
        /// The context asked for.
        wanted: String,
        /// The contexts there are.
        known: Vec<String>,
    },
    /// What the file says makes no client.
    #[error("the credentials of the cluster cannot be used: {reason}")]
    Unusable {
        /// What is wrong.
        reason: String,
    },
    /// Nobody answers.
    #[error("the Kubernetes API at {url} does not answer: {reason}")]
    Unreachable {
        /// Its address.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// The server's certificate is not to be trusted.
    #[error("the certificate of the Kubernetes API at {url} {reason}")]
    ServerCertificate {
        /// Its address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server does not take our certificate.
    #[error("the Kubernetes API at {url} refuses our client certificate: {reason}")]
    ClientCertificate {
        /// Its address.
        url: String,
        /// What it said.
        reason: String,
    },
    /// The credentials are good for nobody.
    #[error("the Kubernetes API at {url} does not know who we are (401 Unauthorized)")]
    Unauthorized {
        /// Its address.
        url: String,
    },
    /// It answers, and not like an API.
    #[error("the Kubernetes API at {url} answers with an error: {reason}")]
    Refused {
        /// Its address.
        url: String,
        /// What it said.
        reason: String,
    },
}

impl ConnectError {
    /// What a failed first request says.
    pub(super) fn of(url: String, source: &kube::Error) -> Self {
        if let kube::Error::Api(status) = source {
            return match status.code {
                401 => Self::Unauthorized { url },
                _ => Self::Refused { url, reason: status.message.clone() },
            };
        }
        match find::<rustls::Error>(source) {
            Some(rustls::Error::InvalidCertificate(error)) => {
                Self::ServerCertificate { url, reason: server_certificate(error) }
            }
            Some(rustls::Error::AlertReceived(alert)) if is_about_us(*alert) => {
                Self::ClientCertificate { url, reason: format!("{alert:?}") }
            }
            _ if matches!(source, kube::Error::SerdeError(_)) => {
                let reason = "it does not speak as a Kubernetes API does".to_owned();
                Self::Refused { url, reason }
            }
            _ => Self::Unreachable { url, reason: last(source) },
        }
    }

    /// No answer in time.
    pub(super) fn silent(url: String) -> Self {
        let seconds = super::health::ANSWER_WITHIN.as_secs();
        Self::Unreachable { url, reason: format!("nothing came within {seconds} seconds") }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCluster { .. } => "set KUBECONFIG, or say which one with --cluster \
                kubeconfig[:CONTEXT]; `quartermaster up` needs no cluster"
                .to_owned(),
            Self::NoPod { .. } => "outside of a cluster say --cluster kubeconfig; a pod needs a \
                service account with automountServiceAccountToken"
                .to_owned(),
            Self::NoKubeconfig { .. } => {
                "set KUBECONFIG to the file that your cluster's administrator gave you".to_owned()
            }
            Self::BrokenKubeconfig { .. } => {
                "`kubectl config view` shows how it is read; ask for a new file if it is damaged"
                    .to_owned()
            }
            Self::NoContext { known, .. } if known.is_empty() => "it has none at all".to_owned(),
            Self::NoContext { known, .. } => format!("it has: {}", known.join(", ")),
            Self::Unusable { .. } => {
                "look at the certificates, keys and tokens of this user in the kubeconfig"
                    .to_owned()
            }
            Self::Unreachable { .. } => "is the address right, does the API server run, and is \
                there a way through firewalls and VPN? `kubectl version` asks the same"
                .to_owned(),
            Self::ServerCertificate { .. } => {
                "the kubeconfig may be of an earlier cluster at this \
                address: certificate-authority-data must be the CA of the API server; an expired \
                certificate has to be renewed there"
                    .to_owned()
            }
            Self::ClientCertificate { .. } | Self::Unauthorized { .. } => "the credentials are \
                expired, revoked or of another cluster: ask for a new kubeconfig, or sign in again"
                .to_owned(),
            Self::Refused { .. } => "is the address that of a Kubernetes API server?".to_owned(),
        }
    }
}

fn server_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet (or this machine's clock is wrong)".into()
        }
        // Authorities of clusters often have the same name: then only the signature tells.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is signed by another CA than the one that is trusted".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another address".into()
        }
        other => format!("is not to be trusted: {other}"),
    }
}

/// Alerts by which a server refuses the certificate of its client.
fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}

/// Whether a connection ended without a word, before its request was on its way or while it was.
pub(super) fn says_nothing(error: &kube::Error) -> bool {
    let broke = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    };
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled)
        || find::<io::Error>(error).is_some_and(broke)
}

/// The error of a kind in a chain. I/O errors hide what they carry from `source`.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(carried) = carried
            && let Some(found) = find(carried)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost cause: what is around it only says that a request failed.
pub(super) fn last(error: &dyn StdError) -> String {
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        last = cause.to_string();
        next = cause.source();
    }
    last
}
