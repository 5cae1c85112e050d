//! The main job with the kind that works on any machine.

use quartermaster_e2e::{LONG, no_pods};
use reqwest::Method;
use serde_json::json;

use crate::program;

#[tokio::test]
async fn a_workspace_runs_pauses_keeps_its_files_and_goes() {
    let up = program().start().await;
    up.create_workspace("box", "files").await;
    let item = up.wait_for_state("box", "Running", LONG).await;
    assert_eq!(
        item["services"][0]["httpService"]["httpPath"],
        "/workspace/connect/default/box/files/"
    );

    let visit = up.open("box").await;
    assert!(visit.url.starts_with(&up.endpoints.apps), "{}", visit.url);
    assert!(!visit.url.contains("ticket"), "{}", visit.url);
    let page = visit.send(Method::GET, "", Vec::new()).await.expect(200);
    assert!(page.text.contains("<title>Files</title>"), "{}", page.text);
    visit.send(Method::PUT, "api/files/hello.txt", b"hello".to_vec()).await.expect(201);
    let logs = up.get("/workspaces/default/box/podtemplate/logs/batch").await.expect(200);
    assert!(logs.text.contains("serving"), "{}", logs.text);

    // The server is killed; the process goes on, and the next server takes it over.
    let before = up.pods();
    let up = up.crash().await;
    up.wait_for_state("box", "Running", LONG).await;
    assert_eq!(up.pods(), before);
    let visit = up.open("box").await;
    assert_eq!(visit.send(Method::GET, "api/files/hello.txt", Vec::new()).await.text, "hello");

    up.pause("box", true).await.expect(200);
    assert_eq!(up.pause("box", true).await.status, 409, "pausing twice");
    up.wait_for_state("box", "Paused", LONG).await;
    no_pods(up.program().dir()).await;
    up.pause("box", false).await.expect(200);
    up.wait_for_state("box", "Running", LONG).await;
    let visit = up.open("box").await;
    assert_eq!(visit.send(Method::GET, "api/files/hello.txt", Vec::new()).await.text, "hello");

    // A clean stop ends the processes; the next start brings them back.
    let (status, program) = up.stop().await;
    assert!(status.success(), "{status}");
    no_pods(program.dir()).await;
    let up = program.start().await;
    up.wait_for_state("box", "Running", LONG).await;
    up.delete("/workspaces/default/box").await.expect(204);
    no_pods(up.program().dir()).await;
    assert!(up.workspace("box").await.is_none());
    let claims = up.get("/persistentvolumeclaims/default").await.expect(200).json();
    assert_eq!(claims["data"][0]["name"], "box-home", "files stay until their claim goes");
    up.delete("/persistentvolumeclaims/default/box-home").await.expect(204);
}

#[tokio::test]
async fn an_image_that_nobody_knows_says_what_to_do() {
    let up = program().start().await;
    let kind = up.get("/workspacekinds/files").await.expect(200).json();
    let mut spec = kind["data"].clone();
    let values = &mut spec["podTemplate"]["options"]["imageConfig"]["values"];
    values[0]["spec"]["image"] = json!("registry.example.org/unknown:1");
    spec.as_object_mut().unwrap().remove("revision");
    let manifest = json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "WorkspaceKind",
        "metadata": {"name": "strange"}, "spec": spec,
    });
    let request = up.http.post(format!("{}/api/v1/workspacekinds", up.api_base()));
    let request = request.header("content-type", "application/yaml").body(manifest.to_string());
    assert_eq!(request.send().await.unwrap().status(), 201);
    up.create_workspace("odd", "strange").await;
    let item = quartermaster_e2e::within(LONG, "a message that helps", async || {
        let item = up.workspace("odd").await?;
        let message = item["stateMessage"].as_str()?.to_owned();
        (message.contains("registry.example.org/unknown:1") && message.contains("images"))
            .then_some(item)
    })
    .await;
    assert!(["Pending", "Error"].contains(&item["state"].as_str().unwrap()), "{item}");
    assert!(up.pods().is_empty());
    up.delete("/workspaces/default/odd").await.expect(204);
}

#[tokio::test]
async fn starting_while_the_process_still_ends_is_a_conflict_or_waits() {
    let up = program().start().await;
    up.create_workspace("box", "files").await;
    up.wait_for_state("box", "Running", LONG).await;
    up.pause("box", true).await.expect(200);
    let answer = up.pause("box", false).await;
    if answer.status != 200 {
        assert_eq!(answer.status, 409, "{answer:?}");
        let message = &answer.json()["error"]["cause"]["conflict_cause"][0]["message"];
        assert!(message.as_str().unwrap().contains("invalid state"), "{answer:?}");
    }
    up.wait_for_state("box", "Paused", LONG).await;
}
