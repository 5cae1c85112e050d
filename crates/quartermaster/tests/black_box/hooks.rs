//! A `Hook` from outside: made with the Kubernetes API, called like a code host does, looked at with
//! our own commands.

use std::{fs, time::Duration};

use quartermaster_e2e::{Kube, Program, Up, within};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::program;

const HOOKS: &str = "/apis/quartermaster.io/v1alpha1/namespaces/default/hooks";
const KEY: &str = "correct-horse-battery-staple-01";
/// Where a hook with that key is.
const PATH: &str = "/hook/92da4a9fe72a4877e2c6cb3e1005dfb7f57b4344833ae4245666522089107944";
/// Of the vectors of the contract: HMAC-SHA256 of the ping's body under the key.
const PING: &str = r#"{"zen":"keep it small"}"#;
const MAC: &str = "sha256=ab5e058ba340e6e742d2de031edb158294002baf097637ffc06d5b979e2ee141";
const LIMIT: Duration = Duration::from_secs(30);

/// Where the server listens for webhooks.
fn hooks_url(up: &Up) -> String {
    up.endpoints.hooks.as_deref().unwrap().trim_end_matches('/').to_owned()
}

fn kube(up: &Up) -> Kube {
    Kube::new(&up.program().dir().join("kubeconfig"))
}

/// Runs one of our commands against the server; it must end well.
async fn run(up: &Up, args: &[&str]) -> String {
    let dir = up.program().dir().to_str().unwrap().to_owned();
    let args = [&["hooks"], args, &["--data-dir", &dir]].concat();
    let ended = up.program().run(&args).await;
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
    ended.stdout
}

/// One server, taking one request after the other: gives their bodies.
async fn downstream() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&read).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if body.len() < length {
                    continue;
                }
                let _closed = sender.send(body.to_owned());
                let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                break;
            }
        }
    });
    (url, receiver)
}

async fn told(receiver: &mut tokio::sync::mpsc::UnboundedReceiver<String>) -> Value {
    let body = tokio::time::timeout(LIMIT, receiver.recv()).await.unwrap().unwrap();
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn a_hook_is_tried_out_seen_and_made_again() {
    let up = program().start().await;
    let (target, mut receiver) = downstream().await;
    let spec = json!({"source": "GitHub", "targets": [{"type": "http", "url": target}]});
    up.hook("code", KEY, spec).await;

    let table = run(&up, &["url"]).await;
    let line = table.lines().find(|line| line.starts_with("default/code")).unwrap();
    let url = line.split_whitespace().last().unwrap();
    assert!(url.starts_with(&format!("{}/hook/", hooks_url(&up))), "{url}");
    let ping = async |signature: &str| {
        let request = reqwest::Client::new().post(url).body(PING);
        let request = request.header("content-type", "application/json");
        let request = request.header("x-github-event", "ping");
        let answer = request.header("x-hub-signature-256", signature).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ping(MAC).await, (200, "Pong".to_owned()));
    let (status, text) = ping(&MAC.replace("sha256=a", "sha256=b")).await;
    assert_eq!((status, &*text), (401, "The GitHub signature header is invalid.\n"));

    let said = run(&up, &["test", "default/code"]).await;
    assert!(said.starts_with("answered 202"), "{said}");
    let event = told(&mut receiver).await;
    assert_eq!(event["repo"]["fullName"], "quartermaster/sample");
    let delivered = within(LIMIT, "a delivery", async || {
        let list = run(&up, &["deliveries", "--state", "delivered", "-o", "json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        list["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let rejected = run(&up, &["deliveries", "--state", "rejected"]).await;
    assert!(rejected.contains("default/code"), "{rejected}");
    assert!(run(&up, &["deliveries", &delivered]).await.contains("state: delivered"));
    run(&up, &["redeliver", &delivered]).await;
    assert_eq!(told(&mut receiver).await["id"], event["id"], "the same whenever it is made again");

    let ops = up.endpoints.ops.trim_end_matches('/').to_owned();
    let metrics = up.http.get(format!("{ops}/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = "qm_hook_requests_total{endpoint=\"default/code\",source=\"GitHub\",code=\"401\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let line = "qm_http_requests_total{listener=\"api\",method=\"GET\",\
                route=\"/api/v1/hooks/deliveries\",status=\"2xx\"}";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("qm_cache_ready{resource=\"workspaces\"} 1"), "{metrics}");
    assert!(!metrics.contains(url.rsplit('/').next().unwrap()), "a path is a secret");
}

#[tokio::test]
async fn commands_say_what_is_wrong() {
    let up = program().start().await;
    let dir = up.program().dir().to_str().unwrap().to_owned();
    let refused = async |program: &Program, args: &[&str]| {
        let ended = program.run(args).await;
        assert_ne!(ended.code, Some(0), "{args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
        ended.stderr
    };
    let at = |args: &[&'static str]| [&["hooks"], args, &["--data-dir", &*dir]].concat();
    let said = refused(up.program(), &at(&["test", "default/none"])).await;
    assert!(said.contains("404"), "{said}");
    let said = refused(up.program(), &at(&["url", "default/none"])).await;
    assert!(said.contains("there is no hook default/none"), "{said}");
    let said = refused(up.program(), &at(&["deliveries", "--since", "soon"])).await;
    assert!(said.contains("400"), "{said}");
    refused(up.program(), &at(&["redeliver"])).await;
    let elsewhere = ["hooks", "url", "--url", &*up.endpoints.api, "--token", "wrong"];
    let said = refused(up.program(), &elsewhere).await;
    assert!(said.contains("401"), "{said}");
    let nowhere = refused(&program(), &["hooks", "url"]).await;
    assert!(nowhere.contains("is not running"), "{nowhere}");
}

/// Row 51: without a disk there is no false success, and the probe says so. (The journal is made at
/// the first hook.)
#[tokio::test]
async fn row_51_a_journal_that_cannot_be_made_is_said() {
    let program = program();
    fs::create_dir_all(program.dir()).unwrap();
    fs::write(program.dir().join("hooks"), "a file where the directory would be").unwrap();
    let up = program.start().await;
    let kube = kube(&up);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "code"},
        "stringData": {"token": KEY}});
    kube.create("/api/v1/namespaces/default/secrets", &secret).await;
    let hook = json!({"apiVersion": "quartermaster.io/v1alpha1", "kind": "Hook",
        "metadata": {"name": "code"}, "spec": {"source": "DockerHub", "insecure": true,
        "secretRef": {"name": "code"}, "targets": [{"type": "log"}]}});
    kube.create(HOOKS, &hook).await;
    within(LIMIT, "a hook that says why", async || {
        let hook = kube.get(&format!("{HOOKS}/code")).await.expect(200).json();
        (hook["status"]["conditions"][0]["reason"] == "JournalUnavailable").then_some(())
    })
    .await;
    let ready = up.http.get(format!("{}/readyz", up.endpoints.ops.trim_end_matches('/')));
    assert_eq!(ready.send().await.unwrap().status(), 503);
    let push = json!({"repository": {"repo_name": "team/app"}});
    let push = up.http.post(format!("{}{PATH}", hooks_url(&up))).json(&push);
    let answer = push.send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    let address = hooks_url(&up).replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
