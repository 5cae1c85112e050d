//! Tables for both directions.

use rstest::rstest;

use super::*;

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    map
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

fn sent(headers: &[(&str, &str)], rules: &HeaderRules) -> Vec<String> {
    let host: Authority = "localhost:4004".parse().unwrap();
    let outgoing = Outgoing {
        host: &host,
        peer: Some(IpAddr::from([127, 0, 0, 1])),
        removed_prefix: None,
        secret: None,
        rules,
    };
    let always = [
        "host: localhost:4004",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: localhost:4004",
        "x-forwarded-proto: http",
    ];
    let lines = lines(&request(map(headers), &outgoing));
    for line in always {
        assert!(lines.iter().any(|have| have == line), "{line} is not in {lines:?}");
    }
    lines.into_iter().filter(|line| !always.contains(&line.as_str())).collect()
}

#[rstest]
#[case::kept(&[("accept", "a"), ("origin", "http://localhost:4004")], &["accept: a", "origin: http://localhost:4004"])]
#[case::hop_by_hop(&[("connection", "close, X-Mine"), ("x-mine", "1"), ("keep-alive", "5"), ("proxy-authorization", "x"), ("transfer-encoding", "chunked")], &[])]
#[case::listed_host(&[("connection", "host, cookie, x-forwarded-for"), ("cookie", "a=1")], &[])]
#[case::credentials(&[("authorization", "Bearer x")], &[])]
#[case::claims(&[("kubeflow-userid", "root"), ("kubeflow-groups", "a"), ("X-Remote-User", "root"), ("remote-user", "root"), ("x-auth-request-email", "x"), ("impersonate-user", "x"), ("forwarded", "for=1.2.3.4"), ("x-real-ip", "1.2.3.4"), ("x-forwarded-user", "root")], &[])]
#[case::claims_with_underscores(&[("kubeflow_userid", "root"), ("remote_user", "root"), ("x_forwarded_for", "1.2.3.4")], &[])]
#[case::forwarded_lies(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-host", "evil"), ("x-forwarded-prefix", "/evil")], &[])]
#[case::our_cookies(&[("cookie", "a=1; quartermaster-4000=x; b=2"), ("cookie", "Quartermaster-connect-4004=y;c=3")], &["cookie: a=1; b=2; c=3"])]
#[case::only_our_cookies(&[("cookie", "quartermaster-4000=x")], &[])]
#[case::trailers(&[("te", "gzip, Trailers"), ("connection", "te"), ("trailer", "x-sum")], &["te: trailers", "trailer: x-sum"])]
#[case::upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")], &["connection: upgrade", "sec-websocket-key: k", "upgrade: websocket"])]
#[case::unasked_upgrade(&[("upgrade", "h2c"), ("http2-settings", "x")], &[])]
#[case::expectation(&[("expect", "100-continue"), ("content-length", "3")], &["content-length: 3"])]
fn requests_lose_what_is_not_the_programs_business(
    #[case] headers: &[(&str, &str)],
    #[case] want: &[&str],
) {
    assert_eq!(sent(headers, &HeaderRules::default()), want);
}

#[test]
fn the_kind_may_change_headers_but_not_the_framing() {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let rules = HeaderRules {
        set: pairs(&[
            ("X-Script-Name", "/p/"),
            ("connection", "close"),
            ("content-length", "0"),
            ("bad name", "x"),
            ("x-bad-value", "a\r\nx-smuggled: 1"),
        ]),
        add: pairs(&[("accept", "b"), ("transfer-encoding", "chunked")]),
        remove: vec!["x-gone".to_owned(), "content-length".to_owned(), "bad name".to_owned()],
    };
    let headers =
        [("accept", "a"), ("x-gone", "1"), ("x-script-name", "old"), ("content-length", "3")];
    let want = ["accept: a", "accept: b", "content-length: 3", "x-script-name: /p/"];
    assert_eq!(sent(&headers, &rules), want);
}

#[test]
fn the_secret_replaces_what_the_client_sent_and_is_marked() {
    let host: Authority = "localhost".parse().unwrap();
    let secret = SecretString::from("s3cret");
    let outgoing = Outgoing {
        host: &host,
        peer: None,
        removed_prefix: Some("/workspace/connect/ns/name/web"),
        secret: Some(&secret),
        rules: &HeaderRules::default(),
    };
    let headers = request(map(&[("authorization", "token mine")]), &outgoing);
    assert_eq!(headers[header::AUTHORIZATION], "Bearer s3cret");
    assert!(headers[header::AUTHORIZATION].is_sensitive());
    assert!(!format!("{headers:?}").contains("s3cret"));
    assert_eq!(headers["x-forwarded-prefix"], "/workspace/connect/ns/name/web");
}

