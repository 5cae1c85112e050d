//! `serve` and certificates that are not good: of the server, and our own.

use std::{fs, net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quartermaster_e2e::Program;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;

use crate::program;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Authorities of clusters often have the same name.
fn authority() -> Issuer {
    named("kubernetes")
}

fn named(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this address, with its key, both as PEM and DER.
struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn leaf(issuer: &Issuer, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    edit(&mut params);
    let key = KeyPair::generate().unwrap();
    Leaf { certificate: params.signed_by(&key, issuer).unwrap(), key }
}

/// A TLS server that says nothing: whatever is wrong shows before the first answer.
async fn server(leaf: Leaf, clients: Option<&Issuer>) -> SocketAddr {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
    let chain = vec![leaf.certificate.der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(issuer) => {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _end = stream.read(&mut [0; 1024]).await;
                }
            });
        }
    });
    address
}

/// What `serve` says to an API at this address, which `trusted` should have signed.
async fn said(address: SocketAddr, trusted: &Issuer, ours: Option<&Leaf>) -> String {
    let user = ours.map_or(String::new(), |leaf| {
        format!(
            "client-certificate-data: {}, client-key-data: {}",
            STANDARD.encode(leaf.certificate.pem()),
            STANDARD.encode(leaf.key.serialize_pem()),
        )
    });
    let kubeconfig = format!(
        "{{apiVersion: v1, kind: Config, current-context: x,
          contexts: [{{name: x, context: {{cluster: c, user: u}}}}],
          clusters: [{{name: c, cluster: {{server: \"https://{address}\",
            certificate-authority-data: {}}}}}],
          users: [{{name: u, user: {{{user}}}}}]}}",
        STANDARD.encode(trusted.pem())
    );
    let program: Program = program();
    let file = program.scratch().join("kubeconfig");
    fs::write(&file, kubeconfig).unwrap();
    let program = program.env("KUBECONFIG", file.to_str().unwrap());
    let args = ["serve", "--auth", "local", "--listen", "127.0.0.1:0", "--cluster", "kubeconfig"];
    let ended = program.run(&args).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address.to_string()), "{ended:?}");
    assert!(ended.stderr.contains("\nhint: "), "{ended:?}");
    ended.stderr
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let ca = authority();
    let expired = leaf(&ca, "127.0.0.1", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let text = said(server(expired, None).await, &ca, None).await;
    assert!(text.contains("has expired"), "{text}");
}

#[tokio::test]
async fn a_certificate_of_another_authority() {
    for (ca, other) in [(authority(), authority()), (authority(), named("another"))] {
        let text = said(server(leaf(&other, "127.0.0.1", |_| {}), None).await, &ca, None).await;
        assert!(text.contains("signed by another CA"), "{text}");
        assert!(text.contains("certificate-authority-data"), "{text}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_address() {
    let ca = authority();
    let text = said(server(leaf(&ca, "example.org", |_| {}), None).await, &ca, None).await;
    assert!(text.contains("is for another address"), "{text}");
}

#[tokio::test]
async fn our_own_certificate_is_of_another_authority() {
    let ca = authority();
    let address = server(leaf(&ca, "127.0.0.1", |_| {}), Some(&ca)).await;
    for other in [authority(), named("another")] {
        let ours = leaf(&other, "somebody", |_| {});
        let text = said(address, &ca, Some(&ours)).await;
        assert!(text.contains("refuses our client certificate"), "{text}");
    }
    let text = said(address, &ca, None).await;
    assert!(text.contains("refuses our client certificate"), "{text}");
}

#[tokio::test]
async fn our_own_certificate_has_expired() {
    let ca = authority();
    let ours = leaf(&ca, "somebody", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let address = server(leaf(&ca, "127.0.0.1", |_| {}), Some(&ca)).await;
    let text = said(address, &ca, Some(&ours)).await;
    assert!(text.contains("refuses our client certificate"), "{text}");
    assert!(text.contains("expired"), "{text}");
}
