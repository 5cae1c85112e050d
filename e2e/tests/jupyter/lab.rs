//! A JupyterLab in a workspace, used as its page uses it.

use std::{path::PathBuf, time::Duration};

use futures::{SinkExt, StreamExt};
use quartermaster_e2e::{LONG, Up, Visit, within};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// The JupyterLab of this machine.
pub(crate) struct Jupyter {
    /// The folder of its programs.
    pub(crate) programs: PathBuf,
}

impl Jupyter {
    /// None if nobody has installed it.
    pub(crate) fn installed() -> Option<Self> {
        Some(Self { programs: std::env::var_os("QUARTERMASTER_JUPYTER")?.into() })
    }

    /// `PATH` with it.
    pub(crate) fn path(&self) -> String {
        let path = std::env::var_os("PATH").unwrap();
        let folders = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        std::env::join_paths(folders).unwrap().into_string().unwrap()
    }
}

/// Opens a workspace, once JupyterLab answers itself.
pub(crate) async fn opened(up: &Up, name: &str) -> Visit {
    let base = format!("/{name}/lab/");
    within(LONG, "JupyterLab answers", async || {
        let mut visit = up.open(name).await;
        let end = visit.url.find(&base).map_or(visit.url.len(), |at| at + base.len());
        visit.url.truncate(end);
        let status = visit.send(Method::GET, "api/status", Vec::new()).await.status;
        (status == 200).then_some(visit)
    })
    .await
}

/// Starts a kernel; its id.
pub(crate) async fn new_kernel(lab: &Visit) -> String {
    let body = json!({"name": "python3"}).to_string().into_bytes();
    let kernel = lab.send(Method::POST, "api/kernels", body).await.expect(201).json();
    kernel["id"].as_str().unwrap().to_owned()
}

/// A cell that runs.
pub(crate) struct Running {
    id: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Running {
    /// Runs code in a kernel over its WebSocket.
    pub(crate) async fn start(lab: &Visit, kernel: &str, code: &str) -> Self {
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
        Self { id, socket }
    }

    /// Waits until the kernel says something about it that is wanted.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        let said = async {
            while let Some(message) = self.socket.next().await {
                let message = message.unwrap();
                let Ok(text) = message.to_text() else { continue };
                let Ok(message) = serde_json::from_str::<Value>(text) else { continue };
                if message["parent_header"]["msg_id"] != self.id {
                    continue;
                }
                if let Some(found) = wanted(&message) {
                    return found;
                }
                assert_ne!(message["msg_type"], "error", "{message}");
            }
            panic!("the kernel's WebSocket ended");
        };
        tokio::time::timeout(Duration::from_secs(60), said).await.expect("a word in time")
    }
}

/// Runs code in a kernel and gives the result as text.
pub(crate) async fn execute(lab: &Visit, kernel: &str, code: &str) -> String {
    let result = |message: &Value| {
        let is_result = message["msg_type"] == "execute_result";
        is_result.then(|| message["content"]["data"]["text/plain"].as_str().unwrap().to_owned())
    };
    Running::start(lab, kernel, code).await.until(result).await
}
