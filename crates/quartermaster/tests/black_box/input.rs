//! Bad input over HTTP: each gets a clear error in the contract's envelope, and nothing breaks.

use quartermaster_e2e::{Answer, Up};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::program;

async fn send(up: &Up, content_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let url = format!("{}/api/v1/workspaces/default", up.api_base());
    let mut request = up.http.request(Method::POST, url).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    Answer::of(request.send().await.unwrap()).await
}

fn workspace(name: &str, kind: &str) -> Value {
    json!({"data": {
        "name": name, "kind": kind, "paused": true,
        "podTemplate": {"volumes": {}, "options": {"imageConfig": "files", "podConfig": "small"}},
    }})
}

/// What it is called, media type, body, expected status, part of the expected message.
type Case<'a> = (&'a str, Option<&'a str>, Vec<u8>, u16, &'a str);

#[tokio::test]
async fn bad_requests_get_clear_answers() {
    let up = program().start().await;
    let json_type = Some("application/json");
    let unknown = json!({"data": {"name": "a", "colour": "red"}}).to_string();
    let wrong = json!({"data": {"name": 7}}).to_string();
    let good = workspace("a", "files").to_string();
    let cases: Vec<Case<'_>> = vec![
        ("unknown field", json_type, unknown.into(), 400, "colour"),
        ("wrong type", json_type, wrong.into(), 400, "error decoding request body"),
        ("empty body", json_type, Vec::new(), 400, "request body was empty"),
        ("5 MiB", json_type, vec![b' '; 5 << 20], 413, "request body too large"),
        ("no type", None, good.clone().into(), 415, "Content-Type header is missing"),
        ("other type", Some("text/plain"), good.clone().into(), 415, "text/plain"),
        ("unknown kind", json_type, workspace("a", "none").to_string().into(), 422, "none"),
        (
            "64 characters",
            json_type,
            workspace(&"a".repeat(64), "files").to_string().into(),
            422,
            "data.name",
        ),
        ("a dot", json_type, workspace("a.b", "files").to_string().into(), 422, "data.name"),
    ];
    for (case, content_type, body, status, part) in cases {
        let answer = send(&up, content_type, body).await;
        assert_eq!(answer.status.as_u16(), status, "{case}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"], status.to_string(), "{case}");
        assert!(answer.text.contains(part), "{case}: {answer:?}");
    }
    let list = up.get("/workspaces").await.expect(200).json();
    assert_eq!(list, json!({"data": []}), "nothing of it was stored");

    send(&up, json_type, good.clone()).await.expect(201);
    let again = send(&up, json_type, good).await.expect(409).json();
    assert_eq!(again["error"]["message"], "workspace already exists");
    let nowhere = up.post("/workspaces/nowhere", workspace("a", "files")).await;
    assert!([404, 422].contains(&nowhere.status.as_u16()), "{nowhere:?}");
    assert!(nowhere.json()["error"]["message"].is_string());
}

#[rstest]
#[case("/nope")]
#[case("/api/v1/nope")]
#[case("/workspaces")]
#[tokio::test]
async fn unknown_addresses_say_so(#[case] path: &str) {
    let up = program().start().await;
    let answer = up.http.get(format!("{}{path}", up.api_base())).send().await.unwrap();
    let answer = Answer::of(answer).await.expect(404);
    assert_eq!(answer.json()["error"]["code"], "404");
}
