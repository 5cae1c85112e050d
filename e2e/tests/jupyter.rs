//! The main job on the real JupyterLab, on whatever cluster this run is about: run it, work in it,
//! pause it, lose the server, find everything again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use quartermaster_e2e::{LONG, Program, Site, Up, Visit, binary, skip, within};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

#[tokio::test]
async fn jupyterlab_runs_pauses_and_survives_the_server() {
    let Some(programs) = std::env::var_os("QUARTERMASTER_JUPYTER") else {
        return skip("jupyterlab_runs_pauses_and_survives_the_server", "JupyterLab is missing");
    };
    let programs = std::path::PathBuf::from(programs);
    let path = std::env::join_paths(
        std::iter::once(programs.clone())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let path = path.unwrap().into_string().unwrap();
    let site = Site::of_this_run();
    let up = site.start(Program::new(binary()).env("PATH", path)).await;
    let dir = up.program().dir().to_owned();
    up.create_kind(&site.jupyter_kind("study-lab", &programs)).await.expect(201);

    up.create_workspace("study", "study-lab").await;
    up.wait_for_state("study", "Running", LONG).await;
    let lab = opened(&up).await;
    let page = lab.send(Method::GET, "lab", Vec::new()).await.expect(200);
    assert!(page.text.contains("JupyterLab"), "{}", page.text);

    let body = json!({"name": "python3"}).to_string().into_bytes();
    let kernel = lab.send(Method::POST, "api/kernels", body).await.expect(201).json();
    let kernel = kernel["id"].as_str().unwrap().to_owned();
    assert_eq!(execute(&lab, &kernel, "1+1").await, "2");
    execute(&lab, &kernel, "x = 41\nx").await;
    let note = json!({"type": "file", "format": "text", "content": "kept"}).to_string();
    lab.send(Method::PUT, "api/contents/note.txt", note.into_bytes()).await.expect(201);

    // The server is killed: the process in the workspace does not notice.
    let up = up.crash().await;
    up.wait_for_state("study", "Running", LONG).await;
    let lab = opened(&up).await;
    assert_eq!(execute(&lab, &kernel, "x + 1").await, "42", "the kernel went on");

    up.pause("study", true).await.expect(200);
    up.wait_for_state("study", "Paused", LONG).await;
    site.nothing_runs(&dir).await;
    let up = up.crash().await;
    up.pause("study", false).await.expect(200);
    up.wait_for_state("study", "Running", LONG).await;
    let lab = opened(&up).await;
    let note = lab.send(Method::GET, "api/contents/note.txt", Vec::new()).await.expect(200).json();
    assert_eq!(note["content"], "kept");

    let logs = up.get("/workspaces/default/study/podtemplate/logs/batch").await.expect(200).text;
    assert!(logs.contains("Jupyter Server"), "{logs}");
    let mut tokens = logs.split("token=").skip(1);
    assert!(tokens.all(|rest| rest.starts_with("...")), "no secret in the log: {logs}");
    up.delete("/workspaces/default/study").await.expect(204);
    site.nothing_runs(&dir).await;
    assert!(up.workspace("study").await.is_none());
    let (status, _) = up.stop().await;
    assert!(status.success(), "{status}");
}

/// Opens the workspace, once JupyterLab answers itself.
async fn opened(up: &Up) -> Visit {
    within(LONG, "JupyterLab answers", async || {
        let mut visit = up.open("study").await;
        let base = "/study/lab/";
        let end = visit.url.find(base).map_or(visit.url.len(), |at| at + base.len());
        visit.url.truncate(end);
        let status = visit.send(Method::GET, "api/status", Vec::new()).await.status;
        (status == 200).then_some(visit)
    })
    .await
}

/// Runs code in a kernel over its WebSocket and gives the result as text.
async fn execute(lab: &Visit, kernel: &str, code: &str) -> String {
    let url = format!("{}api/kernels/{kernel}/channels", lab.url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("cookie", lab.cookie().parse().unwrap());
    let origin = reqwest::Url::parse(&lab.url).unwrap().origin().ascii_serialization();
    request.headers_mut().insert("origin", origin.parse().unwrap());
    let (mut socket, _) = connect_async(request).await.expect("the kernel's WebSocket");
    let id = format!("message-{}", code.len());
    let message = json!({
        "header": {"msg_id": id, "msg_type": "execute_request", "username": "", "session": id,
                   "date": "", "version": "5.3"},
        "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
        "content": {"code": code, "silent": false, "store_history": true,
                    "user_expressions": {}, "allow_stdin": false, "stop_on_error": true},
    });
    socket.send(Message::text(message.to_string())).await.unwrap();
    let answer = async {
        while let Some(message) = socket.next().await {
            let message = message.unwrap();
            let Ok(text) = message.to_text() else { continue };
            let Ok(message) = serde_json::from_str::<Value>(text) else { continue };
            if message["parent_header"]["msg_id"] != id {
                continue;
            }
            if message["msg_type"] == "execute_result" {
                return message["content"]["data"]["text/plain"].as_str().unwrap().to_owned();
            }
            assert_ne!(message["msg_type"], "error", "{message}");
        }
        panic!("the kernel's WebSocket ended");
    };
    tokio::time::timeout(Duration::from_secs(60), answer).await.expect("a result in time")
}
