//! §5 of the contract: hostile and odd input, row by row.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::kit::*;

const BODY: &str =
    r#"{"ref":"refs/heads/main","repository":{"ssh_url":"git@code.example.com:team/app.git"}}"#;
const INVALID: (u16, &str) = (401, "The GitHub signature header is invalid.\n");
const UNREADABLE: (u16, &str) = (400, "Cannot parse payload\n");

fn github_server(daemon: &Daemon) -> Server {
    Server::start(&daemon.config("- {source: GitHub, keyPath: gh.key}"), &[("gh.key", KEY)])
}

fn with_limits(daemon: &Daemon, limits: &str) -> Server {
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    Server::start(&format!("{config}limits: {limits}\n"), &[("gh.key", KEY)])
}

/// After every case the service still answers, and exactly this push is told.
#[track_caller]
fn still_well(server: &Server, daemon: &Daemon) {
    let bytes = request("GET", "/health", &[], b"");
    assert_eq!(exchange(server.address, &bytes).unwrap().said(), (200, "OK"));
    assert_eq!(daemon.take(), [""; 0], "no effect");
    assert_eq!(github(server, "well").said(), (200, "OK"));
    assert_eq!(daemon.take().len(), 1);
}

fn push(server: &Server, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![("X-GitHub-Event", "push")];
    all.extend_from_slice(headers);
    post(server, &Server::path(KEY), &all, body)
}

fn signed_push(server: &Server, body: &str) -> Answer {
    push(server, &[JSON, ("X-Hub-Signature-256", &signed(body))], body)
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn row_1_announced_lengths_above_the_limit() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{maxBodyBytes: 1000}");
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
        Server::path(KEY)
    );
    stream.write_all(head.as_bytes()).unwrap();
    let said = answer(&mut stream).unwrap();
    assert_eq!(said.said(), (413, "request body too large\n"));
    assert_eq!(said.header("connection"), Some("close"));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed");
    still_well(&server, &daemon);
}

#[test]
fn row_2_chunked_bodies_that_grow_past_the_limit() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{maxBodyBytes: 100000}");
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        Server::path(KEY)
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"4000\r\n".as_slice(), &[b'a'; 0x4000], b"\r\n"].concat();
    for _ in 0..7 {
        // The server may have answered and closed already.
        let _ = stream.write_all(&chunk);
    }
    assert_eq!(answer(&mut stream).unwrap().said(), (413, "request body too large\n"));
    still_well(&server, &daemon);
}

#[test]
fn rows_3_and_4_slow_heads_and_slow_bodies() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{readHeaderTimeout: 500ms, readTimeout: 1s}");
    let mut head = TcpStream::connect(server.address).unwrap();
    head.write_all(b"POST /hook/").unwrap();
    let mut body = TcpStream::connect(server.address).unwrap();
    let text =
        format!("POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n{{", Server::path(KEY));
    body.write_all(text.as_bytes()).unwrap();
    let start = Instant::now();
    for stream in [&head, &body] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    assert_eq!(head.read(&mut [0]).unwrap(), 0, "closed");
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(answer(&mut body).unwrap().said(), (408, "request timed out\n"));
    assert!(start.elapsed() < Duration::from_secs(4));
    still_well(&server, &daemon);
}

#[test]
fn row_5_idle_connections_make_room() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{maxConnections: 1024}");
    let idle: Vec<_> = (0..2000).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let start = Instant::now();
    still_well(&server, &daemon);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(idle);
}

