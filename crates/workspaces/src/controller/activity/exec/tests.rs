//! Scripts, run by a real shell behind the API of the embedded cluster.

use std::{path::Path, process::Stdio, time::Duration};

use embedded::api::exec::{ExecSource, Execution};
use futures::{StreamExt, future::BoxFuture, stream};
use kube::{Client, Config, ResourceExt, api::PostParams};
use rstest::rstest;
use serde_json::{Value, json};
use testcluster::TestCluster;
use tokio::{net::TcpListener, process::Command};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;
use crate::controller::activity::Options;

/// Runs commands on this machine.
struct Shell;

impl ExecSource for Shell {
    fn start<'a>(
        &'a self,
        _: &'a Value,
        container: &'a str,
        command: Vec<String>,
    ) -> BoxFuture<'a, Result<Execution, String>> {
        assert_eq!(container, "main");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let execution = Execution {
            input: Box::new(child.stdin.take().unwrap()),
            output: Box::new(child.stdout.take().unwrap()),
            errors: Box::new(child.stderr.take().unwrap()),
            ended: Box::pin(async move { Ok(child.wait().await?.code().unwrap_or(137)) }),
        };
        Box::pin(async { Ok(execution) })
    }
}

/// What the script of a kind comes to; none where the tests run on another cluster.
async fn run(script: &str, seconds: i32) -> Option<Result<Seen, Failed>> {
    let cluster = TestCluster::embedded_only("the commands of pods are run by the test").await?;
    cluster.as_embedded().set_exec_source(std::sync::Arc::new(Shell));
    let pods = Api::<Pod>::namespaced(cluster.client(), "default");
    let pod = json!({
        "metadata": {"name": "p-0"}, "spec": {"containers": [{"name": "main", "image": "i"}]},
    });
    let pod = serde_json::from_value(pod).unwrap();
    let pod = pods.create(&PostParams::default(), &pod).await.unwrap();
    Some(run_in(cluster.client(), pod.uid().unwrap(), script, seconds).await)
}

async fn run_in(
    client: Client,
    pod_uid: String,
    script: &str,
    seconds: i32,
) -> Result<Seen, Failed> {
    let target = Target {
        namespace: "default".into(),
        workspace: "lab".into(),
        uid: String::new(),
        pod: "p-0".into(),
        pod_uid,
        address: None,
        ports: Vec::new(),
        removed_prefixes: Vec::new(),
    };
    let exec = json!({"script": script, "timeoutSeconds": seconds});
    let work = Work {
        client,
        now: || 0,
        shows_secret: false,
        options: Options::default(),
        probe: serde_json::from_value(json!({"podExec": exec})).unwrap(),
    };
    probe(&work, &target, work.probe.pod_exec.as_ref().unwrap()).await
}

/// The client's streams have no end then.
#[tokio::test]
async fn a_connection_that_breaks_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let broken = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
        });
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.unwrap().as_bytes())
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        // No frame begins like this.
        stream.write_all(&[0xff; 16]).await.unwrap();
        stream
    };
    let client = Client::try_from(Config::new(api.parse().unwrap())).unwrap();
    let found = run_in(client, "u".to_owned(), "#!/bin/true\n", 3600);
    let both = async { tokio::join!(broken, found).1 };
    let found = timeout(Duration::from_secs(60), both).await.expect("it is waited for");
    assert!(matches!(found, Err(Failed::Because(_))), "{found:?}");
}

#[rstest]
#[case::idle(
    "echo noise; echo '{\"has_activity\": false}' > $OUTPUT_JSON_PATH",
    Ok(Seen::NothingNew)
)]
#[case::silent("echo noise >&2", Ok(Seen::Now))]
#[case::time(
    "echo '{\"last_activity\": \"1970-01-01T00:00:07Z\"}' > $OUTPUT_JSON_PATH",
    Ok(Seen::At(7000))
)]
#[case::failure("exit 3", Err("exit code 3"))]
#[case::garbage("echo x > $OUTPUT_JSON_PATH", Err("bad output"))]
#[case::long("head -c 2000000 /dev/zero > $OUTPUT_JSON_PATH", Err("longer than 1 MiB"))]
#[tokio::test(flavor = "multi_thread")]
async fn scripts_tell(#[case] script: &str, #[case] expected: Result<Seen, &str>) {
    // Its input is the script, and is not for the script to read.
    let Some(found) = run(&format!("#!/bin/sh\ncat\n{script}\n"), 30).await else { return };
    match (found, expected) {
        (Err(Failed::Because(why)), Err(part)) => assert!(why.contains(part), "{why}"),
        (found, expected) => {
            let found = found.map_err(|failed| format!("{failed:?}"));
            assert_eq!(found, expected.map_err(str::to_owned));
        }
    }
}

/// What ends a script in time must not be waited for, however soon the script is done.
#[tokio::test(flavor = "multi_thread")]
async fn quick_scripts_are_not_waited_for() {
    const SCRIPT: &str = "#!/bin/true\n";
    let directory = tempfile::tempdir().unwrap();
    let once = async |number: usize| {
        let place = directory.path().join(format!("{number}.json"));
        let (length, guard) = (SCRIPT.len().to_string(), "3600");
        let mut shell = Command::new("/bin/sh")
            .args(["-c", RUNNER, "activity-probe", place.to_str().unwrap(), &length, guard])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        input.write_all(SCRIPT.as_bytes()).await.unwrap();
        assert!(shell.wait().await.unwrap().success());
    };
    let all = stream::iter(0..300).map(once).buffer_unordered(12).collect::<Vec<_>>();
    assert!(timeout(Duration::from_secs(90), all).await.is_ok(), "some are waited for");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files are left");
}

/// Some clusters end the input before it came.
#[rstest]
#[case::nothing(0)]
#[case::a_part(12)]
#[tokio::test]
async fn a_script_that_does_not_come_whole_is_not_run(#[case] come: usize) {
    let script = "#!/bin/sh\nexit 0\n";
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("x.json");
    let length = script.len().to_string();
    let mut shell = Command::new("/bin/sh")
        .args(["-c", RUNNER, "activity-probe", place.to_str().unwrap(), &length, "60"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    input.write_all(&script.as_bytes()[..come]).await.unwrap();
    drop(input);
    assert_eq!(shell.wait().await.unwrap().code(), Some(126));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_none_is_a_failure() {
    let Some(found) = run("#!/no/such/interpreter\n", 30).await else { return };
    assert!(matches!(found, Err(Failed::Because(_))), "{found:?}");
}

async fn until(what: &str, fits: impl Fn() -> bool) {
    let wait = async {
        while !fits() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(Duration::from_secs(60), wait).await.is_ok(), "never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_never_ends_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("note");
    let shown = note.display();
    let script = format!(
        "#!/bin/sh\necho $$ $OUTPUT_JSON_PATH > {shown}.part; mv {shown}.part {shown}\nsleep 600\n"
    );
    let Some(found) = run(&script, 1).await else { return };
    assert_eq!(found, Err(Failed::Timeout(Duration::from_secs(1))));
    // The time-out may have come before the script.
    until("it began", || note.exists()).await;
    let told = std::fs::read_to_string(&note).unwrap();
    let (pid, place) = told.trim().split_once(' ').unwrap();
    let process = format!("/proc/{pid}");
    until("it ended", || !Path::new(&process).exists()).await;
    let files = [place, place.strip_suffix(".json").unwrap()];
    until("nothing is left", || !files.iter().any(|file| Path::new(file).exists())).await;
}
