//! The main job, on whatever cluster this run is about: a kind and a workspace through the API, its
//! files through the connect proxy, `kill -9` of the program in between.

use quartermaster_e2e::{LONG, Program, Site, Up, Visit, binary, within};
use reqwest::Method;

const KIND: &str = "story-files";
const NAME: &str = "story-box";

#[tokio::test]
async fn a_workspace_runs_pauses_keeps_its_files_and_goes() {
    let site = Site::of_this_run();
    let up = site.start(Program::new(binary())).await;
    let dir = up.program().dir().to_owned();
    let kind = site.files_kind(KIND);
    up.create_kind(&kind).await.expect(201);
    up.create_kind(&kind).await.expect(409);
    up.create_workspace(NAME, KIND).await;
    let item = up.wait_for_state(NAME, "Running", LONG).await;
    let path = format!("/workspace/connect/default/{NAME}/files/");
    assert_eq!(item["services"][0]["httpService"]["httpPath"], path.as_str());

    let visit = opened(&up).await;
    visit.send(Method::PUT, "api/files/hello.txt", b"hello".to_vec()).await.expect(201);
    let logs = up.get(&format!("/workspaces/default/{NAME}/podtemplate/logs/batch")).await;
    assert!(logs.expect(200).text.contains("serving"), "its own words");
    let details = up.get(&format!("/workspaces/default/{NAME}/podtemplate/details")).await;
    assert!(!details.expect(200).json()["data"]["pod"].is_null());

    // The program is killed: what runs in the workspace does not notice.
    let before = site.running(&dir).await;
    assert!(!before.is_empty());
    let up = up.crash().await;
    up.wait_for_state(NAME, "Running", LONG).await;
    assert_eq!(site.running(&dir).await, before);
    assert_eq!(read(&opened(&up).await).await, "hello");

    up.pause(NAME, true).await.expect(200);
    up.pause(NAME, true).await.expect(409);
    up.wait_for_state(NAME, "Paused", LONG).await;
    site.nothing_runs(&dir).await;
    let up = up.crash().await;
    up.pause(NAME, false).await.expect(200);
    up.wait_for_state(NAME, "Running", LONG).await;
    assert_eq!(read(&opened(&up).await).await, "hello", "kept by its volume");

    up.delete(&format!("/workspacekinds/{KIND}")).await.expect(409);
    up.delete(&format!("/workspaces/default/{NAME}")).await.expect(204);
    site.nothing_runs(&dir).await;
    assert!(up.workspace(NAME).await.is_none());
    up.delete_home(&format!("{NAME}-home")).await;
    within(LONG, "the kind goes when nobody uses it", async || {
        let status = up.delete(&format!("/workspacekinds/{KIND}")).await.status;
        (status == 404).then_some(())
    })
    .await;
    let (status, _) = up.stop().await;
    assert!(status.success(), "{status}");
}

/// Opens the workspace, once its program answers.
async fn opened(up: &Up) -> Visit {
    within(LONG, "the file browser answers", async || {
        let visit = up.open(NAME).await;
        let page = visit.send(Method::GET, "", Vec::new()).await;
        page.text.contains("<title>Files</title>").then_some(visit)
    })
    .await
}

async fn read(visit: &Visit) -> String {
    visit.send(Method::GET, "api/files/hello.txt", Vec::new()).await.expect(200).text
}
