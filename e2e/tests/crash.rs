//! `kill -9` at random moments during creates, pauses, starts and deletes.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quartermaster_e2e::{LONG, Program, Up, binary, pods, variable, within};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet, time::Instant};

const NAMES: usize = 6;

/// What the server has promised about one workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    Absent,
    Here {
        paused: bool,
    },
    /// A request was under way when the server died: both outcomes are right.
    Open,
}

type Promises = Arc<Mutex<BTreeMap<String, Promise>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_is_left_over() {
    let rounds: usize =
        std::env::var("QUARTERMASTER_CRASHES").map_or(200, |count| count.parse().unwrap());
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    eprintln!("seed {seed}");
    let mut random = Random(u64::from(seed) | 1);
    let promises: Promises = Arc::default();
    let names = (0..NAMES).map(|number| format!("w-{number}"));
    promises.lock().await.extend(names.map(|name| (name, Promise::Absent)));

    let mut up = Program::new(binary()).start().await;
    for round in 0..rounds {
        let moment = Instant::now() + Duration::from_millis(random.below(700));
        let mut tasks = JoinSet::new();
        for worker in 0..3 {
            let client = Client { http: up.http.clone(), base: up.api_base().to_owned() };
            let work = work(client, promises.clone(), Random(random.next() ^ worker | 1));
            tasks.spawn(work);
        }
        tokio::time::sleep_until(moment).await;
        let program = up.kill().await;
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        up = program.start().await;
        check(&up, &promises, round).await;
    }
}

/// Sends requests until the server is gone.
async fn work(client: Client, promises: Promises, mut random: Random) {
    loop {
        let name = format!("w-{}", random.below(NAMES as u64));
        // One request per workspace at a time: otherwise nobody could say what is promised.
        let before = {
            let mut promises = promises.lock().await;
            let before = promises[&name];
            if before == Promise::Open {
                drop(promises);
                tokio::task::yield_now().await;
                if client.is_gone().await {
                    return;
                }
                continue;
            }
            promises.insert(name.clone(), Promise::Open);
            before
        };
        let after = match before {
            Promise::Absent => client.create(&name, random.below(2) == 0).await,
            Promise::Here { .. } if random.below(3) == 0 => client.delete(&name).await,
            Promise::Here { paused } => client.pause(&name, !paused).await,
            Promise::Open => unreachable!("handled above"),
        };
        match after {
            Answer::Promise(promise) => promises.lock().await.insert(name, promise),
            Answer::Refused => promises.lock().await.insert(name, before),
            Answer::Gone => return,
        };
    }
}

enum Answer {
    Promise(Promise),
    /// The state did not allow it: nothing changed.
    Refused,
    /// No answer: the server died.
    Gone,
}

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    async fn send(&self, method: Method, path: &str, data: Option<Value>) -> Option<StatusCode> {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        if let Some(data) = data {
            request = request.json(&json!({"data": data}));
        }
        let response = request.send().await.ok()?;
        let status = response.status();
        // An answer counts once it is complete.
        response.bytes().await.ok()?;
        Some(status)
    }

    async fn is_gone(&self) -> bool {
        self.send(Method::GET, "/healthcheck", None).await.is_none()
    }

    async fn create(&self, name: &str, paused: bool) -> Answer {
        let home = format!("{name}-home");
        let claim = json!({
            "name": home, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
            "requests": {"storage": "1Gi"},
        });
        match self.send(Method::POST, "/persistentvolumeclaims/default", Some(claim)).await {
            Some(status) => assert!(status == 201 || status == 409, "claim: {status}"),
            None => return Answer::Gone,
        }
        let workspace = json!({
            "name": name, "kind": "files", "paused": paused,
            "podTemplate": {
                "volumes": {"home": home},
                "options": {"imageConfig": "files", "podConfig": "small"},
            },
        });
        let status = self.send(Method::POST, "/workspaces/default", Some(workspace)).await;
        outcome(status, 201, Promise::Here { paused })
    }

    async fn pause(&self, name: &str, paused: bool) -> Answer {
        let path = format!("/workspaces/default/{name}/actions/pause");
        let status = self.send(Method::POST, &path, Some(json!({"paused": paused}))).await;
        outcome(status, 200, Promise::Here { paused })
    }

    async fn delete(&self, name: &str) -> Answer {
        let path = format!("/workspaces/default/{name}");
        outcome(self.send(Method::DELETE, &path, None).await, 204, Promise::Absent)
    }
}

fn outcome(status: Option<StatusCode>, wanted: u16, promise: Promise) -> Answer {
    match status {
        Some(status) if status == wanted => Answer::Promise(promise),
        Some(StatusCode::CONFLICT) => Answer::Refused,
        Some(status) => panic!("an answer of {status} instead of {wanted}"),
        None => Answer::Gone,
    }
}

/// All promises are kept, every workspace reaches its state, and no other process runs.
async fn check(up: &Up, promises: &Promises, round: usize) {
    let mut promises = promises.lock().await;
    let list = up.get("/workspaces/default").await.expect(200).json();
    let paused: BTreeMap<&str, bool> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["name"].as_str().unwrap(), item["paused"] == true))
        .collect();
    for (name, promise) in promises.iter_mut() {
        let found = paused.get(name.as_str()).copied();
        let now = found.map_or(Promise::Absent, |paused| Promise::Here { paused });
        if *promise == Promise::Open {
            *promise = now;
        }
        assert_eq!(*promise, now, "{name} after kill number {round}");
    }
    let running: BTreeSet<String> = promises
        .iter()
        .filter(|(_, promise)| **promise == Promise::Here { paused: false })
        .map(|(name, _)| name.clone())
        .collect();
    for (name, promise) in promises.iter() {
        match promise {
            Promise::Here { paused: true } => up.wait_for_state(name, "Paused", LONG).await,
            Promise::Here { paused: false } => up.wait_for_state(name, "Running", LONG).await,
            _ => continue,
        };
    }
    let dir = up.program().dir().to_owned();
    within(LONG, "only the processes of workspaces that should run", || {
        let mut seen = BTreeSet::new();
        let mut right = true;
        for pid in pods(&dir).into_keys() {
            // The program's environment names its workspace; its parent has no such variable.
            if let Some(path) = variable(pid, "QUARTERMASTER_FILES_BASE_PATH") {
                let name = path.split('/').nth(4).unwrap_or_default().to_owned();
                right &= running.contains(&name) && seen.insert(name);
            }
        }
        let parents = pods(&dir).len().saturating_sub(seen.len());
        right &= seen == running && parents <= running.len();
        std::future::ready(right.then_some(()))
    })
    .await;
}

/// A small generator: the seed is printed, so a failure can be looked at again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
