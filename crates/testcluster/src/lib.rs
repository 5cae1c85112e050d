//! The cluster that a test runs on.
//!
//! Normally each test has an embedded one of its own. `cargo xtask test --real` names a real one
//! instead: there the tests take turns, and each finds what a new cluster has and nothing else, so
//! that a test needs not know where it runs. A test that can run on the embedded cluster only says
//! why ([`TestCluster::embedded_only`]); `docs/conformance.md` lists both sorts.

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod tidy;
mod turn;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use self::turn::Turn;

/// Names the kubeconfig of the real cluster. Whatever is in that cluster is deleted.
const KUBECONFIG: &str = "QUARTERMASTER_TEST_KUBECONFIG";
/// Names a folder in which each test notes where it ran.
const RECORD: &str = "QUARTERMASTER_TEST_RECORD";

/// Much longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster for one test; cheap to open.
pub struct TestCluster {
    client: Client,
    // The cluster goes before its directory.
    embedded: Option<embedded::Cluster>,
    _directory: Option<tempfile::TempDir>,
    _turn: Option<Turn>,
}

impl TestCluster {
    /// Whether the tests of this run are on a real cluster.
    pub fn is_real() -> bool {
        std::env::var_os(KUBECONFIG).is_some()
    }

    /// The cluster of this test, as new.
    pub async fn open() -> Self {
        let Some(file) = std::env::var_os(KUBECONFIG) else { return Self::embedded().await };
        let test = test_name();
        note(&test, "both");
        let turn = Turn::take(&test);
        let client = real(file.into()).await;
        tidy::tidy(&client).await;
        Self { client, embedded: None, _directory: None, _turn: Some(turn) }
    }

    /// An embedded cluster for a test that no other could pass, and why. None where the tests run
    /// on a real one.
    pub async fn embedded_only(reason: &str) -> Option<Self> {
        if Self::is_real() {
            note(&test_name(), reason);
            return None;
        }
        Some(Self::embedded().await)
    }

    async fn embedded() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = embedded::Options::new(directory.path().join("cluster"));
        let cluster = embedded::Cluster::open(options).await.expect("an embedded cluster");
        let client = cluster.client();
        Self { client, embedded: Some(cluster), _directory: Some(directory), _turn: None }
    }

    /// A client with an administrator's rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Makes a namespace, and waits until pods can be made in it: elsewhere that takes a moment.
    pub async fn make_namespace(&self, name: &str) -> Namespace {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
        let namespace = Namespace { metadata, ..Default::default() };
        let namespaces = Api::all(self.client());
        let made = namespaces.create(&PostParams::default(), &namespace).await;
        let accounts = Api::<ServiceAccount>::namespaced(self.client(), name);
        let end = Instant::now() + PATIENCE;
        while Self::is_real() && accounts.get_opt("default").await.expect("an answer").is_none() {
            assert!(Instant::now() < end, "{name} gets no service account");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        made.expect("a namespace")
    }

    /// What only the embedded cluster has; for tests that are [`TestCluster::embedded_only`].
    pub fn as_embedded(&self) -> &embedded::Cluster {
        self.embedded.as_ref().expect("this test has to be `embedded_only`")
    }
}

/// The test that this thread runs. With one thread for all tests nobody could tell.
fn test_name() -> String {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| *name != "main");
    name.unwrap_or_else(|| panic!("run the tests with two threads at least")).to_owned()
}

fn note(test: &str, what: &str) {
    let Some(folder) = std::env::var_os(RECORD) else { return };
    let program = std::env::current_exe().expect("the path of this program");
    let program = program.file_stem().expect("a name").to_string_lossy().into_owned();
    // Cargo adds a hash to the name of the target.
    let target = program.rsplit_once('-').map_or(program.as_str(), |(target, _)| target);
    let file = PathBuf::from(folder).join(format!("{target}::{test}").replace("::", "."));
    std::fs::write(file, what).expect("a note");
}

async fn real(file: PathBuf) -> Client {
    // Only a cluster that `cargo xtask cluster run` made is there to be emptied.
    let folder = std::env::var_os("QUARTERMASTER_TESTENV").map(PathBuf::from);
    let inside = folder.is_some_and(|folder| file.starts_with(folder));
    assert!(inside, "{} is not of `cargo xtask cluster run`", file.display());
    let kubeconfig = kube::config::Kubeconfig::read_from(file).expect("a kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.expect("a usable kubeconfig");
    // As on the embedded cluster: what fails is seen.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}