#[test]
fn row_5_an_address_has_its_share() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{maxConnectionsPerAddress: 2, rate: {exempt: []}}");
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            let text = format!(
                "POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
                Server::path(KEY)
            );
            stream.write_all(text.as_bytes()).unwrap();
            assert_eq!(answer(&mut stream).unwrap().status, 100);
            stream
        })
        .collect();
    wait_for("503", Duration::from_secs(5), || {
        let bytes = request("GET", "/health", &[], b"");
        exchange(server.address, &bytes).is_some_and(|answer| answer.status == 503)
    });
    drop(busy);
    wait_for("room", Duration::from_secs(5), || {
        let bytes = request("GET", "/health", &[], b"");
        exchange(server.address, &bytes).is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn row_6_heads_that_are_too_big() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let long = "a".repeat(100 * 1024);
    assert_eq!(push(&server, &[("X-Long", &long)], BODY).status, 431);
    let many: Vec<_> = (0..1000).map(|_| ("X-Many", "1")).collect();
    assert_eq!(push(&server, &many, BODY).status, 431);
    still_well(&server, &daemon);
}

#[test]
fn row_7_smuggling() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let path = Server::path(KEY);
    let send = |text: String| exchange(server.address, text.as_bytes()).map(|answer| answer.status);
    let lengths = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert_eq!(send(lengths), Some(400));
    for chunks in ["zz\r\n", "-1\r\n", "0x1\r\n", "ffffffffffffffffff\r\n"] {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        );
        assert_eq!(send(text), Some(400), "{chunks:?}");
    }
    // Both framings: the chunks count, and the connection ends.
    let mut stream = TcpStream::connect(server.address).unwrap();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1").count(), 1, "{all}");
    still_well(&server, &daemon);
}

#[test]
fn row_8_bodies_that_break_off() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let bytes = request("POST", &Server::path(KEY), &[JSON], BODY.as_bytes());
        stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
    }
    let quiet = server.stderr().lines().count() < 5;
    assert!(quiet, "no log flood: {}", server.stderr());
    still_well(&server, &daemon);
}

#[test]
fn row_9_compressed_bodies() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    for encoding in ["gzip", "br", "deflate", "zstd", "identity, gzip", "x"] {
        let answer = push(&server, &[JSON, ("Content-Encoding", encoding)], BODY);
        assert_eq!(answer.said(), (415, "unsupported content encoding\n"), "{encoding}");
    }
    still_well(&server, &daemon);
    let headers = [JSON, ("Content-Encoding", "identity"), ("X-Hub-Signature-256", &signed(BODY))];
    assert_eq!(push(&server, &headers, BODY).said(), (200, "OK"));
}

#[test]
fn rows_10_12_13_content_types() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let signature = signed(BODY);
    let with = |media: &str| {
        push(&server, &[("Content-Type", media), ("X-Hub-Signature-256", &signature)], BODY)
    };
    for media in ["text/plain", "multipart/form-data; boundary=x"] {
        assert_eq!(with(media).said(), INVALID, "{media}");
    }
    assert_eq!(push(&server, &[("X-Hub-Signature-256", &signature)], BODY).said(), INVALID);
    still_well(&server, &daemon);
    for media in ["application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(with(media).said(), (200, "OK"), "{media}");
    }
}

#[test]
fn row_11_content_types_do_not_matter_elsewhere() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon.config("- {source: Quay, keyPath: k}"), &[("k", KEY)]);
    for headers in
        [&[][..], &[("Content-Type", "text/plain")], &[("Content-Type", "multipart/form-data")]]
    {
        let body = r#"{"docker_url":"quay.io/team/app"}"#;
        assert_eq!(post(&server, &Server::path(KEY), headers, body).said(), (200, ""));
    }
    assert_eq!(daemon.take().len(), 3);
}

#[test]
fn row_14_the_first_payload_counts() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let encoded: String = BODY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let body = format!("payload={encoded}&payload=%7B");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let answer = push(&server, &[form, ("X-Hub-Signature", &signed(&body))], &body);
    assert_eq!(answer.said(), (200, "OK"));
    assert_eq!(daemon.take().len(), 1);
}

