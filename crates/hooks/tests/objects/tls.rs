//! TLS of the listener: a certificate from a directory, replaced while it runs.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hooks::{
    controller,
    server::{Options, Server, StartError},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs,
    pki_types::CertificateDer,
};
use testcluster::TestCluster;

/// Puts a new certificate into a directory; gives it as it is trusted.
fn renew(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Whether a client that trusts this certificate only is answered.
fn answers(address: SocketAddr, trusted: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    let asked = stream.write_all(b"GET /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    // Not every end of a connection is announced.
    let _ = asked.and_then(|()| stream.read_to_end(&mut answer));
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_served_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = TestCluster::open().await;
    cluster::crds::install(&cluster.client(), hooks::crds()).await.unwrap();
    let options = || Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        directory: directory.path().join("hooks"),
        certificates: Some(directory.path().to_owned()),
        limits: hooks::receive::Limits::default(),
        controller: controller::Options::default(),
    };
    let missing = Server::start(cluster.client(), options()).await;
    assert!(matches!(missing, Err(StartError::Certificates(_))));

    let first = renew(directory.path());
    let server = Server::start(cluster.client(), options()).await.unwrap();
    let address = server.address();
    assert!(answers(address, &first));
    fs::write(directory.path().join("tls.key"), "no key").unwrap();
    let second = renew(directory.path());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !answers(address, &second) {
        assert!(tokio::time::Instant::now() < deadline, "the old certificate stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!answers(address, &first));
    server.stop().await;
}
