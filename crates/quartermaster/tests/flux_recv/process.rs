//! §1.1 and §1.2 of the contract: the process, its flags, what it prints, its end.

use std::{fs, net::SocketAddr, time::Duration};

use super::kit::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn help_goes_to_stderr() {
    let directory = tempfile::tempdir().unwrap();
    for flags in [&["--help"][..], &["-h"], &["--listen=:1", "--help"]] {
        let (code, text) = Server::once(flags, directory.path());
        assert!(code == 0 && text.starts_with("Usage of flux-recv:\n"), "{code} {text}");
        assert!(text.contains("--config string") && text.contains("--listen string"), "{text}");
        assert_eq!(Server::output(flags, directory.path()), (0, String::new()));
    }
}

#[test]
fn flags_of_ours_are_unknown() {
    let directory = tempfile::tempdir().unwrap();
    for flag in ["--log", "--verbose", "--version"] {
        let (code, text) = Server::once(&[&format!("{flag}=x")], directory.path());
        let said = format!("unknown flag: {flag}\nUsage of flux-recv:\n");
        assert!(code == 2 && text.starts_with(&said), "{code} {text}");
    }
}

#[test]
fn stdout_is_empty_and_stderr_tells_what_happens() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let mut server = Server::start(&config, &[("gh.key", KEY)]);
    assert_eq!(github(&server, "main").said(), (200, "OK"));
    assert_eq!(post(&server, &Server::path(KEY), &[], "{}").status, 401);
    wait_for("the refusal", PATIENCE, || {
        let log = server.stderr();
        log.contains("GitHub The GitHub signature header is invalid.: ")
    });
    let file = server.directory.path().join("fluxrecv.yaml");
    fs::write(&file, format!("{config}- {{source: Quay, keyPath: quay.key}}\n")).unwrap();
    fs::write(server.directory.path().join("quay.key"), "quay-quay-quay-quay").unwrap();
    server.signal(rustix::process::Signal::HUP);
    wait_for("the new endpoint", PATIENCE, || {
        let log = server.stderr();
        log.contains("endpoint Quay using key quay.key at /hook/")
            && log.contains("the configuration was reloaded")
    });
    assert!(server.terminate().success());
    assert_eq!(server.stdout(), "");
}

#[test]
fn keys_are_beside_the_file_wherever_that_is() {
    let daemon = Daemon::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("fluxrecv.yaml");
    fs::write(&file, daemon.config("- {source: GitHub, keyPath: ./gh.key}")).unwrap();
    fs::write(elsewhere.path().join("gh.key"), KEY).unwrap();
    let flags = ["positional".to_owned(), "--config".to_owned(), file.display().to_string()];
    let server = Server::start_with("fluxRecvVersion: 1", &[], &flags);
    let line = format!("endpoint GitHub using key {}/gh.key at ", elsewhere.path().display());
    assert!(server.stderr().starts_with(&line), "{}", server.stderr());
    assert_eq!(github(&server, "main").said(), (200, "OK"));
}

#[test]
fn daemons_elsewhere_are_called_by_the_proxy_of_the_environment() {
    let proxy = Daemon::start();
    let config = "fluxRecvVersion: 1\napi: http://flux.example:3030/api/flux\n\
                  endpoints: [{source: GitHub, keyPath: gh.key}]\n";
    let mut server = Server::start(config, &[("gh.key", KEY)]);
    server.terminate();
    server.proxy = format!("http://{}", proxy.address);
    server.restart();
    assert_eq!(github(&server, "main").said(), (200, "OK"));
    let line = "POST http://flux.example:3030/api/flux/v11/notify HTTP/1.1";
    assert_eq!(proxy.calls()[0].line, line);
}

#[test]
fn an_address_without_a_host_is_all_addresses() {
    let mut server = Server::start("fluxRecvVersion: 1", &[]);
    let port = server.address.port();
    server.terminate();
    server.flags.push(format!("--listen=:{port}"));
    server.restart();
    let health = |host: &str| {
        let address = SocketAddr::new(host.parse().unwrap(), port);
        exchange(address, &request("GET", "/health", &[], b""))
    };
    assert_eq!(health("127.0.0.1").unwrap().said(), (200, "OK"));
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        assert_eq!(health("::1").unwrap().said(), (200, "OK"));
    }
}

#[test]
fn start_up_errors_are_one_line_whatever_the_file_is() {
    let directory = tempfile::tempdir().unwrap();
    let run = |config: &str| {
        fs::write(directory.path().join("fluxrecv.yaml"), config).unwrap();
        Server::once(&["--listen=127.0.0.1:0", "--admin-listen=none"], directory.path())
    };
    let version = "not a valid config file (field fluxRecvVersion != 1)\n";
    for other in [
        "",
        "a: 1\n---\nb: 2\n",
        "a: 1\n---\n",
        "apiVersion: v1\nkind: Secret\n---\nfluxRecvVersion: 1\n",
        "fluxRecvVersion: \"1\"\n",
    ] {
        assert_eq!(run(other), (1, version.to_owned()), "{other}");
    }
    for broken in [
        "fluxRecvVersion: 1\nendpoints:\n  - [\n}\n",
        "a: b: c",
        "- fluxRecvVersion: 1",
        "text",
        "fluxRecvVersion: 1\nendpoints: [{source: GitHub, keyPath: \"a\\nb\"}]",
        "fluxRecvVersion: 1\nendpoints: 5",
    ] {
        let (code, text) = run(broken);
        assert_eq!((code, text.lines().count()), (1, 1), "{text}");
    }
}

