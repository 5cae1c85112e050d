//! §1 of the contract, over the wire.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use super::kit::*;

const TEXT: &str = "text/plain; charset=utf-8";

fn git(branch: &str) -> String {
    format!(
        r#"{{"Kind":"git","Source":{{"URL":"git@code.example.com:team/app.git","Branch":"{branch}"}}}}"#
    )
}

fn github_server(daemon: &Daemon) -> Server {
    Server::start(&daemon.config("- {source: GitHub, keyPath: gh.key}"), &[("gh.key", KEY)])
}

#[test]
fn start_up_prints_what_the_original_prints() {
    let config = "fluxRecvVersion: 1\nendpoints:\n\
        - {source: GitHub, keyPath: ./gh.key}\n\
        - {source: Nexus, keyPath: gh.key, registryHost: registry.example.com}\n";
    let server = Server::start(config, &[("gh.key", KEY)]);
    assert_eq!(
        server.stderr(),
        "endpoint GitHub using key gh.key at /hook/92da4a9fe72a4877e2c6cb3e1005dfb7f57b4344833ae4245666522089107944\n\
         endpoint Nexus using key gh.key at /hook/6b757aba7832e4374a25a9b9bd2f1b79079bd5fa8091ef2ff809a70217820f86\n"
    );
}

#[test]
fn start_up_errors_end_with_one_line_and_1() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("k", KEY);
    write("empty", "");
    let run = |config: &str| {
        write("fluxrecv.yaml", config);
        Server::once(&["--listen=127.0.0.1:0"], directory.path())
    };
    let version = "not a valid config file (field fluxRecvVersion != 1)\n";
    assert_eq!(run("fluxRecvVersion: 2"), (1, version.into()));
    let cases = [
        ("[{source: github, keyPath: k}]", "unknown source \"github\""),
        ("[{source: GitHub, keyPath: none}]", "cannot load key from \"none\""),
        ("[{source: GitHub}]", "cannot load key from \"\""),
        ("[{source: GitHub, keyPath: empty}]", "key \"empty\" is empty"),
    ];
    for (endpoints, message) in cases {
        let (code, text) = run(&format!("fluxRecvVersion: 1\nendpoints: {endpoints}"));
        assert_eq!(code, 1);
        assert!(text.contains(message) && text.lines().count() == 1, "{text}");
    }
    let (code, text) = run(
        "fluxRecvVersion: 1\nendpoints:\n- {source: GitHub, keyPath: k}\n- {source: Quay, keyPath: k}",
    );
    let last = text.lines().last().unwrap();
    assert!(code == 1 && text.starts_with("endpoint GitHub using key k at /hook/92da"), "{text}");
    assert!(
        last.contains("endpoints[0] (GitHub)") && last.contains("endpoints[1] (Quay)"),
        "{text}"
    );
}

#[test]
fn flags_are_those_of_the_original() {
    let directory = tempfile::tempdir().unwrap();
    let (code, text) = Server::once(&["--verbose"], directory.path());
    assert!(code == 2 && text.starts_with("unknown flag: --verbose\n"), "{code} {text}");
    let (code, text) = Server::once(&["--help"], directory.path());
    assert!(code == 0 && text.contains("--config"), "{code} {text}");
    let (code, text) = Server::once(&["--config", "none.yaml"], directory.path());
    assert!(code == 1 && text.contains("none.yaml"), "{code} {text}");
}

#[test]
fn an_address_in_use_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("fluxrecv.yaml"), "fluxRecvVersion: 1").unwrap();
    for address in [taken.local_addr().unwrap().to_string(), "nonsense".into()] {
        let (code, text) = Server::once(&["--listen", &address], directory.path());
        assert!(code == 1 && text.contains("cannot listen on"), "{code} {text}");
    }
}

