//! Debian's Chromium without a window, driven over its DevTools protocol.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::wait::{LONG, within};

/// One tab of a browser with an empty profile.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    next_id: u64,
    _profile: TempDir,
}

/// Where the browser is, if this machine has one.
pub fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|name| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    })
}

impl Browser {
    /// Starts the browser with a window of this size.
    pub async fn start(chromium: &Path, width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(chromium);
        command
            .args(["--headless", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0"])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank");
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        let log = fs::File::create(profile.path().join("log")).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().expect("the browser starts");
        let port_file = profile.path().join("DevToolsActivePort");
        let address = within(LONG, "a browser that can be driven", || {
            let ended = child.try_wait().expect("a child of this process");
            assert!(ended.is_none(), "the browser ended: {ended:?}");
            let text = fs::read_to_string(&port_file).unwrap_or_default();
            let mut lines = text.lines();
            let address = match (lines.next(), lines.next()) {
                (Some(port), Some(path)) => Some(format!("ws://127.0.0.1:{port}{path}")),
                _ => None,
            };
            std::future::ready(address)
        })
        .await;
        let (socket, _) = connect_async(address).await.expect("a browser that answers");
        let mut browser =
            Self { child, socket, session: String::new(), next_id: 0, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach).await;
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser.call("Page.enable", json!({})).await;
        browser
    }

    /// Calls a method of the protocol and gives its result.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let text = message.to_string();
        self.socket.send(Message::text(text)).await.expect("a browser that listens");
        let answer = async {
            while let Some(message) = self.socket.next().await {
                let message = message.expect("a whole message");
                let Ok(text) = message.to_text() else { continue };
                let Ok(answer) = serde_json::from_str::<Value>(text) else { continue };
                if answer["id"] == id {
                    return answer;
                }
            }
            panic!("the browser went away during {method}");
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
        let mut answer = answer.unwrap_or_else(|_| panic!("no answer to {method}"));
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].take()
    }

    /// Opens a page.
    pub async fn go(&mut self, url: &str) {
        let result = self.call("Page.navigate", json!({"url": url})).await;
        assert!(result["errorText"].is_null(), "{url}: {result}");
    }

    /// Runs a script in the page and gives what it returns; a failed one gives null.
    pub async fn run(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        self.call("Runtime.evaluate", params).await["result"]["value"].take()
    }

    /// Waits until a script gives something that counts as true.
    pub async fn until(&mut self, limit: Duration, what: &str, script: &str) -> Value {
        let end = std::time::Instant::now() + limit;
        loop {
            let value = self.run(script).await;
            let is_true = match &value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                _ => true,
            };
            if is_true {
                return value;
            }
            if std::time::Instant::now() >= end {
                let page = self.run("location.href + '\\n' + document.body?.innerText").await;
                panic!("{what}: not so after {limit:?}; the page: {page}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks, as with a mouse, on the first element that a selector fits.
    pub async fn click(&mut self, selector: &str) {
        let find = format!(
            "(() => {{ const node = document.querySelector({selector:?}); if (!node) return null; \
             node.scrollIntoView({{block: 'center'}}); const box = node.getBoundingClientRect(); \
             if (!box.width) return null; \
             return {{x: box.x + box.width / 2, y: box.y + box.height / 2}}; }})()"
        );
        let at = self.until(LONG, selector, &find).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": at["x"], "y": at["y"], "button": "left", "clickCount": 1
            });
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Follows a link that would open another tab, in this one.
    pub async fn follow(&mut self, selector: &str) {
        let script = format!("document.querySelector({selector:?})?.href");
        let url = self.until(LONG, selector, &script).await;
        self.go(url.as_str().expect("a link")).await;
    }

    /// Light or dark.
    pub async fn prefer(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Another size of the window.
    pub async fn resize(&mut self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// A picture of the page, as base64 of a PNG.
    pub async fn picture(&mut self) -> String {
        let result = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        result["data"].as_str().expect("a picture").to_owned()
    }

    /// Ends the browser.
    pub async fn close(mut self) {
        self.session.clear();
        let close = json!({"id": 0, "method": "Browser.close"}).to_string();
        let _gone = self.socket.send(Message::text(close)).await;
        let _ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
    }
}