#[test]
fn rows_15_to_22_signatures() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let good = signed(BODY);
    let digits = good.trim_start_matches("sha256=");
    let with = |headers: &[(&str, &str)]| {
        let all: Vec<_> = std::iter::once(JSON).chain(headers.iter().copied()).collect();
        push(&server, &all, BODY).said().0
    };
    let upper = format!("sha256={}", digits.to_uppercase());
    assert_eq!(with(&[("X-Hub-Signature", &upper)]), 200);
    assert_eq!(with(&[("X-Hub-Signature", &good), ("X-Hub-Signature", &good)]), 200);
    daemon.take();
    let bad = [
        String::new(),
        "sha1=".into(),
        "sha256=0123456789".into(),
        "short".into(),
        format!("sha256={}", &digits[1..]),
        format!("sha256={} {}", &digits[..8], &digits[8..]),
        "sha256=ü".into(),
        format!("md5={digits}"),
        format!("SHA256={digits}"),
        format!("none={digits}"),
        digits.into(),
    ];
    for value in bad {
        assert_eq!(with(&[("X-Hub-Signature", &value)]), 401, "{value}");
    }
    let sha1 = hooks::decide::signature::Algorithm::Sha1.hmac(KEY.as_bytes(), &[BODY.as_bytes()]);
    let sha1 = format!("sha1={}", hooks::decide::digest::hex(&sha1));
    assert_eq!(with(&[("X-Hub-Signature-256", "sha256=00"), ("X-Hub-Signature", &sha1)]), 401);
    assert_eq!(with(&[("X-Hub-Signature", &good), ("X-Hub-Signature", &sha1)]), 401);
    let changed = [JSON, ("X-Hub-Signature-256", good.as_str())];
    assert_eq!(push(&server, &changed, &format!("{BODY} ")).said(), INVALID);
    let events = [("X-GitHub-Event", "ping"), JSON, ("X-Hub-Signature-256", good.as_str())];
    assert_eq!(push(&server, &events, BODY).said(), UNREADABLE);
    still_well(&server, &daemon);
}

#[test]
fn row_19_weak_algorithms_can_be_refused() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GitHub, keyPath: k, minAlgorithm: sha256}");
    let server = Server::start(&config, &[("k", KEY)]);
    let sha1 = hooks::decide::signature::Algorithm::Sha1.hmac(KEY.as_bytes(), &[BODY.as_bytes()]);
    let sha1 = format!("sha1={}", hooks::decide::digest::hex(&sha1));
    assert_eq!(push(&server, &[JSON, ("X-Hub-Signature", &sha1)], BODY).said(), INVALID);
    still_well(&server, &daemon);
}

#[test]
fn row_24_tokens_with_spaces() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon.config("- {source: GitLab, keyPath: k}"), &[("k", KEY)]);
    let body = r#"{"ref":"refs/heads/main","project":{"git_ssh_url":"git@h:a"}}"#;
    let with = |token: &str| {
        let headers = [("X-Gitlab-Token", token), ("X-Gitlab-Event", "Push Hook")];
        post(&server, &Server::path(KEY), &headers, body).status
    };
    assert_eq!(with(&format!("  {KEY}  ")), 200);
    assert_eq!(with(&KEY.replace("-horse", " horse")), 401);
}

