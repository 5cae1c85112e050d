//! A running `quartermaster up`, or `serve`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    kube::Kube,
    process::{Watch, pods},
    wait::{LONG, SHORT, eventually, within},
};

/// How to start the program: the binary, its data directory, more arguments.
#[derive(Debug, Clone)]
pub struct Program {
    binary: PathBuf,
    data_dir: PathBuf,
    listen: String,
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    temporary: Arc<TempDir>,
}

/// `DIR/run/endpoints.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// URL of the API.
    pub api: String,
    /// URL that workspaces are opened at.
    pub apps: String,
    /// URL that webhooks are received at, if they are.
    #[serde(default)]
    pub hooks: Option<String>,
    /// URL of the probes.
    pub ops: String,
    /// URL of the Kubernetes API of its own cluster; empty where there is none.
    #[serde(default)]
    pub kube: String,
    /// What programs send as `Authorization: Bearer`; empty where callers are known by other means.
    #[serde(default)]
    pub token: String,
    /// The server's process.
    pub pid: u32,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code, or none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A whole HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub text: String,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a body that is complete") }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Panics unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

impl Program {
    /// The binary with an empty data directory that goes away with the last copy of this value.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let temporary = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let data_dir = temporary.path().join("data");
        let listen = "127.0.0.1:0".to_owned();
        let command = vec!["up".to_owned()];
        let (args, env) = (Vec::new(), Vec::new());
        Self { binary: binary.into(), data_dir, listen, command, args, env, temporary }
    }

    /// `serve` for one person on a cluster (`kubeconfig`, `embedded:DIR`, …) instead of `up`.
    #[must_use]
    pub fn serve(mut self, cluster: &str) -> Self {
        let command = ["serve", "--auth", "local", "--cluster", cluster];
        self.command = command.map(str::to_owned).to_vec();
        self
    }

    /// `serve` on a cluster, with everything else as a configuration file says.
    #[must_use]
    pub fn serve_with(mut self, cluster: &str, config: &str) -> Self {
        let file = self.temporary.path().join("quartermaster.yaml");
        fs::write(&file, config).expect("a configuration file");
        let file = file.to_str().expect("a path in UTF-8");
        self.command = ["serve", "--cluster", cluster, "-c", file].map(str::to_owned).to_vec();
        self
    }

    /// Another data directory.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = dir.into();
        self
    }

    /// Another address for the API than a free one.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// One more argument of the server.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where it keeps its data.
    pub fn dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.temporary.path()
    }

    /// Any command, with nothing of this machine's settings in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).env_clear().kill_on_drop(true).stdin(Stdio::null());
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", path).env("HOME", self.temporary.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs any command to its end.
    pub async fn run(&self, args: &[&str]) -> Ended {
        let output = self.command(args).output();
        let output = tokio::time::timeout(SHORT, output).await.expect("an end in time");
        let output = output.expect("the binary starts");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The arguments of the server on free ports.
    pub fn up_args(&self) -> Vec<&str> {
        let dir = self.data_dir.to_str().expect("a path in UTF-8");
        let mut args: Vec<&str> = self.command.iter().map(String::as_str).collect();
        args.extend(["--data-dir", dir, "--listen", &self.listen]);
        args.extend(self.args.iter().map(String::as_str));
        args
    }

    /// Starts the server and waits until it says where it can be reached.
    pub async fn start(self) -> Up {
        let log_path = self.temporary.path().join("up.log");
        let log = File::options().create(true).append(true).open(&log_path).expect("a log file");
        let mut command = self.command(&self.up_args());
        // For whoever looks for the reason of a failure: what the server logs is printed with it.
        if let Ok(filter) = std::env::var("QUARTERMASTER_TEST_LOG") {
            command.env("RUST_LOG", filter);
        }
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut child = command.spawn().expect("the binary starts");
        let pid = child.id().expect("a process that runs");
        let file = self.data_dir.join("run/endpoints.json");
        let endpoints = within(SHORT, "endpoints.json of this run", || {
            let ended = child.try_wait().expect("a child of this process");
            let log = || fs::read_to_string(&log_path).unwrap_or_default();
            assert!(ended.is_none(), "it ended with {ended:?}: {}", log());
            let endpoints = fs::read(&file)
                .ok()
                .and_then(|text| serde_json::from_slice::<Endpoints>(&text).ok());
            std::future::ready(endpoints.filter(|endpoints| endpoints.pid == pid))
        })
        .await;
        let http = client(&endpoints.token);
        Up { program: self, child: Some(child), endpoints, http, log: log_path }
    }
}

/// What every client of the kit starts from: it follows no redirect and knows no proxy.
pub fn http_client() -> reqwest::ClientBuilder {
    // Built together with the program's own crates, the client speaks TLS and wants a provider; the
    // call fails only if there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy()
}

