//! TLS of the listener's own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs};

use super::kit::*;

/// A certificate for this machine and its key, both in PEM, and the certificate as it is trusted.
fn certificate() -> (String, String, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().clone())
}

/// The answer to a probe by a client that trusts this certificate only.
fn health(
    address: SocketAddr,
    trusted: &rustls::pki_types::CertificateDer<'static>,
) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // Not every end of a connection is announced.
    match read {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

#[test]
fn tls_is_spoken_and_certificates_are_replaced() {
    let daemon = Daemon::start();
    let (cert, key, first) = certificate();
    let keys = [("gh.key", KEY), ("tls.crt", &*cert), ("tls.key", &*key)];
    let flags = ["--tls-cert=tls.crt", "--tls-key=tls.key"].map(str::to_owned);
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let server = Server::start_with(&config, &keys, &flags);
    assert!(health(server.address, &first).unwrap().starts_with("HTTP/1.1 200"));
    let plain = exchange(server.address, &request("GET", "/health", &[], b""));
    assert_eq!(plain.unwrap().status, 400, "without TLS there is a word about it and nothing else");

    fs::write(server.directory.path().join("tls.key"), "no key").unwrap();
    wait_for("a complaint", Duration::from_secs(20), || {
        server.stderr().contains("the old certificate stays")
    });
    assert!(health(server.address, &first).is_ok());
    let (cert, key, second) = certificate();
    fs::write(server.directory.path().join("tls.crt"), cert).unwrap();
    fs::write(server.directory.path().join("tls.key"), key).unwrap();
    wait_for("the new one", Duration::from_secs(20), || health(server.address, &second).is_ok());
    assert!(health(server.address, &first).is_err());
}

#[test]
fn half_of_tls_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("fluxrecv.yaml"), "fluxRecvVersion: 1").unwrap();
    let (code, text) = Server::once(&["--tls-cert=a", "--listen=127.0.0.1:0"], directory.path());
    assert!(code == 1 && text.contains("belong together"), "{text}");
    let flags = ["--tls-cert=a", "--tls-key=b", "--listen=127.0.0.1:0"];
    let (code, text) = Server::once(&flags, directory.path());
    assert!(code == 1 && text.contains("cannot use a for TLS"), "{text}");
}
