//! A newcomer's way in a real browser: from what `up` prints to an open workspace, by clicking;
//! and back to one that nobody used.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

use std::time::Duration;

use quartermaster_e2e::{
    LONG, Program, Site, Up, binary,
    browser::{Browser, chromium},
    skip,
};
use serde_json::json;

/// What it printed for its user to open.
fn start_url(up: &Up) -> String {
    let printed = up.printed();
    let url = printed.split_whitespace().find(|word| word.contains("?ticket="));
    url.expect("a start URL").to_owned()
}

#[tokio::test]
async fn from_the_printed_address_to_an_open_workspace() {
    let Some(chromium) = chromium() else {
        return skip("from_the_printed_address_to_an_open_workspace", "Chromium is missing");
    };
    let up = Program::new(binary()).start().await;
    let start = start_url(&up);
    let mut browser = Browser::start(&chromium, 1100, 800).await;

    browser.go(&start).await;
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
    browser.go(&start).await;
    let used = "document.body.innerText.includes('used before')";
    browser.until(LONG, "the ticket is used up", used).await;
    browser.close().await;
}

/// A kind of files whose script says that they were last used 115 minutes ago; unused for two hours
/// they are paused.
fn idle_kind() -> String {
    let script = r#"#!/bin/sh
used=$(date -u -d "@$(($(date +%s) - 6900))" +%Y-%m-%dT%H:%M:%SZ)
echo "{\"last_activity\": \"$used\"}" > "$OUTPUT_JSON_PATH"
"#;
    format!(
        "{}  activityRules:\n  - {{config: {{secondsSinceActive: 7200}}, effect: \
         {{pauseWorkspace: true}}}}\n",
        Site::Own.files_kind("idle-files").replace(
            "    probes:\n",
            &format!(
                "    activityProbe: {{podExec: {{script: {}}}}}\n    probes:\n",
                json!(script)
            ),
        )
    )
}

#[tokio::test]
async fn an_idle_workspace_is_kept_by_a_click() {
    let Some(chromium) = chromium() else {
        return skip("an_idle_workspace_is_kept_by_a_click", "Chromium is missing");
    };
    let up = Program::new(binary()).start().await;
    up.create_kind(&idle_kind()).await.expect(201);
    up.create_workspace("notes", "idle-files").await;
    let mut browser = Browser::start(&chromium, 1100, 600).await;
    browser.go(&start_url(&up)).await;

    let warned = "document.querySelector('li.Running .soon:not([hidden]) span')?.textContent";
    let words = browser.until(LONG, "a warning", warned).await;
    let words = words.as_str().unwrap();
    assert!(words.starts_with("Nobody uses it: pauses in "), "{words}");
    let about = browser.run("document.querySelector('li .what p').textContent").await;
    assert_eq!(about, "idle-files · last used 2 hours ago");
    // Nothing sticks out of a telephone's screen.
    browser.resize(360, 740).await;
    let fits = "document.documentElement.scrollWidth <= innerWidth && \
                [...document.querySelectorAll('.soon, .keep')].every(node => \
                node.getBoundingClientRect().right <= innerWidth)";
    browser.until(LONG, "all is on the screen", fits).await;

    browser.click("li .keep").await;
    let kept = "document.querySelector('#notice').textContent";
    let words = browser.until(LONG, "an answer", kept).await;
    assert_eq!(words, "notes is kept. Unused, it pauses in 2 hours.");
    let withdrawn = "document.querySelector('li.Running .soon').hidden";
    browser.until(LONG, "the warning is withdrawn", withdrawn).await;
    let path = "/workspaces/default/notes/podtemplate/details";
    let culling = up.get(path).await.expect(200).json()["data"]["culling"].clone();
    assert!(culling["secondsUntilPause"].as_i64().unwrap() > 6000, "{culling}");
    browser.close().await;
}

#[tokio::test]
async fn webhooks_are_watched_and_delivered_again() {
    let Some(chromium) = chromium() else {
        return skip("webhooks_are_watched_and_delivered_again", "Chromium is missing");
    };
    let up = Program::new(binary()).start().await;
    let mut browser = Browser::start(&chromium, 1100, 800).await;
    browser.go(&start_url(&up)).await;
    browser.until(LONG, "the page", "document.querySelector('#name')?.value").await;
    // Who has none is not bothered.
    assert_eq!(browser.run("document.querySelector('#webhooks').hidden").await, true);
    let spec = json!({"source": "GitHub", "targets": [{"type": "log"}]});
    up.hook("code", "correct-horse-battery-staple-01", spec).await;
    browser.run("location.reload()").await;
    browser.until(LONG, "a link", "document.querySelector('#webhooks')?.hidden === false").await;
    browser.click("#webhooks").await;
    browser.until(LONG, "the hook", "document.querySelector('#hooks h3')?.innerText").await;
    assert_eq!(browser.run("document.querySelector('#hooks h3').innerText").await, "default/code");

    browser.click("#hooks .actions button:nth-child(2)").await;
    let answer = "document.querySelector('#notice').innerText";
    let answer = browser.until(LONG, "an answer", answer).await;
    assert!(answer.as_str().unwrap().starts_with("A sample was answered 202"), "{answer}");
    let first = "document.querySelector('#came li')";
    let delivered = format!("{first}?.querySelector('.word').innerText === 'Delivered'");
    browser.until(LONG, "it is delivered", &delivered).await;

    browser.click("#came .actions button").await;
    let told = "document.querySelector('#told .dim')?.innerText.includes('tried once')";
    browser.until(LONG, "who was told", told).await;
    browser.click("#again").await;
    let again = "document.querySelector('#notice').innerText === 'It is delivered again.'";
    browser.until(LONG, "an answer", again).await;
    // Not by its place: the row above is higher once its times are longer.
    browser.run("document.querySelector('#came .actions button').click()").await;
    let twice = "document.querySelector('#told .dim')?.innerText.includes('tried 2 times')";
    browser.until(LONG, "it was told again", twice).await;
    browser.click("#one-dialog header button").await;

    // What is turned down shows by itself.
    let path = "fetch('api/v1/hooks/endpoints?paths=full').then(a => a.json())\
                .then(a => a.items[0].urls[0])";
    let url = browser.run(path).await;
    let forged = up.http.post(url.as_str().unwrap()).body("{}").send().await.unwrap();
    assert_eq!(forged.status(), 401);
    let rejected = format!("{first}?.querySelector('.word').innerText === 'Rejected'");
    browser.until(LONG, "the forged one", &rejected).await;
    browser
        .run("{ const s = document.querySelector('#state'); s.value = 'delivered'; s.onchange(); }")
        .await;
    browser.until(LONG, "only what was delivered", &delivered).await;
    assert_eq!(browser.run("document.querySelectorAll('#came li').length").await, 1);

    browser.click("#hooks .actions button:nth-child(3)").await;
    let paused = "document.querySelector('#hooks .word').innerText === 'Paused'";
    browser.until(LONG, "it is paused", paused).await;
    // Nothing sticks out of a telephone's screen.
    browser.resize(360, 740).await;
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    browser.until(LONG, "all is on the screen", fits).await;
    browser.close().await;
}
