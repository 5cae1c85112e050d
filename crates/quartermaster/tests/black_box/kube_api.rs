//! The Kubernetes API of `up`: who gets in, by which certificate, and how it ends.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams, WatchParams},
    config::Kubeconfig,
};
use quartermaster_e2e::{Program, Up};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::program;

const DEADLINE: Duration = Duration::from_secs(20);

fn kubeconfig(program: &Program) -> PathBuf {
    program.dir().join("kubeconfig")
}

/// A client as any program makes it from the file.
async fn client(file: &Path) -> Client {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = Kubeconfig::read_from(file).unwrap();
    let config = Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

async fn namespaces(client: Client) -> Result<Vec<String>, kube::Error> {
    let list = Api::<Namespace>::all(client).list(&ListParams::default()).await?;
    Ok(list.items.into_iter().filter_map(|one| one.metadata.name).collect())
}

/// Sends a request over TLS without checking the certificate.
async fn get(up: &Up, path: &str, token: Option<&str>) -> (u16, String) {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    let mut request = client.build().unwrap().get(format!("{}{path}", up.endpoints.kube));
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Sends bytes to the port and reads what comes back.
async fn exchange(up: &Up, bytes: &[u8]) -> String {
    let address = up.endpoints.kube.strip_prefix("https://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _reset = tokio::time::timeout(DEADLINE, read).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_kubeconfig_opens_it_and_goes_with_it() {
    let up = program().start().await;
    assert!(up.endpoints.kube.starts_with("https://127.0.0.1:"), "{}", up.endpoints.kube);
    let file = kubeconfig(up.program());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let names = namespaces(client(&file).await).await.unwrap();
    assert!(names.contains(&"default".to_owned()), "{names:?}");
    let (_, program) = up.stop().await;
    assert!(!kubeconfig(&program).exists());
}

#[tokio::test]
async fn nobody_gets_in_without_the_token() {
    for auth in ["local", "none"] {
        let up = program().arg("--auth").arg(auth).start().await;
        let right = format!("Bearer {}", up.endpoints.token);
        assert_eq!(get(&up, "/api/v1/namespaces", Some(&right)).await.0, 200);
        let wrong = format!("Bearer {}x", up.endpoints.token);
        for token in [None, Some(wrong.as_str()), Some(&up.endpoints.token), Some("Basic eDp4")] {
            for path in ["/api/v1/namespaces", "/version", "/nowhere"] {
                let (status, text) = get(&up, path, token).await;
                assert_eq!(status, 401, "{path} {}", token.is_some());
                let body: serde_json::Value = serde_json::from_str(&text).unwrap();
                let expected = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
                });
                assert_eq!(body, expected);
            }
        }
    }
}

#[tokio::test]
async fn a_restart_keeps_old_kubeconfigs_good() {
    let up = program().start().await;
    let address = up.endpoints.kube.strip_prefix("https://").unwrap().to_owned();
    let copy = up.program().scratch().join("copy");
    fs::copy(kubeconfig(up.program()), &copy).unwrap();
    let (_, program) = up.stop().await;
    let up = program.arg("--kube-listen").arg(&address).start().await;
    namespaces(client(&copy).await).await.unwrap();
    let up = up.crash().await;
    namespaces(client(&copy).await).await.unwrap();

    // A new authority is another one: who trusts the old one does not send it the token.
    let (_, program) = up.stop().await;
    fs::write(program.dir().join("authority.pem"), "damaged").unwrap();
    let up = program.start().await;
    let error = namespaces(client(&copy).await).await.unwrap_err();
    assert!(matches!(error, kube::Error::HyperError(_) | kube::Error::Service(_)), "{error:?}");
    namespaces(client(&kubeconfig(up.program())).await).await.unwrap();
}

#[tokio::test]
async fn plain_http_and_noise_are_answered_and_hurt_nobody() {
    let up = program().start().await;
    let plain = exchange(&up, b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{plain}");
    assert!(plain.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{plain}");
    for noise in
        [&[0x16, 0x03, 0x01, 0xff, 0xff, 0x01][..], &[0; 64], b"\x16\x03\x01\x00\x02\x01\x00"]
    {
        exchange(&up, noise).await;
    }
    namespaces(client(&kubeconfig(up.program())).await).await.unwrap();
}

#[tokio::test]
async fn bodies_have_a_limit_and_errors_the_form_of_kubernetes() {
    let up = program().start().await;
    let api: Api<ConfigMap> = Api::namespaced(client(&kubeconfig(up.program())).await, "default");
    let mut large = ConfigMap::default();
    large.metadata.name = Some("large".into());
    large.data = Some([("x".to_owned(), "x".repeat(3 << 20))].into());
    let error = api.create(&PostParams::default(), &large).await.unwrap_err();
    let status = match error {
        kube::Error::Api(status) => status,
        other => unreachable!("{other:?}"),
    };
    assert_eq!((status.code, status.reason.as_str()), (413, "RequestEntityTooLarge"));
    assert_eq!(status.message, "Request entity too large: limit is 3145728");
}

#[tokio::test]
async fn watches_end_when_it_stops() {
    let up = program().start().await;
    let silent = TcpStream::connect(up.endpoints.kube.strip_prefix("https://").unwrap()).await;
    let api: Api<ConfigMap> = Api::all(client(&kubeconfig(up.program())).await);
    let mut watch = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let started = Instant::now();
    let ended = tokio::spawn(async move { while watch.next().await.is_some() {} });
    let (status, _program) = up.stop().await;
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(5), "it waited for {:?}", started.elapsed());
    tokio::time::timeout(DEADLINE, ended).await.unwrap().unwrap();
    drop(silent);
}

#[tokio::test]
async fn an_address_that_it_cannot_have_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (address, code, word) in [(address.as_str(), 1, "in use"), ("0.0.0.0:0", 64, "tunnel")] {
        let program = program().arg("--kube-listen").arg(address);
        let ended = program.run(&program.up_args()).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(word) && ended.stderr.contains("kube"), "{ended:?}");
    }
}
