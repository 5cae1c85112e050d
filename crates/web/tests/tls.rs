//! TLS of a listener: certificates that change under connections that stay, and both versions of HTTP.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use http::{Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Bytes,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use web::listener::{Drain, Limits, Tls, bind};

struct Pair(CertifiedKey<rcgen::KeyPair>);

impl Pair {
    fn new() -> Self {
        Self(generate_simple_self_signed(["localhost".to_owned()]).unwrap())
    }

    fn pem(&self) -> (String, String) {
        (self.0.cert.pem(), self.0.signing_key.serialize_pem())
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.cert.der().clone()
    }
}

async fn serve(tls: Tls) -> (SocketAddr, Drain) {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap().with_tls(tls);
    let (address, drain) = (listener.address(), Drain::new());
    let router = Router::new().route("/", get(|| async { "hello" }));
    tokio::spawn(listener.serve(router, Limits::default(), drain.clone()));
    (address, drain)
}

async fn connect(
    address: SocketAddr,
    trusted: &Pair,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn request(version: Version) -> Request<Empty<Bytes>> {
    let uri = if version == Version::HTTP_2 { "https://localhost/" } else { "/" };
    let request = Request::builder().version(version).uri(uri).header("host", "localhost");
    request.body(Empty::new()).unwrap()
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_cuts_none() {
    let (old, new) = (Pair::new(), Pair::new());
    let (certificate, key) = old.pem();
    let tls = Tls::of_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let (address, _drain) = serve(tls.clone()).await;
    let stream = connect(address, &old, &["http/1.1"]).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let before = sender.send_request(request(Version::HTTP_11)).await.unwrap();
    assert_eq!(text(before).await, "hello");

    let (certificate, key) = new.pem();
    tls.replace(certificate.as_bytes(), key.as_bytes()).unwrap();
    let after = sender.send_request(request(Version::HTTP_11)).await.unwrap();
    assert_eq!(text(after).await, "hello", "the connection that was there stays");
    assert!(connect(address, &old, &["http/1.1"]).await.is_err());
    connect(address, &new, &["http/1.1"]).await.unwrap();

    let stranger = old.pem().1;
    for (certificate, key) in [
        (certificate.as_str(), stranger.as_str()),
        (certificate.as_str(), ""),
        ("", key.as_str()),
        ("nonsense", "nonsense"),
    ] {
        assert!(tls.replace(certificate.as_bytes(), key.as_bytes()).is_err());
    }
    connect(address, &new, &["http/1.1"]).await.unwrap();
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let pair = Pair::new();
    let (certificate, key) = pair.pem();
    let both = Tls::with_http2(certificate.as_bytes(), key.as_bytes()).unwrap();
    let (address, drain) = serve(both).await;
    let stream = connect(address, &pair, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let many = (0..200).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            text(sender.send_request(request(Version::HTTP_2)).await.unwrap()).await
        })
    });
    for answer in many.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap(), "hello");
    }
    // Whoever keeps the connection open is told to go when the listener ends.
    assert!(drain.stop(Duration::from_secs(20)).await);
    connection.await.unwrap().unwrap();
    assert!(sender.ready().await.is_err());

    let (address, _drain) =
        serve(Tls::of_pem(certificate.as_bytes(), key.as_bytes()).unwrap()).await;
    let stream = connect(address, &pair, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}
