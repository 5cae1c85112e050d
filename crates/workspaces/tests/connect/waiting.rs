//! What people and programs read while there is nobody to talk to.

use std::net::SocketAddr;

use axum::{Router, body::Body};
use http::{Method, StatusCode};
use rstest::rstest;
use workspaces::connect::Outlook;

use crate::kit::{self, Answer, PATH, Setup, closed, open, send};

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

async fn browse(setup: &Setup) -> Answer {
    let bearer = setup.bearer();
    let headers = [("authorization", bearer.as_str()), ("accept", "text/html,*/*")];
    send(setup.apps, Method::GET, PATH, &headers, Body::empty()).await
}

#[rstest]
#[case::pending("Pending", "Workspace is pending", Outlook::Coming, "is on its way", Some("1"))]
#[case::paused("Paused", "Workspace is paused", Outlook::Paused, "is paused", Some("5"))]
#[case::broken("Error", "no table knows <image>", Outlook::Broken, "does not run", Some("5"))]
#[tokio::test]
async fn a_workspace_that_is_not_there_says_why(
    #[case] state: &str,
    #[case] message: &str,
    #[case] outlook: Outlook,
    #[case] title: &str,
    #[case] refresh: Option<&str>,
) {
    let setup = Setup::new(nobody().await).await;
    setup.put(closed(state, message, outlook));
    let page = browse(&setup).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.headers.get("refresh").map(|value| value.to_str().unwrap()), refresh);
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let text = page.text();
    assert!(text.contains(title), "{text}");
    assert!(text.contains(&format!("<p class=\"badge\">{state}</p>")), "{text}");
    assert!(text.contains(&message.replace('<', "&lt;").replace('>', "&gt;")), "{text}");
    let home = format!("href=\"http://127.0.0.1:{}/\"", setup.api.port());
    assert!(text.contains(&home), "{text}");

    let program = setup.get(PATH).await;
    assert_eq!(program.status, StatusCode::BAD_GATEWAY);
    assert_eq!(program.header("content-type"), "application/json");
    let error: serde_json::Value = serde_json::from_slice(&program.body).unwrap();
    assert_eq!(error["error"]["code"], "502");
    let text = error["error"]["message"].as_str().unwrap();
    assert!(text.starts_with("the workspace ns/name is not running"), "{text}");
}

#[tokio::test]
async fn a_program_that_does_not_listen_yet_is_waited_for() {
    let setup = Setup::new(nobody().await).await;
    let page = browse(&setup).await;
    assert_eq!(page.status, StatusCode::BAD_GATEWAY);
    assert_eq!(page.header("refresh"), "1");
    assert_eq!(setup.get(PATH).await.status, StatusCode::BAD_GATEWAY);

    let program = kit::program(Router::new().fallback(|| async { "here" })).await;
    setup.put(open(program, false));
    assert_eq!(browse(&setup).await.text(), "here");
}

#[tokio::test]
async fn a_program_that_hangs_up_is_a_502() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { while socket.accept().await.is_ok() {} });
    let setup = Setup::new(address).await;
    let answer = setup.get(PATH).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().contains("ns/name"), "{}", answer.text());
    let page = browse(&setup).await;
    assert_eq!(page.status, StatusCode::BAD_GATEWAY);
    assert!(page.text().contains("did not answer"), "{}", page.text());
}