#[test]
fn what_follows_the_first_document_is_not_read() {
    for rest in ["---\n", "---\n[broken"] {
        let server = Server::start(&format!("fluxRecvVersion: 1\n{rest}"), &[]);
        assert_eq!(server.stderr(), "");
    }
}

#[test]
fn a_plain_file_does_without_a_directory_of_its_own() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: Quay, keyPath: k}");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("data"), "a file").unwrap();
    let server =
        Server::start_in(directory, &config, &[("k", KEY)], &["--admin-listen=none".to_owned()]);
    let warnings = server.stderr();
    let warnings: Vec<_> = warnings.lines().filter(|line| line.contains("warning")).collect();
    assert!(matches!(warnings[..], [one] if one.contains("in memory only")), "{warnings:?}");
    daemon.set(Behaviour::Say(500, "", ""));
    let body = r#"{"docker_url":"quay.io/team/app"}"#;
    assert_eq!(post(&server, &Server::path(KEY), &[], body).said(), (200, ""));
    daemon.set(Behaviour::Accept);
    daemon.take();
    wait_for("the repetition", PATIENCE, || daemon.told().len() == 1);
}

#[test]
fn an_empty_key_may_be_allowed() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: Quay, keyPath: k, allowEmptyKey: true}");
    let server = Server::start(&config, &[("k", "")]);
    let body = r#"{"docker_url":"quay.io/team/app"}"#;
    assert_eq!(post(&server, &Server::path(""), &[], body).said(), (200, ""));
    assert_eq!(daemon.take().len(), 1);
}

#[test]
fn who_asks_is_told_of_the_end_until_the_last_request_is_answered() {
    let daemon = Daemon::start();
    let admin = free_address();
    let flags = [format!("--admin-listen={admin}")];
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let mut server = Server::start_with(&config, &[("gh.key", KEY)], &flags);
    let ready = || exchange(admin, &request("GET", "/readyz", &[], b"")).unwrap();
    assert_eq!(ready().said(), (200, "ready\n"));
    daemon.set(Behaviour::Hang);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| github(&server, "main"));
        wait_for("the call", PATIENCE, || daemon.told().len() == 1);
        server.signal(rustix::process::Signal::TERM);
        wait_for("503", PATIENCE, || ready().said() == (503, "ending\n"));
        assert!(!sender.is_finished(), "a request is in flight");
        assert_eq!(ready().said(), (503, "ending\n"));
        assert_eq!(sender.join().unwrap().status, 408);
    });
    assert!(server.ended().success());
}

#[test]
fn operators_are_listened_to_by_default_if_the_address_is_free() {
    let start = || Server::start_in(tempfile::tempdir().unwrap(), "fluxRecvVersion: 1", &[], &[]);
    let warned = |server: &Server| {
        let log = server.stderr();
        log.starts_with("warning: ") && log.contains("127.0.0.1:8081") && log.lines().count() == 1
    };
    let first = start();
    let default = SocketAddr::from(([127, 0, 0, 1], 8081));
    let health = || exchange(default, &request("GET", "/healthz", &[], b"")).unwrap();
    // Another program of this machine may have it.
    assert!(warned(&first) || health().said() == (200, "ok\n"), "{}", first.stderr());
    // Now somebody has it, and all else works.
    assert!(warned(&start()));
}

#[test]
fn paths_may_have_a_prefix_and_urls_are_shown_in_full() {
    let daemon = Daemon::start();
    let admin = free_address();
    let flags = [
        "--path-prefix=/in/".to_owned(),
        "--public-url=https://hooks.example.com/".to_owned(),
        format!("--admin-listen={admin}"),
        "--admin-token-path=token".to_owned(),
    ];
    let config = daemon.config("- {name: code, source: Quay, keyPath: k}");
    let server = Server::start_with(&config, &[("k", KEY), ("token", "a-token")], &flags);
    let path = format!("/in{}", Server::path(KEY));
    let url = format!("https://hooks.example.com{path}");
    assert_eq!(server.stderr(), format!("endpoint Quay using key k at {url}\n"));
    let body = r#"{"docker_url":"quay.io/team/app"}"#;
    assert_eq!(post(&server, &path, &[], body).said(), (200, ""));
    assert_eq!(post(&server, &Server::path(KEY), &[], body).status, 404);
    let health = exchange(server.address, &request("GET", "/health", &[], b""));
    assert_eq!(health.unwrap().said(), (200, "OK"), "whoever probes is inside");
    let token = [("Authorization", "Bearer a-token")];
    let endpoints = "/api/v1/hooks/endpoints?paths=full";
    let shown = exchange(admin, &request("GET", endpoints, &token, b"")).unwrap();
    assert!(shown.body.contains(&url), "{}", shown.body);
    for (flag, problem) in [("--path-prefix=in", "is no path"), ("--public-url=h", "is no URL")] {
        let (code, text) = Server::once(&[flag], server.directory.path());
        assert!(code == 1 && text.contains(problem) && text.lines().count() == 1, "{text}");
    }
}
