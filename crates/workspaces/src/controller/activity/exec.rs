//! Runs the script of a kind in the container of a workspace and reads what it wrote.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{Api, api::AttachParams};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::probes::{Target, Work};
use crate::{
    decide::activity::{Failed, Seen, exec_output},
    model::PodExecProbe,
};

/// The longest output that is read.
const LARGEST: u64 = 1 << 20;

/// What runs in the container: takes the script from its input, runs it with a place for its output,
/// and gives that. It does not need its input to end (older API servers cannot say so), and it
/// leaves neither files nor processes behind when the script takes too long: nobody may be there any
/// more to end it then, nor to read what the shell says of it.
///
/// What ends the script in time sleeps in seconds and traps no signal: one that is sent to a child of
/// a shell with a trap is lost if the child still has the trap of its parent, and then the end of a
/// quick script would be told when its time is over. So a `sleep` may stay, for a second.
///
/// A script that did not come whole is not run: nothing at all would end well and count as use.
///
/// Its arguments: the place of the output, the length of the script, the time in seconds.
const RUNNER: &str = r#"
exec 2>/dev/null
umask 077
out=$1 script=${1%.json}
dd of="$script" bs=1 count="$2" 2>/dev/null
if [ "$(wc -c < "$script")" -ne "$2" ] || ! chmod 700 "$script"; then rm -f "$script"; exit 126; fi
export OUTPUT_JSON_PATH="$out"
if command -v setsid >/dev/null 2>&1; then
  setsid "$script" </dev/null >/dev/null 2>&1 &
else
  "$script" </dev/null >/dev/null 2>&1 &
fi
pid=$!
(
  left=$3
  while [ "$left" -gt 0 ]; do sleep 1; left=$((left - 1)); done
  kill -9 -$pid 2>/dev/null || kill -9 $pid 2>/dev/null
) </dev/null >/dev/null 2>&1 &
guard=$!
wait $pid
code=$?
kill $guard 2>/dev/null
wait $guard 2>/dev/null
rm -f "$script"
if [ $code -eq 0 ] && [ -e "$out" ]; then cat "$out"; fi
rm -f "$out"
exit $code
"#;

/// What the script says.
pub(super) async fn probe(
    work: &Work,
    target: &Target,
    exec: &PodExecProbe,
) -> Result<Seen, Failed> {
    let limit = Duration::from_secs(u64::try_from(exec.timeout_seconds).unwrap_or(1).max(1));
    match timeout(limit, run(work, target, &exec.script, limit)).await {
        Ok(output) => output.and_then(|output| exec_output(&output)).map_err(Failed::Because),
        Err(_) => Err(Failed::Timeout(limit)),
    }
}

/// Runs the script in the container; what it wrote.
async fn run(
    work: &Work,
    target: &Target,
    script: &str,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    if target.pod_uid.is_empty() {
        return Err("there is no pod".to_owned());
    }
    let (length, guard) = (script.len().to_string(), (limit.as_secs() + 1).to_string());
    let place = place()?;
    let command = ["/bin/sh", "-c", RUNNER, "activity-probe", &place, &length, &guard];
    let params = AttachParams::default().container("main").stdin(true).stdout(true).stderr(false);
    let pods = Api::<Pod>::namespaced(work.client.clone(), &target.namespace);
    let mut process = pods
        .exec(&target.pod, command, &params)
        .await
        .map_err(|error| format!("cannot run a command in the pod: {error}"))?;
    let (Some(mut input), Some(output)) = (process.stdin(), process.stdout()) else {
        return Err("the command has no input or output".to_owned());
    };
    let status = process.take_status().ok_or("the end of the command is told twice")?;
    let broken = |error: std::io::Error| format!("the connection to the script broke: {error}");
    input.write_all(script.as_bytes()).await.map_err(broken)?;
    input.flush().await.map_err(broken)?;
    let mut written = Vec::new();
    let mut output = output.take(LARGEST + 1);
    let mut reading = std::pin::pin!(output.read_to_end(&mut written));
    let mut status = std::pin::pin!(status);
    // When the connection breaks, the output has no end, but there is no status any more.
    let told = tokio::select! {
        read = &mut reading => read.map(|_| None),
        told = &mut status => match told {
            Some(told) => reading.await.map(|_| Some(told)),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        },
    };
    let told = told.map_err(broken)?;
    if written.len() as u64 > LARGEST {
        process.abort();
        return Err("the output is longer than 1 MiB".to_owned());
    }
    let told = match told {
        Some(told) => Some(told),
        None => status.await,
    };
    succeeded(told).map(|()| written)
}

/// A file of its own, that no script finds by guessing.
fn place() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(format!("/tmp/.ws-activity-probe-{:032x}.json", u128::from_be_bytes(bytes)))
}

fn succeeded(status: Option<Status>) -> Result<(), String> {
    let status = status.ok_or("the end of the script was not told")?;
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match codes.next().and_then(|cause| cause.message.as_deref()) {
        Some(code) => Err(format!("the script ended with exit code {code}")),
        None => {
            let message = status.message.unwrap_or_default();
            Err(format!("the script could not be run: {}", cut(&message)))
        }
    }
}

/// What others say can be of any length.
fn cut(text: &str) -> &str {
    text.char_indices().nth(256).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests;
