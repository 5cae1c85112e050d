//! The main job on the real JupyterLab, on whatever cluster this run is about: run it, work in it,
//! pause it, lose the server, find everything again. [`idle`] is about what nobody uses.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod idle;
mod lab;

use quartermaster_e2e::{LONG, Program, Site, binary, skip};
use reqwest::Method;
use serde_json::json;

use lab::{Jupyter, execute, new_kernel, opened};

#[tokio::test]
async fn jupyterlab_runs_pauses_and_survives_the_server() {
    let Some(jupyter) = Jupyter::installed() else {
        return skip("jupyterlab_runs_pauses_and_survives_the_server", "JupyterLab is missing");
    };
    let site = Site::of_this_run();
    let up = site.start(Program::new(binary()).env("PATH", jupyter.path())).await;
    let dir = up.program().dir().to_owned();
    up.create_kind(&site.jupyter_kind("study-lab", &jupyter.programs)).await.expect(201);

    up.create_workspace("study", "study-lab").await;
    up.wait_for_state("study", "Running", LONG).await;
    let lab = opened(&up, "study").await;
    let page = lab.send(Method::GET, "lab", Vec::new()).await.expect(200);
    assert!(page.text.contains("JupyterLab"), "{}", page.text);

    let kernel = new_kernel(&lab).await;
    assert_eq!(execute(&lab, &kernel, "1+1").await, "2");
    execute(&lab, &kernel, "x = 41\nx").await;
    let note = json!({"type": "file", "format": "text", "content": "kept"}).to_string();
    lab.send(Method::PUT, "api/contents/note.txt", note.into_bytes()).await.expect(201);

    // The server is killed: the process in the workspace does not notice.
    let up = up.crash().await;
    up.wait_for_state("study", "Running", LONG).await;
    let lab = opened(&up, "study").await;
    assert_eq!(execute(&lab, &kernel, "x + 1").await, "42", "the kernel went on");

    up.pause("study", true).await.expect(200);
    up.wait_for_state("study", "Paused", LONG).await;
    site.nothing_runs(&dir).await;
    let up = up.crash().await;
    up.pause("study", false).await.expect(200);
    up.wait_for_state("study", "Running", LONG).await;
    let lab = opened(&up, "study").await;
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
