//! The TLS side of a listener: its certificate, which may be replaced while connections come in, the
//! handshake, within a time, and a word to whoever speaks plain HTTP to it.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{Acceptor, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// What Go's servers answer too, so that people find it.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// How much of a plain request is read before it is answered, so that the answer is not lost.
const PLAIN_BYTES: u64 = 64 << 10;

/// Largest file with certificates or a key that is read.
const MAX_FILE: u64 = 1 << 20;
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// The certificate and the protocols of a listener; cheap to clone. Connections keep what they began
/// with, new ones have what was set last.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<ArcSwap<ServerConfig>>,
    http2: bool,
    /// Where the authorities are whose certificates clients are asked for.
    authorities: Option<Arc<Path>>,
}

impl Tls {
    /// With this chain of certificates and this key, in PEM, for HTTP/1.1.
    pub fn of_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        Ok(Self::from(config(certificates, key, false, None)?))
    }

    /// The same, with HTTP/2 for clients that prefer it.
    pub fn with_http2(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        config(certificates, key, true, None).map(Self::from)
    }

    /// With the certificates and the key of these files, in PEM, for HTTP/1.1.
    pub fn of_files(certificates: &Path, key: &Path) -> Result<Self, String> {
        let (chain, private) = (read(certificates)?, read(key)?);
        Self::of_pem(&chain, &private).map_err(|error| in_files(certificates, key, &error))
    }

    /// The same, and clients are asked for a certificate by an authority of the last file. Who has none
    /// is let in all the same: whom it takes is for whoever serves to say.
    pub fn asking(certificates: &Path, key: &Path, authorities: &Path) -> Result<Self, String> {
        let (chain, private) = (read(certificates)?, read(key)?);
        let made = config(&chain, &private, false, Some(&read(authorities)?));
        let made = made.map_err(|error| in_files(certificates, key, &error))?;
        Ok(Self { authorities: Some(Arc::from(authorities)), ..Self::from(made) })
    }

    /// Takes these for new connections. What is wrong changes nothing.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), String> {
        let authorities = self.authorities.as_deref().map(read).transpose()?;
        let made = config(certificates, key, self.http2, authorities.as_deref())?;
        self.current.store(made);
        Ok(())
    }

    /// Takes what is in these files now. What is wrong changes nothing.
    pub fn reload(&self, certificates: &Path, key: &Path) -> Result<(), String> {
        let (chain, private) = (read(certificates)?, read(key)?);
        self.replace(&chain, &private).map_err(|error| in_files(certificates, key, &error))
    }

    /// Answers the handshake of a connection. `None`: it ended without one.
    pub async fn accept(
        &self,
        mut stream: TcpStream,
        patience: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let config = self.current.load_full();
        let handshake = async {
            if speaks_http(&stream).await? {
                tracing::debug!("a client speaks plain HTTP to a TLS port");
                refuse(&mut stream).await?;
                return Ok(None);
            }
            let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            start.into_stream(config).await.map(Some)
        };
        match timeout(patience, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let error: io::Error = error;
                tracing::debug!(%error, "no TLS handshake");
                None
            }
            Err(_) => {
                tracing::debug!("no TLS handshake in time");
                None
            }
        }
    }
}

impl From<Arc<ServerConfig>> for Tls {
    fn from(config: Arc<ServerConfig>) -> Self {
        let http2 = config.alpn_protocols.iter().any(|protocol| protocol == HTTP2);
        Self { current: Arc::new(ArcSwap::from(config)), http2, authorities: None }
    }
}

/// Whether the two sides agreed on HTTP/2.
pub(super) fn speaks_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// Lets in who has a certificate of these authorities, and who has none.
fn clients(authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(authorities) {
        let one = one.map_err(|error| format!("the authorities: {error}"))?;
        roots.add(one).map_err(|error| format!("the authorities: {error}"))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("the authorities: {error}"))
}

fn config(
    certificates: &[u8],
    key: &[u8],
    http2: bool,
    authorities: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, String> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(certificates).collect();
    let chain = chain.map_err(|error| format!("the certificates: {error}"))?;
    let private =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key: {error}"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match authorities {
        None => config.with_no_client_auth(),
        Some(authorities) => config.with_client_cert_verifier(clients(authorities)?),
    };
    let config = config.with_single_cert(chain, private);
    let mut config = config.map_err(|error| error.to_string())?;
    let protocols = if http2 { &[HTTP2, HTTP1][..] } else { &[HTTP1][..] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let cannot =
        |error: &dyn std::fmt::Display| format!("cannot use {} for TLS: {error}", file.display());
    let length = fs::metadata(file).map_err(|error| cannot(&error))?.len();
    if length > MAX_FILE {
        return Err(cannot(&format_args!("it has {length} bytes")));
    }
    fs::read(file).map_err(|error| cannot(&error))
}

fn in_files(certificates: &Path, key: &Path, error: &str) -> String {
    format!("cannot use {} with {} for TLS: {error}", certificates.display(), key.display())
}

/// A TLS client begins with the byte 22, an HTTP client with a letter of its method.
async fn speaks_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0].is_ascii_uppercase())
}

async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_HTTP).await?;
    stream.shutdown().await?;
    // A socket that closes with bytes unread is reset, and the client would not see the answer.
    let mut rest = stream.take(PLAIN_BYTES);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}
