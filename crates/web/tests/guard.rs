//! The guard of a listener, seen from outside: who is let in, with what, and what the others read.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, body::Body, response::Response, routing::get};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use rstest::rstest;
use tower::ServiceExt as _;
use web::{
    Client, Error, Handler, Head, Identity, Kind,
    local::{Guard, Local, Scope, TICKETS_PATH, Token, routes, start_url},
};

const PORT: u16 = 4000;
const ORIGIN: &str = "http://127.0.0.1:4000";

fn render(error: &Error, head: &Head) -> Response {
    let status = match error.kind() {
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Malformed => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    assert_eq!(head.client, Client::Program, "people get pages");
    Response::builder().status(status).body(Body::from(error.message().to_owned())).unwrap()
}

struct Setup {
    app: Handler,
    local: Local,
    token: Token,
    now: Arc<Mutex<Timestamp>>,
}

fn setup_with(open: bool) -> Setup {
    let token = Token::generate().unwrap();
    let now = Arc::new(Mutex::new(Timestamp::from_second(1_000_000).unwrap()));
    let clock = Arc::clone(&now);
    let local = if open { Local::without_auth(token.clone()) } else { Local::new(token.clone()) };
    let local = local.with_clock(Arc::new(move || *clock.lock()));
    let whoami = |identity: Option<Extension<Identity>>| async {
        identity.map_or_else(|| "nobody".to_owned(), |Extension(identity)| identity.user)
    };
    let router = Router::new()
        .route("/", get(whoami))
        .route("/api", get(whoami).post(whoami))
        .route("/open-to-all", get(|| async { [("access-control-allow-origin", "*")] }))
        .route("/health", get(whoami))
        .merge(routes(local.clone(), ORIGIN.to_owned(), render));
    let app = Guard::new(local.clone(), PORT, render)
        .pages(|_, path| path == "/")
        .public(|_, path| path == "/health")
        .protect(router);
    Setup { app, local, token, now }
}

fn setup() -> Setup {
    setup_with(false)
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn cookie(&self) -> String {
        let value = self.headers[header::SET_COOKIE].to_str().unwrap();
        value.split(';').next().unwrap().to_owned()
    }
}

impl Setup {
    async fn send(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(header::HOST, "127.0.0.1:4000");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(!body.contains(self.token.expose()), "the token is in a body");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, target, headers).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose())
    }
}

const BROWSER: (&str, &str) = ("accept", "text/html");

#[tokio::test]
async fn without_a_credential_programs_read_an_error_and_people_a_page() {
    let setup = setup();
    let program = setup.get("/api", &[]).await;
    assert_eq!(program.status, StatusCode::UNAUTHORIZED);
    assert!(program.body.contains("quartermaster open"), "{}", program.body);
    let person = setup.get("/", &[BROWSER]).await;
    assert_eq!(person.status, StatusCode::UNAUTHORIZED);
    assert!(person.body.contains("<code>quartermaster open</code>"), "{}", person.body);
    let script = setup.get("/", &[]).await;
    assert!(!script.body.contains("<html"), "{}", script.body);
}

#[rstest]
#[case::right("Bearer {}", StatusCode::OK)]
#[case::any_case("bearer {}", StatusCode::OK)]
#[case::longer("Bearer {}x", StatusCode::UNAUTHORIZED)]
#[case::other("Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", StatusCode::UNAUTHORIZED)]
#[case::empty("Bearer ", StatusCode::UNAUTHORIZED)]
#[case::scheme("token {}", StatusCode::UNAUTHORIZED)]
#[case::bare("{}", StatusCode::UNAUTHORIZED)]
#[tokio::test]
async fn only_the_token_of_the_data_directory_counts(#[case] form: &str, #[case] want: StatusCode) {
    let setup = setup();
    let value = form.replace("{}", setup.token.expose());
    assert_eq!(setup.get("/api", &[("authorization", &value)]).await.status, want);
}

