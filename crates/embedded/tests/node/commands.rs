//! Commands in the containers of pods, over the API.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Place, content, directory, eventually, is_running};

/// A place with one pod that sleeps.
async fn place() -> (Place, Pod) {
    let place = Place::new().await;
    let commands = embedded::node::Commands::new(&place.files());
    place.cluster.set_exec_source(Arc::new(commands));
    place.shell("one", "Always", "exec sleep 600").await;
    let pod = place.until_running("one").await;
    (place, pod)
}

/// Runs a command; what it wrote to output and error, and how it ended.
async fn run(place: &Place, command: &[&str], input: &[u8]) -> (Vec<u8>, Vec<u8>, Status) {
    let params = AttachParams::default().stdin(true).stderr(true);
    let mut process =
        place.api::<Pod>().exec("one", command.iter().copied(), &params).await.unwrap();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (mut stdin, status) = (process.stdin().unwrap(), process.take_status().unwrap());
    let (mut stdout, mut stderr) = (process.stdout().unwrap(), process.stderr().unwrap());
    let write = async {
        // A command need not read it.
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
        drop(stdin);
    };
    let (_, out, err) =
        tokio::join!(write, stdout.read_to_end(&mut output), stderr.read_to_end(&mut errors));
    out.unwrap();
    err.unwrap();
    (output, errors, status.await.unwrap())
}

fn exit_code(status: &Status) -> Option<&str> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?.message.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_streams_and_its_end() {
    let (place, pod) = place().await;
    let script = "cat; echo $HOME; echo wrong >&2; exit 3";
    let (output, errors, status) = run(&place, &["sh", "-c", script], b"given\n").await;
    let home = directory(&place, &pod).join("home");
    assert_eq!(String::from_utf8(output).unwrap(), format!("given\n{}\n", home.display()));
    assert_eq!(errors, b"wrong\n");
    assert_eq!(status.status.as_deref(), Some("Failure"));
    assert_eq!(
        (status.reason.as_deref(), exit_code(&status)),
        (Some("NonZeroExitCode"), Some("3"))
    );
    let (_, _, status) = run(&place, &["true"], b"").await;
    assert_eq!(status.status.as_deref(), Some("Success"));
    let (_, _, status) = run(&place, &["/no/such/program"], b"").await;
    assert_eq!(status.reason.as_deref(), Some("InternalError"));
    assert!(status.message.unwrap().contains("/no/such/program"));
}

/// What is said of it must not be lost to a client that is still sending.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_told_whatever_is_sent_to_it() {
    let (place, _pod) = place().await;
    // As much as the client takes without a reader.
    let input = vec![b'x'; 1000];
    for _ in 0..200 {
        let (_, _, status) = run(&place, &["/no/such/program"], &input).await;
        assert_eq!(status.reason.as_deref(), Some("InternalError"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_streams_pass_whole() {
    let (place, _pod) = place().await;
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (output, _, status) = run(&place, &["cat"], &input).await;
    assert!(output == input, "{} of {} bytes", output.len(), input.len());
    assert_eq!(status.status.as_deref(), Some("Success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_connection() {
    let (place, pod) = place().await;
    // Out of its group, so that only the mark finds it.
    let script = "setsid sh -c 'echo $$ > $HOME/pid; exec sleep 600' & wait";
    let params = AttachParams::default();
    let process = place.api::<Pod>().exec("one", ["sh", "-c", script], &params).await.unwrap();
    let pid = content(&directory(&place, &pod).join("home/pid")).await;
    assert!(is_running(&pid));
    process.abort();
    drop(process);
    eventually("it is killed", async || !is_running(&pid)).await;
    let (output, ..) = run(&place, &["echo", "still there"], b"").await;
    assert_eq!(output, b"still there\n", "the program goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused() {
    let (place, _pod) = place().await;
    let refused = async |name: &str, container: &str, tty: bool| {
        let mut params = AttachParams::default().container(container);
        if tty {
            params = params.stderr(false).tty(true);
        }
        match place.api::<Pod>().exec(name, ["true"], &params).await {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it ran"),
        }
    };
    assert!(refused("two", "main", false).await.contains("404"));
    assert!(refused("one", "other", false).await.contains("400"));
    assert!(refused("one", "main", true).await.contains("501"));
}