#[test]
fn health_and_unknown_paths_answer_exactly() {
    let server = Server::start("fluxRecvVersion: 1", &[]);
    for method in ["GET", "POST", "DELETE"] {
        let answer = exchange(server.address, &request(method, "/health", &[], b"")).unwrap();
        assert_eq!(answer.said(), (200, "OK"));
        assert_eq!(answer.header("content-type"), Some(TEXT));
    }
    // No body follows, so only the head counts.
    let bytes = b"HEAD /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.write_all(bytes).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\n"), "{all}");
    for path in ["/", "/metrics", "/hook/", "/hook/00", "/healthz", "/health/"] {
        let answer = exchange(server.address, &request("GET", path, &[], b"")).unwrap();
        assert_eq!(answer.said(), (404, "404 page not found\n"), "{path}");
        assert_eq!(answer.header("content-type"), Some(TEXT));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn a_push_reaches_the_daemon_before_its_answer() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    let answer = github(&server, "main");
    assert_eq!(answer.said(), (200, "OK"));
    assert_eq!(answer.header("content-type"), Some(TEXT));
    let calls = daemon.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].line, "POST /api/flux/v11/notify HTTP/1.1");
    assert_eq!(calls[0].body, git("main"));
    let header = |name: &str| {
        let found = calls[0].headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(header("accept"), Some("application/json"));
    assert_eq!(header("authorization"), None);
    let path = format!("{}?x=1", Server::path(KEY));
    let ping = [
        ("X-GitHub-Event", "ping"),
        ("Content-Type", "application/json"),
        ("X-Hub-Signature-256", &signed("{}")),
    ];
    assert_eq!(post(&server, &path, &ping, "{}").said(), (200, "Pong"));
}

#[test]
fn every_valid_request_notifies_even_exact_repeats() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    for _ in 0..3 {
        assert_eq!(github(&server, "main").said(), (200, "OK"));
    }
    assert_eq!(daemon.told(), vec![git("main"); 3]);
}

#[test]
fn failures_downstream_have_the_texts_of_the_contract() {
    let daemon = Daemon::start();
    let endpoints = "- {source: GitHub, keyPath: gh.key}\n- {source: GitLab, keyPath: gl.key}\n\
        - {source: BitbucketCloud, keyPath: bb.key}\n- {source: DockerHub, keyPath: dh.key}";
    let keys = [
        ("gh.key", KEY),
        ("gl.key", "gitlab-gitlab-gitlab"),
        ("bb.key", "bitbucket-bitbucket"),
        ("dh.key", "dockerhub-dockerhub"),
    ];
    let server = Server::start(&daemon.config(endpoints), &keys);
    let gitlab = || {
        let headers = [("X-Gitlab-Token", keys[1].1), ("X-Gitlab-Event", "Push Hook")];
        let body = r#"{"ref":"refs/heads/main","project":{"git_ssh_url":"git@h:a"}}"#;
        post(&server, &Server::path(keys[1].1), &headers, body)
    };
    let bitbucket = || {
        let body = r#"{"push":{"changes":[{"new":{"name":"a"}},{"new":{"name":"b"}}]},"repository":{"full_name":"t/a"}}"#;
        post(&server, &Server::path(keys[2].1), &[("X-Event-Key", "repo:push")], body)
    };
    let docker = || {
        post(&server, &Server::path(keys[3].1), &[], r#"{"repository":{"repo_name":"team/app"}}"#)
    };
    assert_eq!(gitlab().said(), (200, "OK"));
    assert_eq!(bitbucket().said(), (200, "OK"));
    assert_eq!(docker().said(), (200, ""));
    assert_eq!(docker().header("content-length"), Some("0"));
    daemon.take();
    let behaviours = [
        Behaviour::Say(500, "", ""),
        Behaviour::Say(203, "", ""),
        Behaviour::Say(404, "{}", ""),
        Behaviour::Say(200, "<html>", ""),
        Behaviour::Say(302, "", "Location: http://127.0.0.1:1/\r\n"),
        Behaviour::Reset,
        Behaviour::Stream,
    ];
    for behaviour in behaviours {
        daemon.set(behaviour.clone());
        let text = "Error while calling downstream API\n";
        assert_eq!(github(&server, "main").said(), (500, text), "{behaviour:?}");
        assert_eq!(gitlab().said(), (500, "Error forwarding hook\n"), "{behaviour:?}");
        daemon.take();
        let text = "Unable to process all push events\n";
        assert_eq!(bitbucket().said(), (500, text), "{behaviour:?}");
        let second = daemon.told().iter().any(|body| body.contains("\"Branch\":\"b\""));
        assert!(!second, "the first failure stops the rest");
        assert_eq!(docker().said(), (200, ""), "{behaviour:?}");
    }
    for good in
        [Behaviour::Say(200, "{}", ""), Behaviour::Say(201, "", ""), Behaviour::Say(204, "", "")]
    {
        daemon.set(good.clone());
        assert_eq!(github(&server, "main").said(), (200, "OK"), "{good:?}");
    }
}

#[test]
fn a_daemon_that_hangs_is_given_ten_seconds() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    daemon.set(Behaviour::Hang);
    let start = Instant::now();
    let text = "Timed out waiting for response from downstream API\n";
    assert_eq!(github(&server, "main").said(), (408, text));
    let took = start.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(12), "{took:?}");
}