fn received(headers: &[(&str, &str)], prefix_removed: bool) -> Vec<String> {
    let host: Authority = "localhost:4004".parse().unwrap();
    let incoming = Incoming {
        host: &host,
        address: "127.3.2.1:8888".parse().unwrap(),
        workspace: "/workspace/connect/ns/name/",
        prefix: "/workspace/connect/ns/name/web",
        prefix_removed,
    };
    let mut headers = map(headers);
    response(&mut headers, &incoming);
    lines(&headers)
}

const P: &str = "/workspace/connect/ns/name/web";

#[rstest]
#[case::path("/lab?x=1#y", "/lab?x=1#y", &format!("{P}/lab?x=1#y"))]
#[case::own_prefix(&format!("{P}/lab"), &format!("{P}/lab"), &format!("{P}/lab"))]
#[case::like_the_prefix(&format!("{P}2/lab"), &format!("{P}2/lab"), &format!("{P}{P}2/lab"))]
#[case::relative("lab", "lab", "lab")]
#[case::own_host("http://localhost:4004/lab", "/lab", &format!("{P}/lab"))]
#[case::pod("http://127.3.2.1:8888/lab", "/lab", &format!("{P}/lab"))]
#[case::pod_root("http://127.3.2.1:8888", "/", &format!("{P}/"))]
#[case::network_path("//localhost:4004/lab", "/lab", &format!("{P}/lab"))]
#[case::two_slashes(
    "http://localhost:4004//evil.example/",
    "http://localhost:4004//evil.example/",
    "http://localhost:4004//evil.example/"
)]
#[case::elsewhere("https://example.org/x", "https://example.org/x", "https://example.org/x")]
#[case::elsewhere_network_path("//example.org/x", "//example.org/x", "//example.org/x")]
fn redirects_stay_true(#[case] location: &str, #[case] whole: &str, #[case] removed: &str) {
    assert_eq!(received(&[("location", location)], false), [format!("location: {whole}")]);
    assert_eq!(received(&[("location", location)], true), [format!("location: {removed}")]);
}

#[rstest]
#[case::no_path("a=1; HttpOnly", "a=1; HttpOnly; Path=/workspace/connect/ns/name/")]
#[case::root("a=1; Path=/; Secure", "a=1; Secure; Path=/workspace/connect/ns/name/")]
#[case::own(&format!("a=1; path={P}/x"), &format!("a=1; Path={P}/x"))]
#[case::neighbour(
    "a=1; Path=/workspace/connect/ns/other/",
    "a=1; Path=/workspace/connect/ns/name/"
)]
#[case::domain("a=1; Domain=localhost", "a=1; Path=/workspace/connect/ns/name/")]
fn cookies_stay_within_their_workspace(#[case] cookie: &str, #[case] want: &str) {
    assert_eq!(received(&[("set-cookie", cookie)], false), [format!("set-cookie: {want}")]);
}

#[test]
fn cookies_of_a_program_without_the_prefix_get_it() {
    let got = received(&[("set-cookie", "a=1; Path=/x"), ("set-cookie", "b=2")], true);
    let want = [
        format!("set-cookie: a=1; Path={P}/x"),
        "set-cookie: b=2; Path=/workspace/connect/ns/name/".to_owned(),
    ];
    assert_eq!(got, want);
}

#[rstest]
#[case::poses_as_us(&[("set-cookie", "quartermaster-connect-4004=x; Path=/")])]
#[case::poses_in_capitals(&[("set-cookie", "QUARTERMASTER-4000=x")])]
#[case::clears_the_neighbours(&[("clear-site-data", "\"*\"")])]
#[case::takes_the_whole_origin(&[("service-worker-allowed", "/")])]
#[case::breaks_the_host(&[("strict-transport-security", "max-age=1"), ("alt-svc", "h3=\":1\"")])]
#[case::hop_by_hop(&[("connection", "x-mine"), ("x-mine", "1"), ("transfer-encoding", "chunked")])]
fn responses_lose_what_reaches_beyond(#[case] headers: &[(&str, &str)]) {
    assert_eq!(received(headers, false), Vec::<String>::new());
}