#[tokio::test]
async fn two_authorization_headers_count_as_none() {
    let setup = setup();
    let right = setup.bearer();
    let both = [("authorization", right.as_str()), ("authorization", "Bearer x")];
    assert_eq!(setup.get("/api", &both).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_start_url_signs_a_browser_in_once() {
    let setup = setup();
    let url = start_url(&setup.local, ORIGIN).unwrap();
    assert!(!url.contains(setup.token.expose()));
    let target = url.strip_prefix(ORIGIN).unwrap();
    let first = setup.get(target, &[BROWSER]).await;
    assert_eq!(first.status, StatusCode::SEE_OTHER);
    assert_eq!(first.headers[header::LOCATION], "/");
    assert_eq!(first.headers[header::REFERRER_POLICY], "no-referrer");
    let cookie = first.cookie();
    let page = setup.get("/", &[BROWSER, ("cookie", &cookie)]).await;
    assert_eq!((page.status, page.body.as_str()), (StatusCode::OK, "local"));

    let second = setup.get(target, &[BROWSER]).await;
    assert_eq!(second.status, StatusCode::UNAUTHORIZED);
    assert!(second.body.contains("used before"), "{}", second.body);
    assert!(second.body.contains("quartermaster open"), "{}", second.body);
    assert!(!second.headers.contains_key(header::SET_COOKIE));
    let again = setup.get(target, &[BROWSER, ("cookie", &cookie)]).await;
    assert!(again.body.contains("signed in already"), "{}", again.body);
    let program = setup.get(target, &[]).await;
    assert_eq!(program.status, StatusCode::UNAUTHORIZED);
    assert!(!program.body.contains("<html"), "{}", program.body);
}

#[tokio::test]
async fn a_ticket_that_is_late_or_of_another_scope_signs_nobody_in() {
    let setup = setup();
    let late = start_url(&setup.local, ORIGIN).unwrap();
    *setup.now.lock() += Duration::from_secs(600);
    let foreign = Scope::new("connect", &["ns", "name", "uid"]);
    let foreign = setup.local.ticket(foreign, Duration::from_secs(60)).unwrap();
    for target in [late.strip_prefix(ORIGIN).unwrap(), &format!("/?ticket={foreign}"), "/?ticket="]
    {
        let answer = setup.get(target, &[BROWSER]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{target}");
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
    }
}

#[tokio::test]
async fn a_preview_does_not_use_a_ticket_up_and_the_rest_of_the_query_stays() {
    let setup = setup();
    let ticket = setup.local.ticket(Scope::api(), Duration::from_secs(60)).unwrap();
    let target = format!("/?a=%20&%74icket={ticket}&b=");
    let preview = setup.send(Method::HEAD, &target, &[BROWSER]).await;
    assert_eq!(preview.status, StatusCode::UNAUTHORIZED);
    let answer = setup.get(&target, &[BROWSER]).await;
    assert_eq!(answer.headers[header::LOCATION], "/?a=%20&b=");
}

#[tokio::test]
async fn a_cookie_of_another_port_or_token_signs_nobody_in() {
    let setup = setup();
    let ticket = setup.local.ticket(Scope::api(), Duration::from_secs(60)).unwrap();
    let answer = setup.get(&format!("/?ticket={ticket}"), &[BROWSER]).await;
    let cookie = answer.cookie();
    let value = cookie.split_once('=').unwrap().1;
    let same_name_other_port = {
        let other = web::local::SessionCookie::api(4100).issue(&setup.local);
        let other = other.to_str().unwrap().split(';').next().unwrap().to_owned();
        other.replace("quartermaster-4100", "quartermaster-4000")
    };
    for wrong in [
        format!("quartermaster-4100={value}"),
        same_name_other_port,
        format!("quartermaster-4000={value}x"),
        "quartermaster-4000=".to_owned(),
    ] {
        let answer = setup.get("/api", &[("cookie", &wrong)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    *setup.now.lock() += Duration::from_secs(31 * 24 * 3600);
    let answer = setup.get("/api", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "an old cookie");
}

#[rstest]
#[case::foreign_host(&[("host", "evil.example")], StatusCode::FORBIDDEN)]
#[case::two_hosts(&[("host", "127.0.0.1"), ("host", "127.0.0.1")], StatusCode::BAD_REQUEST)]
#[case::foreign_origin(&[("origin", "https://evil.example")], StatusCode::FORBIDDEN)]
#[case::page_on_apps(&[("origin", "http://127.0.0.1:4004")], StatusCode::FORBIDDEN)]
#[case::quiet_page_on_apps(&[("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN)]
#[case::own_page(&[("origin", ORIGIN), ("sec-fetch-site", "same-origin")], StatusCode::OK)]
#[tokio::test]
async fn a_credential_does_not_excuse_a_foreign_source(
    #[case] headers: &[(&str, &str)],
    #[case] want: StatusCode,
) {
    for setup in [setup(), setup_with(true)] {
        let bearer = setup.bearer();
        let mut headers = headers.to_vec();
        headers.push(("authorization", &bearer));
        assert_eq!(setup.send(Method::POST, "/api", &headers).await.status, want);
    }
}

#[tokio::test]
async fn without_auth_everybody_on_the_machine_is_the_owner() {
    let setup = setup_with(true);
    assert_eq!(setup.get("/api", &[]).await.body, "local");
    assert_eq!(start_url(&setup.local, ORIGIN).unwrap(), format!("{ORIGIN}/"));
}

#[tokio::test]
async fn a_public_path_has_no_identity_and_no_origin_is_opened() {
    let setup = setup();
    assert_eq!(setup.get("/health", &[]).await.body, "nobody");
    let bearer = setup.bearer();
    let answer = setup.get("/open-to-all", &[("authorization", &bearer)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[tokio::test]
async fn only_the_token_makes_tickets() {
    let setup = setup();
    let bearer = setup.bearer();
    let made = setup.send(Method::POST, TICKETS_PATH, &[("authorization", &bearer)]).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let url: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let target = url["url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap();
    let signed_in = setup.get(target, &[BROWSER]).await;
    let cookie = signed_in.cookie();
    let from_page = setup.send(Method::POST, TICKETS_PATH, &[("cookie", &cookie)]).await;
    assert_eq!(from_page.status, StatusCode::FORBIDDEN);
    let nobody = setup.send(Method::POST, TICKETS_PATH, &[]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}