#[test]
fn rows_25_and_26_guessing_is_slowed_down() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{rate: {exempt: []}}");
    let guess = || post(&server, "/hook/guess", &[], "");
    for _ in 0..60 {
        assert_eq!(guess().said(), (404, "404 page not found\n"));
    }
    let answer = guess();
    assert_eq!(answer.said(), (429, "too many requests\n"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(github(&server, "main").status, 429, "even a right guess tells nothing");
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn row_25_forging_is_slowed_down() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{rate: {exempt: []}}");
    let forged = |digit: u8| {
        let signature = format!("sha256={}", format!("{digit:02x}").repeat(32));
        push(&server, &[JSON, ("X-Hub-Signature-256", &signature)], BODY)
    };
    for digit in 0..60 {
        assert_eq!(forged(digit).said(), INVALID);
    }
    assert_eq!(forged(60).said(), (429, "too many requests\n"));
    assert_eq!(github(&server, "main").status, 429, "even a right one tells nothing");
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn row_27_paths_that_are_nearly_right() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let path = Server::path(KEY);
    let near = [
        format!("{path}/"),
        path.to_uppercase().replace("/HOOK", "/hook"),
        format!("/hook/../{}", &path[1..]),
        format!("/hook/%2e%2e{path}"),
        format!("{path}%00"),
        format!("/{path}"),
        format!("/hook/{}", "a".repeat(1000)),
    ];
    for path in near {
        assert_eq!(post(&server, &path, &[], "").said(), (404, "404 page not found\n"), "{path}");
    }
    let long = format!("/hook/{}", "a".repeat(8192));
    assert_eq!(post(&server, &long, &[], "").said(), (414, "request target too long\n"));
    let answer = exchange(server.address, b"POST /hook/\0abc HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.is_none_or(|answer| [400, 404].contains(&answer.status)));
    still_well(&server, &daemon);
}

#[test]
fn rows_30_to_37_odd_json() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let start = Instant::now();
    let many = format!("[0{}]", ",0".repeat(2_000_000));
    let unreadable = [
        format!("{{\"x\":{}", "[".repeat(200)),
        format!("{{\"x\":{}{},{}", "[".repeat(10_000), "]".repeat(10_000), &BODY[1..]),
        "[".repeat(1_000_000),
        format!("{{\"x\":{many},{}", &BODY[1..]),
        "\u{feff}{}".into(),
        String::new(),
        "null".into(),
        "[]".into(),
        "\"\"".into(),
        "0".into(),
        "{}".into(),
        format!("{BODY}}}"),
        BODY.replace("\"refs/heads/main\"", "1e999999"),
        BODY.replace("main", "\\ud800"),
        BODY.replace("main", &"a".repeat(1 << 20)),
    ];
    for body in unreadable {
        let answer = signed_push(&server, &body);
        assert_eq!(answer.said(), UNREADABLE, "{}", &body[..body.len().min(80)]);
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    still_well(&server, &daemon);
    let fine = [
        format!("{{\"ref\":\"other\",\"n\":1e999999,\"m\":{},{}", "9".repeat(10_000), &BODY[1..]),
        format!("{{\"x\":\"{}\",{}", "a".repeat(9 << 20), &BODY[1..]),
        format!("{BODY}  \n"),
    ];
    for body in fine {
        assert_eq!(signed_push(&server, &body).said(), (200, "OK"));
    }
}

#[test]
fn row_38_names_are_escaped_downstream() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let body = BODY.replace("main", r#"<script>\"\n../"#);
    assert_eq!(signed_push(&server, &body).said(), (200, "OK"));
    let told = daemon.take();
    assert!(told[0].contains(r#""Branch":"\u003cscript\u003e\"\n../""#), "{}", told[0]);
}

#[test]
fn row_38_names_make_no_lines_in_the_log() {
    let daemon = Daemon::start();
    let config = daemon.config("- {name: code, source: GitHub, keyPath: gh.key, targets: [seen]}");
    let targets = "targets: {seen: {type: log}}";
    let server = Server::start(&format!("{config}{targets}\n"), &[("gh.key", KEY)]);
    let before = server.stderr().lines().count();
    let body = BODY.replace("main", r"a\nERROR forged\r\u001b[2J\u0000");
    assert_eq!(signed_push(&server, &body).said(), (200, "OK"));
    wait_for("the line", Duration::from_secs(5), || server.stderr().contains("forged"));
    let log = server.stderr();
    assert_eq!(log.lines().count(), before + 1, "{log:?}");
    assert!(!log.contains(['\r', '\u{1b}', '\0']), "{log:?}");
    assert_eq!(signed_push(&server, &BODY.replace("main", &"a".repeat(4097))).said(), UNREADABLE);
}

#[test]
fn row_55_http_2_is_not_spoken() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let mut stream = TcpStream::connect(server.address).unwrap();
    // The preface, an empty SETTINGS frame, and a rapid reset of many streams.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in 0..1000_u32 {
        bytes.extend([0, 0, 0, 1, 5]);
        bytes.extend((2 * stream + 1).to_be_bytes());
        bytes.extend([0, 0, 4, 3, 0]);
        bytes.extend((2 * stream + 1).to_be_bytes());
        bytes.extend(8_u32.to_be_bytes());
    }
    let _ = stream.write_all(&bytes);
    let mut said = Vec::new();
    // Cut, or told so first: in no case served.
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said:?}");
    let upgrade = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABk"),
    ];
    assert_eq!(push(&server, &upgrade, BODY).said(), INVALID);
    still_well(&server, &daemon);
}

