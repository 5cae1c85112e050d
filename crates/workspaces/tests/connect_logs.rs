//! What the log must not say about people on their way into a workspace. Alone in its program,
//! because other tests without a subscriber would switch the call sites off.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Method, StatusCode};

#[expect(dead_code, reason = "the other tests use the rest")]
#[path = "connect/kit.rs"]
mod kit;

use kit::{PATH, Setup, send};

#[tokio::test]
async fn no_ticket_token_cookie_or_secret_is_logged() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);

    let program = kit::program(Router::new().fallback(|| async { "hello" })).await;
    let setup = Setup::new(program).await;
    let bearer = setup.bearer();
    let browser = [("accept", "text/html"), ("authorization", bearer.as_str())];
    let led = send(setup.api, Method::GET, PATH, &browser, Body::empty()).await;
    assert_eq!(led.status, StatusCode::SEE_OTHER);
    let location = led.header("location").to_owned();
    let ticket = location.split_once("quartermaster-ticket=").unwrap().1.to_owned();
    let path = location.strip_prefix(&format!("http://{}", setup.apps)).unwrap();
    let page = [("accept", "text/html")];
    let inside = send(setup.apps, Method::GET, path, &page, Body::empty()).await;
    let cookie = inside.header("set-cookie").split(';').next().unwrap().to_owned();
    let again = send(setup.apps, Method::GET, path, &page, Body::empty()).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    let with_cookie = [("cookie", cookie.as_str()), ("authorization", "Bearer wr0ng")];
    let path = format!("{PATH}?token=in-url");
    let hello = send(setup.apps, Method::GET, &path, &with_cookie, Body::empty()).await;
    assert_eq!(hello.text(), "hello");
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    setup.put(kit::open(nobody, false));
    assert_eq!(setup.get(PATH).await.status, StatusCode::BAD_GATEWAY);

    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("a workspace did not answer"), "{text}");
    let mac = cookie.split_once('=').unwrap().1;
    for secret in [setup.token.expose(), &ticket, mac, "the-workspace-secret", "wr0ng", "in-url"] {
        for line in text.lines() {
            assert!(!line.contains(secret), "{line}");
        }
    }
}
