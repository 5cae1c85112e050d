//! A newcomer's way in a real browser: from what `up` prints to an open workspace, by clicking.

use std::time::Duration;

use quartermaster_e2e::{
    LONG, Program, binary,
    browser::{Browser, chromium},
    skip,
};
use serde_json::json;

#[tokio::test]
async fn from_the_printed_address_to_an_open_workspace() {
    let Some(chromium) = chromium() else {
        return skip("from_the_printed_address_to_an_open_workspace", "Chromium is missing");
    };
    let up = Program::new(binary()).start().await;
    let printed = up.printed();
    let start = printed.split_whitespace().find(|word| word.contains("?ticket=")).unwrap();
    let mut browser = Browser::start(&chromium, 1100, 800).await;

    browser.go(start).await;
    browser.until(LONG, "a name is proposed", "document.querySelector('#name')?.value").await;
    assert_eq!(browser.run("location.search").await, "", "the ticket is gone from the address");
    browser.click("#create").await;
    browser
        .until(LONG, "the workspace runs", "document.querySelector('li.Running') !== null")
        .await;
    browser.follow("li.Running a.open").await;
    let ready = "document.title === 'Files' && document.querySelector('#empty')?.hidden === false";
    browser.until(LONG, "the file browser is open", ready).await;
    let origin = browser.run("location.origin").await;
    assert_eq!(origin, up.endpoints.apps.trim_end_matches('/'), "another origin than the API");

    let store = "fetch('api/files/hello.txt', {method: 'PUT', body: 'hello'}).then(r => r.status)";
    assert_eq!(browser.run(store).await, 201);
    browser.run("location.reload()").await;
    let listed = "document.querySelector('#entries')?.innerText.includes('hello.txt')";
    browser.until(LONG, "the file is listed", listed).await;

    // What runs in a workspace cannot act as the user, even with the user's browser.
    let attack = format!(
        "fetch('{}/api/v1/workspaces/default/files-1/actions/pause', {{method: 'POST', mode: \
         'no-cors', credentials: 'include', body: '{{\"data\":{{\"paused\":true}}}}'}})\
         .then(() => 'sent', () => 'failed')",
        up.api_base()
    );
    browser.run(&attack).await;
    let read = format!(
        "fetch('{}/api/v1/workspaces', {{credentials: 'include'}}).then(() => 'read', () => \
         'refused')",
        up.api_base()
    );
    assert_eq!(browser.run(&read).await, "refused");
    assert_eq!(up.workspace("files-1").await.unwrap()["paused"], json!(false));

    browser.go(&up.endpoints.api).await;
    browser.click("li.Running .pause").await;
    browser.until(LONG, "it is paused", "document.querySelector('li.Paused') !== null").await;
    browser.click("li.Paused .start").await;
    browser.until(LONG, "it runs again", "document.querySelector('li.Running') !== null").await;
    browser.click("li.Running .logs").await;
    let shown = "document.querySelector('#logs').innerText.includes('serving')";
    browser.until(LONG, "the log is shown", shown).await;
    browser.click("#logs-dialog button").await;
    browser.click("li .delete").await;
    browser.click("#delete-files").await;
    browser.click("#delete-dialog .danger").await;
    let first = "!document.querySelector('#maker').hidden && \
                 document.querySelector('#list-section').hidden";
    browser.until(Duration::from_secs(60), "it is deleted", first).await;

    // The address works once.
    browser.go(start).await;
    let used = "document.body.innerText.includes('used before')";
    browser.until(LONG, "the ticket is used up", used).await;
    browser.close().await;
}