/// A client that shows the token, as programs do, and follows no redirect.
fn client(token: &str) -> reqwest::Client {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a plain token");
    bearer.set_sensitive(true);
    let headers = match token {
        "" => HeaderMap::new(),
        _ => HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]),
    };
    http_client()
        .default_headers(headers)
        .timeout(Duration::from_secs(60))
        .build()
        .expect("a client")
}

/// A running server. Dropped, it and all its pods are gone.
#[derive(Debug)]
pub struct Up {
    program: Program,
    child: Option<Child>,
    log: PathBuf,
    /// Where it can be reached.
    pub endpoints: Endpoints,
    /// A client that shows the token.
    pub http: reqwest::Client,
}

impl Up {
    /// How it was started.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Everything it printed.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a request to the API; `path` starts below `/api/v1`.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.api_base()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// URL of the API without a slash at its end.
    pub fn api_base(&self) -> &str {
        self.endpoints.api.trim_end_matches('/')
    }

    /// GET below `/api/v1`.
    pub async fn get(&self, path: &str) -> Answer {
        self.api(Method::GET, path, None).await
    }

    /// POST below `/api/v1`.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.api(Method::POST, path, Some(body)).await
    }

    /// DELETE below `/api/v1`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.api(Method::DELETE, path, None).await
    }

    /// Makes a kind from YAML.
    pub async fn create_kind(&self, yaml: &str) -> Answer {
        let url = format!("{}/api/v1/workspacekinds", self.api_base());
        let request = self.http.post(url).header(header::CONTENT_TYPE, "application/yaml");
        Answer::of(request.body(yaml.to_owned()).send().await.expect("an answer")).await
    }

    /// Makes a claim for a home directory.
    pub async fn create_home(&self, name: &str) {
        let claim = json!({"data": {
            "name": name, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
            "requests": {"storage": "1Gi"},
        }});
        self.post("/persistentvolumeclaims/default", claim).await.expect(201);
    }

    /// Deletes a claim and waits until it is gone, which on a real cluster is when its pod is.
    pub async fn delete_home(&self, name: &str) {
        self.delete(&format!("/persistentvolumeclaims/default/{name}")).await.expect(204);
        let named = format!("{name:?}");
        within(LONG, "the claim is gone", async || {
            let claims = self.get("/persistentvolumeclaims/default").await.expect(200);
            (!claims.text.contains(&named)).then_some(())
        })
        .await;
    }

    /// Makes a hook whose secret is this token; once it is served, gives the path of its address.
    pub async fn hook(&self, name: &str, token: &str, mut spec: Value) -> String {
        const HOOKS: &str = "/apis/quartermaster.io/v1alpha1/namespaces/default/hooks";
        let kube = Kube::new(&self.program.dir().join("kubeconfig"));
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"token": token}});
        kube.create("/api/v1/namespaces/default/secrets", &secret).await;
        spec["secretRef"] = json!({"name": name});
        let hook = json!({"apiVersion": "quartermaster.io/v1alpha1", "kind": "Hook",
            "metadata": {"name": name}, "spec": spec});
        kube.create(HOOKS, &hook).await;
        within(LONG, "a hook that is served", async || {
            let hook = kube.get(&format!("{HOOKS}/{name}")).await.expect(200).json();
            let serving = hook["status"]["conditions"][0]["reason"] == "Serving";
            hook["status"]["webhookPath"].as_str().filter(|_| serving).map(str::to_owned)
        })
        .await
    }

    /// Makes a workspace of a kind with its default options, and a home.
    pub async fn create_workspace(&self, name: &str, kind: &str) {
        let home = format!("{name}-home");
        self.create_home(&home).await;
        let options = self.default_options(kind).await;
        let workspace = json!({"data": {
            "name": name, "kind": kind,
            "podTemplate": {"volumes": {"home": home}, "options": options},
        }});
        self.post("/workspaces/default", workspace).await.expect(201);
    }

    /// The options that a kind offers first.
    pub async fn default_options(&self, kind: &str) -> Value {
        let kind = self.get(&format!("/workspacekinds/{kind}")).await.expect(200).json();
        let default = |which: &str| {
            kind["data"]["podTemplate"]["options"][which]["spawner"]["default"].clone()
        };
        json!({"imageConfig": default("imageConfig"), "podConfig": default("podConfig")})
    }

    /// The item of a workspace in the list, if it is there.
    pub async fn workspace(&self, name: &str) -> Option<Value> {
        let list = self.get("/workspaces/default").await.expect(200).json();
        list["data"].as_array()?.iter().find(|item| item["name"] == name).cloned()
    }

    /// Waits until a workspace is in a state.
    pub async fn wait_for_state(&self, name: &str, state: &str, limit: Duration) -> Value {
        let seen = std::cell::RefCell::new(Value::Null);
        let end = std::time::Instant::now() + limit;
        loop {
            if let Some(item) = self.workspace(name).await {
                if item["state"] == state {
                    return item;
                }
                *seen.borrow_mut() = item;
            }
            assert!(
                std::time::Instant::now() < end,
                "{name} is not {state} after {limit:?}: {}\n{}",
                seen.borrow(),
                self.printed()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Pauses or starts a workspace.
    pub async fn pause(&self, name: &str, paused: bool) -> Answer {
        let path = format!("/workspaces/default/{name}/actions/pause");
        self.post(&path, json!({"data": {"paused": paused}})).await
    }

    /// Lets a browser in: follows the start URL or the link to a workspace, one hop at a time, and
    /// gives the URL where it ended and the cookies for it.
    pub async fn visit(&self, url: &str) -> Visit {
        let browser = http_client().build().expect("a client");
        let mut visit = Visit { url: url.to_owned(), cookies: Vec::new(), http: browser };
        let token = HeaderValue::from_str(&format!("Bearer {}", self.endpoints.token));
        let token = token.expect("a plain token");
        for _ in 0..8 {
            let request = visit.request(Method::GET, &visit.url.clone());
            // Only the first listener knows the caller by token; after that cookies must do.
            let request = if visit.url.starts_with(self.api_base()) {
                request.header(header::AUTHORIZATION, token.clone())
            } else {
                request
            };
            let response = request.header(header::ACCEPT, "text/html").send().await;
            let response = response.expect("an answer");
            visit.keep_cookies(response.headers());
            if !response.status().is_redirection() {
                return visit;
            }
            let target = response.headers()[header::LOCATION].to_str().expect("a plain location");
            let base = reqwest::Url::parse(&visit.url).expect("a URL");
            visit.url = base.join(target).expect("a URL").to_string();
        }
        panic!("{url} redirects without end");
    }

    /// Opens a workspace's first service, as a browser would that is signed in.
    pub async fn open(&self, name: &str) -> Visit {
        let item = self.workspace(name).await.expect("the workspace");
        let path = item["services"][0]["httpService"]["httpPath"].as_str().expect("a path");
        self.visit(&format!("{}{path}", self.api_base())).await
    }

    /// Processes of pods, those of this run and of earlier ones.
    pub fn pods(&self) -> std::collections::BTreeMap<u32, String> {
        pods(self.program.dir())
    }

    /// Stops the server as Ctrl-C does and waits for its end.
    pub async fn stop(mut self) -> (ExitStatus, Program) {
        let mut child = self.child.take().expect("a server that runs");
        if let Some(watch) = Watch::new(self.endpoints.pid) {
            watch.signal(Signal::TERM);
        }
        let status = tokio::time::timeout(SHORT, child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("no clean stop: {}", self.printed()));
        (status.expect("a child of this process"), self.program.clone())
    }

    /// Ends the server without any warning; its pods go on.
    pub async fn kill(mut self) -> Program {
        let mut child = self.child.take().expect("a server that runs");
        child.start_kill().expect("a server that runs");
        child.wait().await.expect("a child of this process");
        self.program.clone()
    }

    /// `kill -9`, then a new start on the same data.
    pub async fn crash(self) -> Self {
        self.kill().await.start().await
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Some(watch) = Watch::new(self.endpoints.pid)
        {
            watch.signal(Signal::TERM);
            if !watch.ended_within(Duration::from_secs(15)) {
                watch.signal(Signal::KILL);
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Pods outlive a killed server; they must not outlive the test.
        if Arc::strong_count(&self.temporary) == 1 {
            for pid in pods(&self.data_dir).into_keys() {
                if let Some(watch) = Watch::new(pid) {
                    watch.signal(Signal::KILL);
                    watch.ended_within(Duration::from_secs(2));
                }
            }
        }
    }
}

/// A browser's view: the URL it ended at, and what it holds there.
#[derive(Debug)]
pub struct Visit {
    /// The last URL.
    pub url: String,
    cookies: Vec<(String, String)>,
    http: reqwest::Client,
}

impl Visit {
    /// A request with this browser's cookies.
    pub fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        // What a page's own script sends along.
        let origin = reqwest::Url::parse(url).expect("a URL").origin().ascii_serialization();
        let mut request = self.http.request(method.clone(), url);
        if !method.is_safe() {
            request =
                request.header(header::ORIGIN, origin).header("sec-fetch-site", "same-origin");
        }
        if self.cookies.is_empty() {
            request
        } else {
            request.header(header::COOKIE, self.cookie())
        }
    }

    /// The `Cookie` header.
    pub fn cookie(&self) -> String {
        let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    /// A request below the last URL, answered whole.
    pub async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let base = reqwest::Url::parse(&self.url).expect("a URL");
        let url = base.join(path).expect("a URL");
        let request = self.request(method, url.as_str()).body(body);
        Answer::of(request.send().await.expect("an answer")).await
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.retain(|(known, _)| known != name);
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// Waits until no process of a pod is left.
pub async fn no_pods(data_dir: &Path) {
    eventually("no process of a pod", || {
        std::future::ready(pods(data_dir).is_empty().then_some(()))
    })
    .await;
}
