//! §1.4 to §1.10 of the contract for the sources beside GitHub, and what they have in common.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::kit::*;

const TEXT: &str = "text/plain; charset=utf-8";

/// A source of flux-recv, and a request of it that is right.
struct Case {
    source: &'static str,
    key: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
    /// Status and text of a good request, and when the daemon does not answer.
    good: (u16, &'static str),
    timed_out: (u16, &'static str),
    /// What is said to a body that is no JSON object.
    unreadable: (u16, &'static str),
}

impl Case {
    fn send(&self, server: &Server, headers: &[(&str, &str)], body: &str) -> Answer {
        post(server, &Server::path(self.key), headers, body)
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Sends another body, signed where it has to be.
    fn send_body(&self, server: &Server, body: &str) -> Answer {
        let (hub, nexus) = (signed(body), nexus_signature(body));
        let mut headers = self.headers();
        for (name, value) in &mut headers {
            match *name {
                "X-Hub-Signature" => *value = &hub,
                "X-Nexus-Webhook-Signature" => *value = &nexus,
                _ => {}
            }
        }
        self.send(server, &headers, body)
    }
}

fn cases() -> Vec<Case> {
    let gitlab = "gitlab-gitlab-gitlab";
    let harbor = "harbor-harbor-harbor";
    let server = r#"{"changes":[{"ref":{"id":"refs/heads/a","type":"BRANCH"}}],"repository":{"links":{"clone":[{"name":"ssh","href":"ssh://h/a.git"}]}}}"#;
    let nexus = r#"{"action":"CREATED","component":{"format":"docker","name":"team/api"}}"#;
    let pushed = STANDARD.encode(r#"{"action":"INSERT","digest":"","tag":"gcr.io/team/app:1"}"#);
    let case = |source, key, headers: &[(&'static str, &str)], body: &str, image| Case {
        source,
        key,
        headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        body: body.to_owned(),
        good: if image { (200, "") } else { (200, "OK") },
        timed_out: if image { (200, "") } else { (500, "Unable to process all push events\n") },
        unreadable: match source {
            "GitLab" => (400, "Unable to parse hook payload\n"),
            "BitbucketCloud" => (400, "Unable to decode payload as JSON\n"),
            "BitbucketServer" => (400, "Unable to JSON decode payload\n"),
            "GoogleContainerRegistry" => (200, "Cannot decode payload\n"),
            _ => (400, "Cannot decode webhook payload\n"),
        },
    };
    vec![
        Case {
            timed_out: (500, "Error forwarding hook\n"),
            ..case(
                "GitLab",
                gitlab,
                &[("X-Gitlab-Token", gitlab), ("X-Gitlab-Event", "Push Hook")],
                r#"{"ref":"refs/heads/main","project":{"git_ssh_url":"git@h:a"}}"#,
                false,
            )
        },
        case(
            "BitbucketCloud",
            "bitbucket-bitbucket",
            &[("X-Event-Key", "repo:push")],
            r#"{"push":{"changes":[{"new":{"name":"a"}}]},"repository":{"full_name":"t/a"}}"#,
            false,
        ),
        case(
            "BitbucketServer",
            KEY,
            &[
                ("X-Event-Key", "repo:refs_changed"),
                ("Content-Type", "application/json"),
                ("X-Hub-Signature", &signed(server)),
            ],
            server,
            false,
        ),
        case(
            "DockerHub",
            "dockerhub-dockerhub",
            &[],
            r#"{"repository":{"repo_name":"team/app"}}"#,
            true,
        ),
        case("Quay", "quay-quay-quay-quay", &[], r#"{"docker_url":"quay.io/team/app"}"#, true),
        case(
            "GoogleContainerRegistry",
            "google-google-google",
            &[],
            &format!(r#"{{"message":{{"data":"{pushed}"}}}}"#),
            true,
        ),
        case(
            "Harbor",
            harbor,
            &[("Authorization", harbor)],
            r#"{"type":"PUSH_ARTIFACT","event_data":{"resources":[{"resource_url":"reg.example.com/team/app:1"}]}}"#,
            true,
        ),
        case(
            "Nexus",
            "correct-horse-battery-staple-02",
            &[
                ("X-Nexus-Webhook-Id", "rm:repository:component"),
                ("X-Nexus-Webhook-Signature", &nexus_signature(nexus)),
            ],
            nexus,
            true,
        ),
    ]
}

fn nexus_signature(body: &str) -> String {
    use hooks::decide::{digest::hex, signature::Algorithm};
    hex(&Algorithm::Sha1.hmac(b"correct-horse-battery-staple-02", &[body.as_bytes()]))
}

fn start(daemon: &Daemon, cases: &[Case]) -> Server {
    let endpoint =
        |case: &Case| format!("- {{source: {}, keyPath: {}.key}}\n", case.source, case.source);
    let endpoints: String = cases.iter().map(endpoint).collect();
    let files: Vec<_> = cases.iter().map(|case| format!("{}.key", case.source)).collect();
    let keys: Vec<_> =
        files.iter().zip(cases).map(|(file, case)| (file.as_str(), case.key)).collect();
    Server::start(&daemon.config(&endpoints), &keys)
}

#[test]
fn all_sources_are_taken_at_one_server() {
    let (daemon, cases) = (Daemon::start(), cases());
    let server = start(&daemon, &cases);
    for case in &cases {
        let said = case.send(&server, &case.headers(), &case.body);
        assert_eq!(said.said(), case.good, "{}", case.source);
        assert_eq!(daemon.take().len(), 1, "{}", case.source);
    }
}

#[test]
fn row_37_garbage_after_the_first_value_is_taken_where_senders_need_it() {
    let (daemon, cases) = (Daemon::start(), cases());
    let server = start(&daemon, &cases);
    for case in cases.iter().filter(|case| !["BitbucketServer", "Nexus"].contains(&case.source)) {
        for garbage in ["}", " trailing", "{\"more\":1}", "\u{c}"] {
            let said = case.send(&server, &case.headers(), &format!("{}{garbage}", case.body));
            assert_eq!(said.said(), case.good, "{} {garbage:?}", case.source);
            assert_eq!(daemon.take().len(), 1, "{} {garbage:?}", case.source);
        }
    }
    for case in cases.iter().filter(|case| ["BitbucketServer", "Nexus"].contains(&case.source)) {
        for garbage in ["}", " x", "{}", "\u{c}"] {
            let said = case.send_body(&server, &format!("{}{garbage}", case.body));
            assert_eq!(said.said(), case.unreadable, "{} {garbage:?}", case.source);
        }
    }
    assert_eq!(daemon.take(), [""; 0]);
}

/// Who does not know the secret learns nothing about the rest, and what is refused is plain text.
#[test]
fn wrong_secrets_win_over_wrong_events_and_bodies() {
    let (daemon, cases) = (Daemon::start(), cases());
    let server = start(&daemon, &cases);
    let key = "github-github-github";
    let github =
        Server::start(&daemon.config("- {source: GitHub, keyPath: gh.key}"), &[("gh.key", key)]);
    let path = |case: usize| Server::path(cases[case].key);
    let json = ("Content-Type", "application/json");
    let (gitlab, bitbucket, harbor) = (&path(0), &path(2), &path(6));
    let (invalid, none) = ("sha256=00", "x");
    for body in ["{", "", "[]", "{}"] {
        let checks = [
            (
                &github,
                &Server::path(key),
                vec![json, ("X-GitHub-Event", none), ("X-Hub-Signature", invalid)],
                "The GitHub signature header is invalid.\n",
            ),
            (
                &server,
                gitlab,
                vec![("X-Gitlab-Event", none), ("X-Gitlab-Token", none)],
                "The Gitlab token does not match\n",
            ),
            (
                &server,
                bitbucket,
                vec![json, ("X-Event-Key", none), ("X-Hub-Signature", invalid)],
                "The signature header is invalid.\n",
            ),
            (&server, harbor, vec![("Authorization", none)], "The Harbor token does not match\n"),
        ];
        for (server, path, headers, text) in checks {
            let answer = post(server, path, &headers, body);
            assert_eq!(answer.said(), (401, text), "{body}");
            assert_eq!(answer.header("content-type"), Some(TEXT), "{text}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{text}");
        }
    }
    for case in &cases {
        let answer = case.send(&server, &case.headers(), "{");
        if case.source != "GoogleContainerRegistry" {
            assert!([400, 401].contains(&answer.status), "{} {answer:?}", case.source);
        }
        assert_eq!(answer.header("content-type"), Some(TEXT), "{}", case.source);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", case.source);
        assert!(answer.body.ends_with('\n'), "{} {answer:?}", case.source);
    }
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn rows_35_and_36_bodies_with_next_to_nothing() {
    let (daemon, cases) = (Daemon::start(), cases());
    let server = start(&daemon, &cases);
    for case in &cases {
        for body in ["", "null", "[]", "\"\"", "0", "\u{feff}{}", "{"] {
            let said = case.send_body(&server, body);
            assert_eq!(said.said(), case.unreadable, "{} {body:?}", case.source);
        }
    }
    let no_image = (400, "Cannot parse image in webhook payload\n");
    let no_link = (400, "Missing repository SSH clone link\n");
    let undecoded = (400, "Cannot decode webhook payload\n");
    let not_inserted = (200, "action is not an insert, moving on");
    for (case, body, said) in [
        (0, "{}", cases[0].unreadable),
        (0, r#"{"ref":null,"project":null}"#, cases[0].unreadable),
        (1, "{}", (200, "OK")),
        (1, r#"{"push":{"changes":null},"repository":{"full_name":"t/a"}}"#, (200, "OK")),
        (1, r#"{"push":{"changes":[{"new":null}]},"repository":{"full_name":"t/a"}}"#, (200, "OK")),
        (2, "{}", no_link),
        (2, r#"{"changes":null,"repository":{"links":{"clone":[]}}}"#, no_link),
        (
            2,
            r#"{"changes":null,"repository":{"links":{"clone":[{"name":"ssh","href":"a"}]}}}"#,
            (200, "OK"),
        ),
        (3, "{}", no_image),
        (3, r#"{"repository":null}"#, no_image),
        (4, r#"{"docker_url":null}"#, no_image),
        (5, "{}", not_inserted),
        (5, r#"{"message":{"data":null}}"#, not_inserted),
        (6, r#"{"type":"pushImage"}"#, undecoded),
        (6, r#"{"type":"pushImage","event_data":{"resources":[]}}"#, undecoded),
        (6, r#"{"type":"pushImage","event_data":{"resources":[{}]}}"#, no_image),
        (6, "{}", (400, "Unexpected event type\n")),
        (7, "{}", (400, "Ignoring component format\n")),
        (7, r#"{"action":"CREATED","component":{"format":"docker"}}"#, no_image),
    ] {
        let (case, sent) = (&cases[case], body);
        assert_eq!(case.send_body(&server, sent).said(), said, "{} {sent}", case.source);
    }
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn row_20_headers_that_come_twice() {
    let (daemon, cases) = (Daemon::start(), cases());
    let server = start(&daemon, &cases);
    for case in &cases {
        for (name, value) in case.headers() {
            let with = |second: &str| {
                let headers = [case.headers(), vec![(name, second)]].concat();
                case.send(&server, &headers, &case.body)
            };
            assert_eq!(with(value).said(), case.good, "{} {name}", case.source);
            let status = match name {
                "X-Gitlab-Token" | "Authorization" | "X-Hub-Signature" => 401,
                "X-Nexus-Webhook-Signature" => 401,
                "Content-Type" => continue,
                _ => 400,
            };
            assert_eq!(with("other").status, status, "{} {name}", case.source);
        }
    }
}

#[test]
fn row_15_upper_case_is_wrong_for_nexus() {
    let (daemon, cases) = (Daemon::start(), cases());
    let server = start(&daemon, &cases);
    let upper = nexus_signature(&cases[7].body).to_uppercase();
    let headers = [cases[7].headers()[0], ("X-Nexus-Webhook-Signature", &upper)];
    let said = cases[7].send(&server, &headers, &cases[7].body);
    assert_eq!(said.said(), (401, "Invalid signature\n"));
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn row_45_requests_of_another_time() {
    let daemon = Daemon::start();
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let config = daemon.config("- {source: StandardWebhooks, keyPath: k}");
    let server = Server::start(&config, &[("k", secret)]);
    let body = r#"{"type":"demo.ping"}"#;
    let sent_at = |late: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let time = now.as_secs().cast_signed() + late;
        let signature = hooks::decide::standard_webhooks::sign(
            secret.as_bytes(),
            "msg_1",
            time,
            body.as_bytes(),
        );
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", &time.to_string()),
            ("webhook-signature", &signature.unwrap()),
        ];
        post(&server, &Server::path(secret), &headers, body).status
    };
    assert_eq!([sent_at(0), sent_at(-290), sent_at(290)], [200; 3]);
    // A second may pass on the way.
    assert_eq!([sent_at(-302), sent_at(302)], [401; 2]);
}

#[test]
fn row_22_a_right_signature_at_another_endpoint() {
    let daemon = Daemon::start();
    let other = "another-key-of-some-length";
    let endpoints = "- {source: GitHub, keyPath: a.key}\n- {source: GitHub, keyPath: b.key}";
    let server = Server::start(&daemon.config(endpoints), &[("a.key", KEY), ("b.key", other)]);
    assert_eq!(github(&server, "main").said(), (200, "OK"));
    daemon.take();
    let body = r#"{"ref":"refs/heads/main","repository":{"ssh_url":"git@h:a"}}"#;
    let headers = [
        ("X-GitHub-Event", "push"),
        ("Content-Type", "application/json"),
        ("X-Hub-Signature-256", &signed(body)),
    ];
    let said = post(&server, &Server::path(other), &headers, body);
    assert_eq!(said.said(), (401, "The GitHub signature header is invalid.\n"));
    assert_eq!(daemon.take(), [""; 0]);
}

/// All at once: each of them takes its ten seconds.
#[test]
fn a_daemon_that_hangs_is_given_ten_seconds_by_all_sources() {
    let (daemon, cases) = (Daemon::start(), cases());
    let server = start(&daemon, &cases);
    daemon.set(Behaviour::Hang);
    std::thread::scope(|scope| {
        for case in &cases {
            let server = &server;
            scope.spawn(move || {
                let start = Instant::now();
                let said = case.send(server, &case.headers(), &case.body);
                let took = start.elapsed();
                assert_eq!(said.said(), case.timed_out, "{}", case.source);
                let right = Duration::from_millis(9900)..Duration::from_secs(13);
                assert!(right.contains(&took), "{} {took:?}", case.source);
            });
        }
    });
}
