//! A running `quartermaster as workspaces-backend`, asked as the proxy in front of it would.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use reqwest::{Method, header};
use serde_json::Value;
use tokio::process::Child;

use crate::{
    Program,
    up::{Answer, http_client},
    wait::{SHORT, within},
};

/// The program in the place of the original. Dropped, it is gone.
#[derive(Debug)]
pub struct Backend {
    child: Child,
    log: PathBuf,
    /// Its URL, without a slash at the end.
    pub url: String,
    http: reqwest::Client,
}

impl Backend {
    /// Starts it at a free port on the cluster of a kubeconfig, with more flags.
    pub async fn start(program: &Program, kubeconfig: &Path, flags: &[&str]) -> Self {
        let args = ["as", "workspaces-backend", "--port", "0"];
        let args: Vec<&str> = args.iter().chain(flags).copied().collect();
        let log = program.scratch().join("backend.log");
        let output = File::create(&log).expect("a log file");
        let mut command = program.command(&args);
        command.env("KUBECONFIG", kubeconfig);
        command.stdout(output.try_clone().expect("a second handle")).stderr(output);
        let mut child = command.spawn().expect("the binary starts");
        let url = within(SHORT, "the backend says where it is", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let ended = child.try_wait().expect("a child of this process");
            assert!(ended.is_none(), "it ended with {ended:?}: {text}");
            let line = text.lines().find(|line| line.starts_with("Serving "));
            let url = line.and_then(|line| line.rsplit_once(" at ")).map(|(_, url)| url.to_owned());
            std::future::ready(url)
        })
        .await;
        let http = http_client().build().expect("a client");
        Self { child, log, url, http }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Everything it printed.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Any request as a user of these groups; nobody for an empty name. `path` is a whole one.
    pub async fn send(
        &self,
        (user, groups): (&str, &[&str]),
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !user.is_empty() {
            request = request.header("kubeflow-userid", user);
        }
        for group in groups {
            request = request.header("kubeflow-groups", *group);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// Makes a kind from YAML, as an administrator of the cluster.
    pub async fn create_kind(&self, yaml: &str) -> Answer {
        let url = format!("{}/api/v1/workspacekinds", self.url);
        let request = self.http.post(url).header("kubeflow-userid", "root");
        let request = request.header("kubeflow-groups", "system:masters");
        let request = request.header(header::CONTENT_TYPE, "application/yaml");
        Answer::of(request.body(yaml.to_owned()).send().await.expect("an answer")).await
    }

    /// Asks it to end, and gives the status it ended with.
    pub async fn stop(mut self) -> std::process::ExitStatus {
        let pid = self.child.id().expect("a process that runs");
        let watch = crate::Watch::new(pid).expect("a process");
        watch.signal(rustix::process::Signal::TERM);
        tokio::time::timeout(SHORT, self.child.wait()).await.expect("an end in time").expect("one")
    }
}
