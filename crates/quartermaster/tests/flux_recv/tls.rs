//! TLS of the listener's own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use super::kit::*;

/// A certificate for this machine and its key, both in PEM, and the certificate as it is trusted.
fn certificate() -> (String, String, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().clone())
}

/// A certificate and its key.
type Signed = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// An authority, and whom it knows by these names.
fn authority<const N: usize>(names: [&str; N]) -> (String, [Signed; N]) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let signed = names.map(|name| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(&key, &issuer).unwrap();
        (made.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    });
    (pem, signed)
}

/// The answer to a probe by a client that trusts this certificate only.
fn health(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> Result<String, std::io::Error> {
    ask(address, trusted, None, b"GET /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
}

/// The answer to a request by a client that trusts this certificate only and may have one itself.
fn ask(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    own: Option<&Signed>,
    request: &[u8],
) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            config.with_client_auth_cert(vec![chain.clone()], key.clone_key()).unwrap()
        }
    };
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(request)?;
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

#[test]
fn certificates_of_senders_are_asked_for() {
    let daemon = Daemon::start();
    let (cert, key, trusted) = certificate();
    let (ca, [ci, other]) = authority(["ci", "other"]);
    let (_, [foreign]) = authority(["ci"]);
    let files = [
        ("k1", KEY),
        ("k2", "another-key-of-a-length"),
        ("tls.crt", &*cert),
        ("tls.key", &*key),
        ("ca.crt", &*ca),
    ];
    let flags = ["--tls-cert=tls.crt", "--tls-key=tls.key", "--tls-client-ca=ca.crt"];
    let config = daemon.config(
        "- {source: Quay, keyPath: k1, auth: {type: mtls, subjects: [else, ci]}}\n- {source: Quay, keyPath: k2}",
    );
    let server = Server::start_with(&config, &files, &flags.map(str::to_owned));
    let send = |key: &str, own| {
        let body = br#"{"docker_url":"quay.io/team/app"}"#;
        let request = request("POST", &Server::path(key), &[("connection", "close")], body);
        ask(server.address, &trusted, own, &request)
    };
    assert!(send(KEY, Some(&ci)).unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(daemon.take().len(), 1);
    for own in [None, Some(&other)] {
        let answer = send(KEY, own).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401") && answer.ends_with("invalid signature\n"));
    }
    assert!(send(KEY, Some(&foreign)).is_err(), "its authority is not known here");
    assert_eq!(daemon.take(), [""; 0]);
    // Nobody else has to have one.
    assert!(send("another-key-of-a-length", None).unwrap().starts_with("HTTP/1.1 200"));

    let directory = server.directory.path();
    let flags = ["--tls-cert=tls.crt", "--tls-key=tls.key", "--listen=127.0.0.1:0"];
    let (code, text) = Server::once(&flags, directory);
    assert!(code == 1 && text.contains("needs --tls-client-ca"), "{text}");
    let (code, text) = Server::once(&["--tls-client-ca=ca.crt"], directory);
    assert!(code == 1 && text.contains("--tls-client-ca needs --tls-cert"), "{text}");
}