#[test]
fn a_daemon_that_is_down_is_an_error_at_once() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let port = format!(":{}/", daemon.address.port());
    let server = Server::start(&config.replace(&port, ":1/"), &[("gh.key", KEY)]);
    assert_eq!(github(&server, "main").said(), (500, "Error while calling downstream API\n"));
}

#[test]
fn branches_of_bitbucket_server_are_all_tried() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: BitbucketServer, keyPath: k}");
    let server = Server::start(&config, &[("k", KEY)]);
    let body = r#"{"changes":[{"ref":{"id":"refs/heads/a","type":"BRANCH"}},{"ref":{"id":"refs/heads/b","type":"BRANCH"}}],
        "repository":{"links":{"clone":[{"name":"ssh","href":"ssh://h/a.git"}]}}}"#;
    let headers = [
        ("X-Event-Key", "repo:refs_changed"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("X-Hub-Signature", &signed(body)),
    ];
    let send = || post(&server, &Server::path(KEY), &headers, body);
    assert_eq!(send().said(), (200, "OK"));
    daemon.set(Behaviour::Say(500, "", ""));
    daemon.take();
    assert_eq!(send().said(), (500, "Unable to process all push events\n"));
    assert_eq!(daemon.take().len(), 2);
}

#[test]
fn other_methods_than_post_are_told_so() {
    let daemon = Daemon::start();
    let server = github_server(&daemon);
    for method in ["GET", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "NONSENSE"] {
        let bytes = request(method, &Server::path(KEY), &[], b"");
        let answer = exchange(server.address, &bytes).unwrap();
        assert_eq!(answer.said(), (405, "method not allowed\n"), "{method}");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    // What tunnels usually lead to is no path at all.
    let answer = exchange(server.address, &request("CONNECT", "h:80", &[], b"")).unwrap();
    assert_eq!(answer.said(), (404, "404 page not found\n"));
    assert_eq!(daemon.take(), [""; 0]);
    assert_eq!(github(&server, "main").said(), (200, "OK"));
}

#[test]
fn requests_in_flight_are_finished_before_the_end() {
    let daemon = Daemon::start();
    let mut server = github_server(&daemon);
    daemon.set(Behaviour::Hang);
    let (sent, address) = (daemon.calls().len(), server.address);
    let path = Server::path(KEY);
    let body = r#"{"ref":"refs/heads/x","repository":{"ssh_url":"git@h:a"}}"#.to_owned();
    let sender = std::thread::spawn(move || {
        let headers = [
            ("X-GitHub-Event", "push"),
            ("Content-Type", "application/json"),
            ("X-Hub-Signature-256", &signed(&body)),
        ];
        exchange(address, &request("POST", &path, &headers, body.as_bytes()))
    });
    wait_for("the call", Duration::from_secs(5), || daemon.calls().len() > sent);
    assert!(server.terminate().success());
    assert_eq!(sender.join().unwrap().unwrap().status, 408);
}

#[test]
fn keys_may_be_several_and_paths_may_stay() {
    let daemon = Daemon::start();
    let endpoints = "- {source: GitHub, path: /hook/pinned-path, keyPaths: [new.key, gh.key, {path: old.key, notAfter: 2001-01-01T00:00:00Z}]}";
    let keys = [
        ("new.key", "a-new-key-a-new-key-a-new-key"),
        ("gh.key", KEY),
        ("old.key", "an-old-key-an-old-key"),
    ];
    let server = Server::start(&daemon.config(endpoints), &keys);
    let body = r#"{"ref":"refs/heads/main","repository":{"ssh_url":"git@h:a"}}"#;
    let headers = [
        ("X-GitHub-Event", "push"),
        ("Content-Type", "application/json"),
        ("X-Hub-Signature-256", &signed(body)),
    ];
    for path in [Server::path(keys[0].1), Server::path(KEY), "/hook/pinned-path".into()] {
        assert_eq!(post(&server, &path, &headers, body).said(), (200, "OK"), "{path}");
    }
    assert_eq!(post(&server, &Server::path(keys[2].1), &headers, body).status, 404);
}