#[test]
fn row_56_costly_expressions_are_cut() {
    let daemon = Daemon::start();
    let cel = "req.list.all(a, req.list.all(b, req.list.all(c, a == b && b == c)))";
    let config = daemon.config(&format!(
        "- {{source: GitHub, keyPath: gh.key, filter: {{cel: \"event.branch == 'well' || {cel}\"}}}}"
    ));
    let server = Server::start(&config, &[("gh.key", KEY)]);
    let many = format!("[0{}]", ",0".repeat(100_000));
    let body = format!("{{\"list\":{many},{}", &BODY[1..]);
    let start = Instant::now();
    assert_eq!(signed_push(&server, &body).said(), (500, "filter error\n"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    still_well(&server, &daemon);
}

#[test]
fn row_46_an_endpoint_has_its_rate() {
    let daemon = Daemon::start();
    let server = with_limits(&daemon, "{rate: {perEndpoint: {perSecond: 0.1, burst: 3}}}");
    for _ in 0..3 {
        assert_eq!(github(&server, "main").said(), (200, "OK"));
    }
    let answer = github(&server, "main");
    assert_eq!(answer.said(), (429, "too many requests\n"));
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert_eq!(daemon.take().len(), 3);
}

#[test]
fn row_49_senders_that_hang_up() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let headers = [("X-GitHub-Event", "push"), JSON, ("X-Hub-Signature-256", &signed(BODY))];
    let bytes = request("POST", &Server::path(KEY), &headers, BODY.as_bytes());
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&bytes).unwrap();
        drop(stream);
    }
    wait_for("all notifications", Duration::from_secs(10), || daemon.told().len() == 20);
}

#[test]
fn row_54_forwarded_addresses_count_only_from_trusted_peers() {
    let daemon = Daemon::start();
    let guess = |server: &Server, from: &str| {
        post(server, "/hook/guess", &[("X-Forwarded-For", from)], "").status
    };
    let stranger =
        with_limits(&daemon, "{rate: {exempt: [], perAddress: {perMinute: 1, burst: 2}}}");
    let statuses: Vec<_> = (0..3).map(|n| guess(&stranger, &format!("192.0.2.{n}"))).collect();
    assert_eq!(statuses, [404, 404, 429]);
    let proxied = with_limits(
        &daemon,
        "{rate: {exempt: [], perAddress: {perMinute: 1, burst: 2}}}\ntrustedProxies: [127.0.0.0/8]",
    );
    let statuses: Vec<_> = (0..3).map(|n| guess(&proxied, &format!("192.0.2.{n}"))).collect();
    assert_eq!(statuses, [404, 404, 404]);
    let spoofed: Vec<_> =
        (0..3).map(|n| guess(&proxied, &format!("198.51.100.{n}, 192.0.2.9"))).collect();
    assert_eq!(spoofed, [404, 404, 429]);
}

#[test]
fn row_57_secrets_and_bodies_are_never_logged() {
    let daemon = Daemon::start();
    let server = Server::start(&daemon.config("- {source: GitLab, keyPath: k}"), &[("k", KEY)]);
    let headers = [("X-Gitlab-Token", "wrong-token-in-header"), ("X-Gitlab-Event", "Push Hook")];
    assert_eq!(post(&server, &Server::path(KEY), &headers, "secret-in-body").status, 401);
    let log = server.stderr();
    assert!(
        !log.contains("wrong-token") && !log.contains("secret-in") && !log.contains(KEY),
        "{log}"
    );
}
