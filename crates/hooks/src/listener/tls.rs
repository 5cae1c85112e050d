//! TLS of the listener's own, for who has no ingress to do it. The certificate may be replaced while
//! connections come in.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// See the module.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// With the certificates and the key of these files, in PEM.
    pub fn of_files(certificates: &Path, key: &Path) -> Result<Self, String> {
        read(certificates, key).map(|config| Self(Arc::new(ArcSwap::from(config))))
    }

    /// Takes what is in these files now. What is wrong changes nothing.
    pub fn reload(&self, certificates: &Path, key: &Path) -> Result<(), String> {
        read(certificates, key).map(|config| self.0.store(config))
    }

    /// A connection once both sides agree, if they do in time.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let accepting = TlsAcceptor::from(self.0.load_full()).accept(stream);
        match tokio::time::timeout(patience, accepting).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS with a sender");
                None
            }
            Err(_) => None,
        }
    }
}

fn read(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let bad = |path: &Path, error: &dyn std::fmt::Display| {
        format!("cannot use {} for TLS: {error}", path.display())
    };
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let chain = chain.map_err(|error| bad(certificates, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(certificates, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config = config.map_err(|error| bad(certificates, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
