//! Who gets in, and what the program behind the proxy sees of it.

use axum::{Router, body::Body, extract::Request};
use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use web::local::{Scope, SessionCookie};
use workspaces::connect::{Found, HeaderRules, Port, Target};

use crate::kit::{self, Answer, PATH, Setup, send};

/// A program that answers with the request as it arrived.
fn mirror() -> Router {
    Router::new().fallback(|request: Request| async move {
        let mut lines = vec![format!("{} {}", request.method(), request.uri())];
        for (name, value) in request.headers() {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        lines.join("\n")
    })
}

async fn setup() -> Setup {
    Setup::new(kit::program(mirror()).await).await
}

const BROWSER: (&str, &str) = ("accept", "text/html");

async fn browse(address: std::net::SocketAddr, path: &str, cookie: &str) -> Answer {
    let headers = [BROWSER, ("cookie", cookie)];
    let headers = if cookie.is_empty() { &headers[..1] } else { &headers[..] };
    send(address, Method::GET, path, headers, Body::empty()).await
}

fn pair(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// A path on a listener, from a full address.
fn path_on(address: std::net::SocketAddr, location: &str) -> &str {
    location
        .strip_prefix(&format!("http://{address}"))
        .unwrap_or_else(|| unreachable!("{location} is not on {address}"))
}

impl Setup {
    /// Signs a browser in to `api`.
    fn api_cookie(&self, local: &web::local::Local) -> String {
        let cookie = SessionCookie::api(self.api.port()).issue(local);
        cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_browser_comes_in_by_way_of_api_and_keeps_a_cookie_for_this_workspace() {
    let setup = setup().await;
    let local = web::local::Local::new(setup.token.clone());
    let api_cookie = setup.api_cookie(&local);
    let lab = format!("{PATH}lab?a=%20&b");

    let to_api = browse(setup.apps, &lab, "").await;
    assert_eq!(to_api.status, StatusCode::SEE_OTHER);
    let on_api = path_on(setup.api, to_api.header("location"));
    assert_eq!(on_api, lab);

    let to_apps = browse(setup.api, on_api, &api_cookie).await;
    assert_eq!(to_apps.status, StatusCode::SEE_OTHER, "{}", to_apps.text());
    assert_eq!(to_apps.header("referrer-policy"), "no-referrer");
    let on_apps = path_on(setup.apps, to_apps.header("location")).to_owned();
    assert!(on_apps.contains("&quartermaster-ticket="), "{on_apps}");

    let clean = browse(setup.apps, &on_apps, "").await;
    assert_eq!(clean.status, StatusCode::SEE_OTHER);
    assert_eq!(clean.header("location"), lab);
    let attributes = clean.header("set-cookie");
    assert!(attributes.contains("; Path=/workspace/connect/ns/name/; "), "{attributes}");
    assert!(attributes.ends_with("; HttpOnly; SameSite=Strict"), "{attributes}");

    let cookie = pair(&clean);
    let inside = browse(setup.apps, &lab, &cookie).await;
    assert_eq!(inside.status, StatusCode::OK);
    assert!(inside.text().starts_with(&format!("GET {lab}\n")), "{}", inside.text());
    assert!(!inside.text().contains("quartermaster"), "{}", inside.text());

    let again = browse(setup.apps, &on_apps, "").await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    assert!(again.text().contains("used before"), "{}", again.text());
    assert!(again.headers.get("set-cookie").is_none());
    let back = browse(setup.apps, &on_apps, &cookie).await;
    assert_eq!((back.status, back.header("location")), (StatusCode::SEE_OTHER, lab.as_str()));
}

#[tokio::test]
async fn credentials_of_others_open_nothing() {
    let setup = setup().await;
    let local = web::local::Local::new(setup.token.clone());
    let api_cookie = setup.api_cookie(&local);
    let day = std::time::Duration::from_secs(86_400);
    let made = |port, name: &str, uid: &str| {
        let path = format!("/workspace/connect/ns/{name}/");
        let scope = Scope::new("connect", &["ns", name, uid]);
        let cookie = SessionCookie::scoped("connect", port, &path, scope, day).issue(&local);
        cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let port = setup.apps.port();
    let good = made(port, "name", "uid-1");
    let answer = send(setup.apps, Method::GET, PATH, &[("cookie", &good)], Body::empty()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let elsewhere =
        made(port + 1, "name", "uid-1").replace(&(port + 1).to_string(), &port.to_string());
    for (wrong, what) in [
        (("cookie", api_cookie), "the cookie of api"),
        (("cookie", made(port, "other", "uid-1")), "the cookie of another workspace"),
        (("cookie", made(port, "name", "uid-0")), "the cookie of a former workspace"),
        (("cookie", elsewhere), "the cookie of another port"),
        (("authorization", "Bearer the-workspace-secret".to_owned()), "the workspace's secret"),
        (("authorization", "Bearer x".to_owned()), "a wrong token"),
        (("x-nothing", "1".to_owned()), "nothing"),
    ] {
        let headers = [(wrong.0, wrong.1.as_str())];
        let answer = send(setup.apps, Method::GET, PATH, &headers, Body::empty()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
        assert!(answer.text().starts_with(r#"{"error":{"code":"401","#), "{}", answer.text());
        let answer = send(setup.apps, Method::POST, PATH, &headers, Body::empty()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
    }
}

#[tokio::test]
async fn the_program_sees_its_own_secret_and_none_of_ours() {
    let setup = setup().await;
    let bearer = setup.bearer();
    let headers = [
        ("authorization", bearer.as_str()),
        ("kubeflow-userid", "root"),
        ("x-forwarded-for", "1.2.3.4"),
        ("cookie", "theirs=1; quartermaster-1=x"),
        ("origin", &format!("http://{}", setup.apps)),
    ];
    let path = format!("{PATH}a%2Fb?x=1&quartermaster-ticket=t");
    let answer = send(setup.apps, Method::PUT, &path, &headers, Body::empty()).await;
    let text = answer.text();
    assert!(text.starts_with(&format!("PUT {PATH}a%2Fb?x=1\n")), "{text}");
    assert!(text.contains("\nauthorization: Bearer the-workspace-secret"), "{text}");
    assert!(text.contains(&format!("\nhost: {}", setup.apps)), "{text}");
    assert!(text.contains(&format!("\norigin: http://{}", setup.apps)), "{text}");
    assert!(text.contains("\nx-forwarded-for: 127.0.0.1"), "{text}");
    assert!(text.contains("\ncookie: theirs=1"), "{text}");
    for absent in [setup.token.expose(), "kubeflow-userid", "1.2.3.4", "quartermaster", "ticket"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    assert!(answer.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn the_prefix_goes_and_templates_come_where_the_kind_says_so() {
    let program = kit::program(mirror()).await;
    let setup = Setup::new(program).await;
    let set = [("x-script-name".to_owned(), PATH.to_owned())].into();
    let rules = HeaderRules { set, ..HeaderRules::default() };
    let target = Target { address: program, remove_prefix: true, headers: rules };
    setup.put(Port::Open(target));
    for (path, want) in [("", "/"), ("a/b?c", "/a/b?c"), ("/x", "//x")] {
        let text = setup.get(&format!("{PATH}{path}")).await;
        let text = text.text();
        assert!(text.starts_with(&format!("GET {want}\n")), "{text}");
        assert!(text.contains("\nx-forwarded-prefix: /workspace/connect/ns/name/web"), "{text}");
        assert!(text.contains(&format!("\nx-script-name: {PATH}")), "{text}");
    }
}

#[tokio::test]
async fn foreign_sources_are_refused_whatever_they_carry() {
    let setup = setup().await;
    let bearer = setup.bearer();
    let api_page = format!("http://{}", setup.api);
    for (headers, want) in [
        (vec![("host", "evil.example")], StatusCode::FORBIDDEN),
        (vec![("origin", "https://evil.example")], StatusCode::FORBIDDEN),
        (vec![("origin", api_page.as_str())], StatusCode::FORBIDDEN),
        (vec![("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
        (
            vec![
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
            StatusCode::OK,
        ),
    ] {
        let mut headers = headers;
        headers.push(("authorization", &bearer));
        let answer = send(setup.apps, Method::GET, PATH, &headers, Body::empty()).await;
        assert_eq!(answer.status, want, "{headers:?}");
    }
    // The other way round: a page of a workspace that calls the API.
    let apps_page = format!("http://{}", setup.apps);
    let headers = [("origin", apps_page.as_str()), ("authorization", &bearer)];
    let answer = send(setup.api, Method::POST, PATH, &headers, Body::empty()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn connecting_takes_the_right_to_update() {
    let setup = setup().await;
    *setup.backend.may.lock() = false;
    let bearer = setup.bearer();
    for address in [setup.api, setup.apps] {
        let headers = [("authorization", bearer.as_str())];
        let answer = send(address, Method::GET, PATH, &headers, Body::empty()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_program_is_led_to_apps_without_a_ticket() {
    let setup = setup().await;
    let bearer = setup.bearer();
    let headers = [("authorization", bearer.as_str())];
    let answer = send(setup.api, Method::POST, PATH, &headers, Body::empty()).await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.header("location"), format!("http://{}{PATH}", setup.apps));
}

#[tokio::test]
async fn what_does_not_exist_is_404_for_those_who_are_in() {
    let setup = setup().await;
    let answer = setup.get("/workspace/connect/ns/name/other/").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.text().contains("has no port"), "{}", answer.text());
    for path in
        ["/workspace/connect/ns/gone/web/", "/workspace/connect/", "/", "/api/v1/workspaces"]
    {
        assert_eq!(setup.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let outside =
        send(setup.apps, Method::GET, "/workspace/connect/ns/gone/web/", &[], Body::empty());
    assert_eq!(outside.await.status, StatusCode::UNAUTHORIZED);
    let slash = setup.get("/workspace/connect/ns/name/web?x=1").await;
    assert_eq!(slash.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(slash.header("location"), format!("{PATH}?x=1"));
}

#[tokio::test]
async fn a_workspace_made_anew_wants_a_new_cookie() {
    let setup = setup().await;
    let local = web::local::Local::new(setup.token.clone());
    let to_apps = browse(setup.api, PATH, &setup.api_cookie(&local)).await;
    let on_apps = path_on(setup.apps, to_apps.header("location")).to_owned();
    let port = setup.backend.found.lock().as_ref().unwrap().port.clone();
    *setup.backend.found.lock() = Some(Found { uid: "uid-2".to_owned(), port });
    let answer = browse(setup.apps, &on_apps, "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "the ticket was for the former one");
}

/// Requests that a well-behaved client cannot send.
#[tokio::test]
async fn ambiguous_requests_reach_the_program_in_one_reading() {
    let setup = setup().await;
    let bearer = setup.bearer();
    let raw = |lines: String| {
        let address = setup.apps;
        let bearer = bearer.clone();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let text = format!("{lines}authorization: {bearer}\r\nconnection: close\r\n\r\n");
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer
        }
    };
    let host = setup.apps;
    let two = format!("GET {PATH} HTTP/1.1\r\nhost: {host}\r\nhost: {host}\r\n");
    assert!(raw(two).await.starts_with("HTTP/1.1 400"));
    let full = format!("GET http://evil.example{PATH} HTTP/1.1\r\nhost: {host}\r\n");
    assert!(raw(full).await.starts_with("HTTP/1.1 400"));
    let full = format!("GET http://{host}{PATH}x HTTP/1.1\r\nhost: {host}\r\n");
    let answer = raw(full).await;
    assert!(answer.contains(&format!("GET {PATH}x\n")), "{answer}");
    let listed =
        format!("GET {PATH} HTTP/1.1\r\nhost: {host}\r\nconnection: host, authorization\r\n");
    let answer = raw(listed).await;
    assert!(answer.contains(&format!("\nhost: {host}")), "{answer}");
    assert!(answer.contains("\nauthorization: Bearer the-workspace-secret"), "{answer}");
    let none = format!("GET {PATH} HTTP/1.1\r\n");
    assert!(raw(none).await.starts_with("HTTP/1.1 400"));
}
