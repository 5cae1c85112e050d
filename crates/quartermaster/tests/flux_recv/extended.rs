//! What goes beyond flux-recv: more sources, more targets, filters, changes while running.

use std::{fs, os::unix::fs::symlink, time::Duration};

use super::kit::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn git(branch: &str) -> String {
    format!(
        r#"{{"Kind":"git","Source":{{"URL":"git@code.example.com:team/app.git","Branch":"{branch}"}}}}"#
    )
}

#[test]
fn row_52_a_wrong_configuration_changes_nothing_and_a_right_one_does() {
    let daemon = Daemon::start();
    let right = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let admin = free_address();
    let flags = [format!("--admin-listen={admin}")];
    let server = Server::start_with(&right, &[("gh.key", KEY)], &flags);
    let ready = || exchange(admin, &request("GET", "/readyz", &[], b"")).unwrap();
    let file = server.directory.path().join("fluxrecv.yaml");
    fs::write(&file, "fluxRecvVersion: 2").unwrap();
    wait_for("the refusal", PATIENCE, || server.stderr().contains("the old configuration stays"));
    let stale = "ready\nthe old configuration stays: \
                 not a valid config file (field fluxRecvVersion != 1)\n";
    wait_for("the detail", PATIENCE, || ready().said() == (200, stale));
    assert_eq!(github(&server, "main").said(), (200, "OK"));
    fs::write(&file, format!("{right}- {{source: Quay, keyPath: quay.key}}\n")).unwrap();
    // The key comes later than the file that names it.
    fs::write(server.directory.path().join("quay.key"), "quay-quay-quay-quay").unwrap();
    let body = r#"{"docker_url":"quay.io/team/app"}"#;
    let path = Server::path("quay-quay-quay-quay");
    wait_for("the new endpoint", PATIENCE, || post(&server, &path, &[], body).status == 200);
    wait_for("no detail", PATIENCE, || ready().said() == (200, "ready\n"));
    assert_eq!(github(&server, "main").said(), (200, "OK"));
}

/// As Kubernetes changes what it mounts: all files at once, by one link.
#[test]
fn mounted_secrets_are_followed() {
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for made in ["..one", "..two"] {
        fs::create_dir(at(made)).unwrap();
    }
    symlink("..one", at("..data")).unwrap();
    for name in ["fluxrecv.yaml", "gh.key"] {
        symlink(format!("..data/{name}"), at(name)).unwrap();
    }
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    fs::write(at("..two/fluxrecv.yaml"), &config).unwrap();
    fs::write(at("..two/gh.key"), KEY).unwrap();
    symlink("..two", at("..new")).unwrap();
    let (new, data) = (at("..new"), at("..data"));
    let flags = ["--admin-listen=none".to_owned()];
    let keys = [("gh.key", "an-older-key-an-older-key")];
    let server = Server::start_in(directory, &config, &keys, &flags);
    assert_eq!(github(&server, "main").status, 404);
    fs::rename(new, data).unwrap();
    wait_for("the new key", PATIENCE, || github(&server, "main").status == 200);
}

#[test]
fn what_only_a_restart_changes_is_said() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let config = format!("{config}delivery: {{store: data, retention: 1h, ack: downstream}}\n");
    let server = Server::start(&config, &[("gh.key", KEY)]);
    let changed = config.replace("1h, ack: downstream", "2h, ack: stored");
    let more =
        "limits: {maxBodyBytes: 10, rate: {exempt: [], perEndpoint: {perSecond: 9, burst: 9}}}";
    let file = server.directory.path().join("fluxrecv.yaml");
    fs::write(file, format!("{changed}{more}\ntrustedProxies: [10.0.0.0/8]\n")).unwrap();
    let said = "needs a restart: trustedProxies, limits.maxBodyBytes, limits.rate.exempt, \
                delivery.retention\n";
    wait_for("the warning", PATIENCE, || server.stderr().contains(said));
    wait_for("the rest", PATIENCE, || github(&server, "main").status == 202);
}

#[test]
fn the_target_that_everybody_has_may_have_a_filter() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let targets = "targets: {default: {type: flux-v1, filter: {branches: [main]}}}";
    let server = Server::start(&format!("{config}{targets}\n"), &[("gh.key", KEY)]);
    for branch in ["feature", "main"] {
        assert_eq!(github(&server, branch).said(), (200, "OK"), "{branch}");
    }
    assert_eq!(daemon.take(), [git("main")]);
    let directory = tempfile::tempdir().unwrap();
    for kind in ["log", "nothing"] {
        let config = format!("fluxRecvVersion: 1\ntargets: {{default: {{type: {kind}}}}}\n");
        fs::write(directory.path().join("fluxrecv.yaml"), config).unwrap();
        let (code, text) = Server::once(&["--listen=127.0.0.1:0"], directory.path());
        let said = "target \"default\": its type is flux-v1, if anything\n";
        assert_eq!((code, text.as_str()), (1, said));
    }
}

#[test]
fn row_53_keys_can_be_swapped_while_requests_come_in() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GitHub, keyPath: gh.key, path: /hook/pinned-path}");
    let server = Server::start(&config, &[("gh.key", "an-older-key-an-older-key")]);
    assert_eq!(github(&server, "main").status, 404);
    fs::write(server.directory.path().join("gh.key"), KEY).unwrap();
    server.signal(rustix::process::Signal::HUP);
    let mut statuses = Vec::new();
    wait_for("the new key", PATIENCE, || {
        statuses.push(github(&server, "main").status);
        statuses.last() == Some(&200)
    });
    assert!(statuses.iter().all(|status| [404, 200].contains(status)), "{statuses:?}");
    assert_eq!(post(&server, &Server::path("an-older-key-an-older-key"), &[], "").status, 404);
}

#[test]
fn http_targets_get_signed_events() {
    let daemon = Daemon::start();
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let config = format!(
        "fluxRecvVersion: 1\n\
         delivery: {{store: data, schedule: [100ms, 100ms]}}\n\
         targets: {{ci: {{type: http, url: \"http://{}/in\", allowHTTP: true, allowCIDRs: [127.0.0.0/8], signingKeyPath: sign.key}}}}\n\
         endpoints: [{{name: code, source: GitHub, keyPath: gh.key, targets: [ci]}}]\n",
        daemon.address
    );
    let server = Server::start(&config, &[("gh.key", KEY), ("sign.key", secret)]);
    daemon.set(Behaviour::Say(500, "", ""));
    assert_eq!(github(&server, "main").status, 500);
    daemon.set(Behaviour::Accept);
    wait_for("the repetition", PATIENCE, || daemon.calls().len() >= 2);
    let calls = daemon.calls();
    let header = |call: usize, name: &str| {
        let found = calls[call].headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    assert_eq!(calls[0].line, "POST /in HTTP/1.1");
    assert_eq!(
        header(0, "webhook-id"),
        header(1, "webhook-id"),
        "the same whenever it is repeated"
    );
    let time = header(1, "webhook-timestamp").parse().unwrap();
    let expected = hooks::decide::standard_webhooks::sign(
        secret.as_bytes(),
        &header(1, "webhook-id"),
        time,
        calls[1].body.as_bytes(),
    );
    assert_eq!(Some(header(1, "webhook-signature")), expected);
    let event: serde_json::Value = serde_json::from_str(&calls[1].body).unwrap();
    assert_eq!(event["kind"], "git.push");
    assert_eq!((&event["endpoint"], &event["branch"]), (&"code".into(), &"main".into()));
    assert!(event["receivedAt"].is_string() && event.get("notice").is_none(), "{event}");
    // A target with side effects is not told twice.
    wait_for("a refusal", PATIENCE, || github(&server, "main").status == 409);
}

#[test]
fn row_39_private_addresses_are_not_called_unless_allowed() {
    let directory = tempfile::tempdir().unwrap();
    for url in ["https://127.0.0.1/", "https://169.254.169.254/latest", "http://example.com/"] {
        let config =
            format!("fluxRecvVersion: 1\ntargets: {{x: {{type: http, url: \"{url}\"}}}}\n");
        fs::write(directory.path().join("fluxrecv.yaml"), config).unwrap();
        let (code, text) = Server::once(&["--listen=127.0.0.1:0"], directory.path());
        assert!(code == 1 && text.contains("target \"x\""), "{url}: {text}");
    }
    // A name is looked up at each call, and what it means then is what counts.
    let daemon = Daemon::start();
    let config = format!(
        "fluxRecvVersion: 1\ntargets: {{x: {{type: http, allowHTTP: true, url: \"http://localhost:{}/\"}}}}\n\
         endpoints: [{{source: GitHub, keyPath: gh.key, targets: [x]}}]\n",
        daemon.address.port()
    );
    let server = Server::start(&config, &[("gh.key", KEY)]);
    assert_eq!(github(&server, "main").status, 500);
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn filters_drop_what_is_not_wanted() {
    let daemon = Daemon::start();
    let config = daemon
        .config("- {source: GitHub, keyPath: gh.key, filter: {branches: [main, \"release/*\"]}}");
    let server = Server::start(&config, &[("gh.key", KEY)]);
    for branch in ["main", "feature", "release/1"] {
        assert_eq!(github(&server, branch).said(), (200, "OK"), "{branch}");
    }
    assert_eq!(daemon.take(), [git("main"), git("release/1")]);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("k"), KEY).unwrap();
    let config = daemon.config("- {source: GitHub, keyPath: k, filter: {branch: [main]}}");
    fs::write(directory.path().join("fluxrecv.yaml"), config).unwrap();
    let (code, text) = Server::once(&["--listen=127.0.0.1:0"], directory.path());
    assert!(code == 1 && text.contains("did you mean \"branches\"?"), "{text}");
}

#[test]
fn senders_that_cannot_sign_bring_a_password() {
    let daemon = Daemon::start();
    let endpoint = "- {source: ACR, keyPath: acr.key, auth: {type: basic, usernamePath: user, passwordPath: pass}}";
    let keys = [("acr.key", KEY), ("user", "me\n"), ("pass", "secret\n")];
    let server = Server::start(&daemon.config(endpoint), &keys);
    let body =
        r#"{"action":"push","target":{"repository":"t/a"},"request":{"host":"r.azurecr.io"}}"#;
    let send = |headers: &[(&str, &str)]| post(&server, &Server::path(KEY), headers, body);
    let refused = send(&[]);
    assert_eq!(refused.said(), (401, "invalid signature\n"));
    assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"hook\""));
    assert_eq!(send(&[("Authorization", "Basic bWU6c2VjcmV0")]).said(), (200, ""));
    assert_eq!(daemon.take().len(), 1);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("k"), KEY).unwrap();
    fs::write(directory.path().join("fluxrecv.yaml"), daemon.config("- {source: ACR, keyPath: k}"))
        .unwrap();
    let (code, text) = Server::once(&["--listen=127.0.0.1:0"], directory.path());
    assert!(code == 1 && text.contains("cannot prove who it is"), "{text}");
}

#[test]
fn operators_see_what_came_in_and_can_have_it_made_again() {
    let daemon = Daemon::start();
    let config = daemon.config("- {name: code, source: GitHub, keyPath: gh.key}");
    let config = format!("{config}delivery: {{store: data, replay: allow, schedule: []}}\n");
    let admin = free_address();
    let flags = [format!("--admin-listen={admin}"), "--admin-token-path=token".to_owned()];
    let keys = [("gh.key", KEY), ("token", "a-token\n")];
    let server = Server::start_with(&config, &keys, &flags);
    let ask = |method: &str, path: &str, token: &str| {
        let token = format!("Bearer {token}");
        let bytes = request(method, path, &[("Authorization", &token)], b"");
        let answer = exchange(admin, &bytes).unwrap();
        (answer.status, serde_json::from_str::<serde_json::Value>(&answer.body).unwrap_or_default())
    };
    daemon.set(Behaviour::Say(500, "", ""));
    assert_eq!(github(&server, "main").status, 500);
    let list = "/api/v1/hooks/deadletters";
    wait_for("death", PATIENCE, || ask("GET", list, "a-token").1["items"][0]["state"] == "dead");
    let id = ask("GET", list, "a-token").1["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/hooks/deliveries/{id}");
    let shown = ask("GET", &path, "a-token").1;
    assert_eq!(
        (&shown["endpoint"], &shown["events"][0]["branch"]),
        (&"code".into(), &"main".into())
    );
    assert_eq!(shown["notifications"][0]["lastError"], "answered 500");
    for token in ["", "wrong", "a-token2"] {
        assert_eq!(ask("GET", &path, token).0, 401);
        assert_eq!(ask("POST", &format!("{path}/redeliver"), token).0, 401);
    }
    daemon.set(Behaviour::Accept);
    daemon.take();
    assert_eq!(ask("POST", &format!("{path}/redeliver"), "a-token").0, 202);
    wait_for("the repetition", PATIENCE, || daemon.told() == [git("main")]);
    wait_for("success", PATIENCE, || ask("GET", &path, "a-token").1["state"] == "delivered");
    assert_eq!(ask("POST", "/api/v1/hooks/deliveries/none/redeliver", "a-token").0, 404);
    let endpoints = ask("GET", "/api/v1/hooks/endpoints", "a-token").1;
    assert_eq!(endpoints["items"][0]["name"], "code");
    assert!(!endpoints.to_string().contains(&Server::path(KEY)), "{endpoints}");
    let metrics = exchange(admin, &request("GET", "/metrics", &[], b"")).unwrap().body;
    let line = "qm_hook_requests_total{endpoint=\"code\",source=\"GitHub\",code=\"500\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(exchange(admin, &request("GET", "/readyz", &[], b"")).unwrap().status, 200);
}

#[test]
fn requests_are_passed_on_as_they_came() {
    let daemon = Daemon::start();
    let config = format!(
        "fluxRecvVersion: 1\n\
         delivery: {{store: data, schedule: [100ms, 100ms], encryptionKeyPath: seal.key}}\n\
         targets:\n\
         \x20 inner: {{type: relay, url: \"http://{0}/in\", allowHTTP: true, allowCIDRs: [127.0.0.0/8]}}\n\
         \x20 both: {{type: relay, url: \"http://{0}/both\", forwardAuth: true, allowHTTP: true, allowCIDRs: [127.0.0.0/8]}}\n\
         endpoints:\n\
         - {{source: GitHub, keyPath: gh.key, targets: [inner]}}\n\
         - {{source: GitLab, keyPath: gl.key, targets: [inner, both]}}\n",
        daemon.address
    );
    let keys =
        [("gh.key", KEY), ("gl.key", "gitlab-gitlab-gitlab"), ("seal.key", "0123456789abcdef")];
    let server = Server::start(&config, &keys);
    // The first attempt fails, so that the second one is made of what the journal keeps.
    daemon.set(Behaviour::Say(500, "", ""));
    assert_eq!(github(&server, "main").status, 500);
    daemon.set(Behaviour::Accept);
    wait_for("the repetition", PATIENCE, || daemon.calls().len() >= 2);
    let call = daemon.calls().pop().unwrap();
    let header = |call: &Call, name: &str| {
        call.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    assert_eq!(call.line, "POST /in HTTP/1.1");
    assert_eq!(header(&call, "x-hub-signature-256"), Some(signed(&call.body)));
    assert_eq!(header(&call, "x-github-event").as_deref(), Some("push"));
    daemon.take();

    let body = r#"{"ref":"refs/heads/main","project":{"git_ssh_url":"git@h:t/a.git"}}"#;
    let headers = [("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", "gitlab-gitlab-gitlab")];
    assert_eq!(post(&server, &Server::path("gitlab-gitlab-gitlab"), &headers, body).status, 200);
    let calls = daemon.calls();
    let token = |line: &str| {
        let call = calls.iter().find(|call| call.line.contains(line)).unwrap();
        assert_eq!(call.body, body);
        header(call, "x-gitlab-token")
    };
    assert_eq!(token("/in"), None, "a token is passed on only to whom the owner says");
    assert_eq!(token("/both").as_deref(), Some("gitlab-gitlab-gitlab"));
    let journal = fs::read(server.directory.path().join("data/journal.redb")).unwrap();
    let holds = |text: &[u8]| journal.windows(text.len()).any(|window| window == text);
    assert!(!holds(b"gitlab-gitlab-gitlab"), "what is kept is encrypted");
}

#[test]
fn senders_of_cloud_events_ask_before() {
    let daemon = Daemon::start();
    let endpoint = "- {source: CloudEvents, keyPath: k, insecure: true, allowedOrigins: [a.example]}\n\
                    - {source: GitHub, keyPath: gh.key}";
    let server =
        Server::start(&daemon.config(endpoint), &[("k", KEY), ("gh.key", "another-key-another")]);
    let ask = |key: &str, origin: &str| {
        let headers = [("WebHook-Request-Origin", origin)];
        exchange(server.address, &request("OPTIONS", &Server::path(key), &headers, b"")).unwrap()
    };
    let allowed = ask(KEY, "a.example");
    assert_eq!(
        (allowed.status, allowed.header("webhook-allowed-origin")),
        (200, Some("a.example"))
    );
    assert_eq!(allowed.header("webhook-allowed-rate"), Some("12000"));
    assert_eq!(ask(KEY, "b.example").status, 403);
    let other = ask("another-key-another", "a.example");
    assert_eq!((other.status, other.header("allow")), (405, Some("POST")));
}

#[test]
fn addresses_can_be_limited() {
    let daemon = Daemon::start();
    let endpoint = "- {source: GitHub, keyPath: gh.key, allowCIDRs: [192.0.2.0/24]}";
    let server = Server::start(&daemon.config(endpoint), &[("gh.key", KEY)]);
    assert_eq!(github(&server, "main").said(), (403, "forbidden\n"));
    assert_eq!(daemon.take(), [""; 0]);
}

/// A kubeconfig of a cluster at this address.
fn kubeconfig(address: std::net::SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\n\
         users: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u, namespace: apps}}}}]\n"
    )
}

const CLUSTERED: &str = "delivery: {ack: downstream, store: data}
targets:
  cluster: {type: flux-v2, auto: true}
  data: {type: dataset-refresh, debounce: 30s}
  argo: {type: argocd, namespace: argo, resources: [{kind: Application, name: app}]}
  job: {type: kubernetes, action: run, resources: [{kind: CronJob, name: import}]}
  notebooks: {type: workspace, action: restart, resources: [{kind: Workspace, name: nb}]}
  mark: {type: kubernetes, annotation: {key: a.example/b, value: x}, resources: [{apiVersion: v1, kind: ConfigMap, name: c}]}
endpoints:
- {name: code, source: GitHub, keyPath: code.key, keyPaths: [code.key, code-old.key], targets: [default, cluster, argo],
   filter: {branches: [main, \"release/*\"], cel: \"!event.deleted\"}}
- {name: bucket, source: MinIO, keyPath: bucket.key, targets: [data], filter: {keys: [\"scenes/**\"]}}
";

#[test]
fn targets_may_be_objects_of_a_cluster() {
    let (daemon, cluster) = (Daemon::start(), Daemon::start());
    let config =
        format!("fluxRecvVersion: 1\napi: http://{}/api/flux\n{CLUSTERED}", daemon.address);
    let object = r#"{"apiVersion":"argoproj.io/v1alpha1","kind":"Application","metadata":{"name":"app","namespace":"argo"},"spec":{"source":{"repoURL":"a"}},"items":[]}"#;
    cluster.set(Behaviour::Say(200, object, "Content-Type: application/json\r\n"));
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig_at = directory.path().join("kubeconfig");
    let keys = [
        ("code.key", KEY),
        ("code-old.key", "an-old-key-an-old-key"),
        ("bucket.key", "bucket-bucket-bucket"),
    ];
    for (name, key) in keys {
        fs::write(directory.path().join(name), key).unwrap();
    }
    fs::write(directory.path().join("fluxrecv.yaml"), &config).unwrap();
    let (code, text) = Server::output(&["check"], directory.path());
    assert!(code == 0 && !text.contains("error"), "{text}");
    // There is no cluster, and only who needs one is stopped.
    let (code, text) = Server::once(&["--listen=127.0.0.1:0"], directory.path());
    assert!(code == 1 && text.starts_with("targets need a cluster: "), "{code} {text}");
    assert_eq!(text.lines().count(), 1, "{text}");

    fs::write(kubeconfig_at, kubeconfig(cluster.address)).unwrap();
    let server = Server::start_in(directory, &config, &[], &["--admin-listen=none".to_owned()]);
    github(&server, "main");
    let lines = || cluster.calls().into_iter().map(|call| call.line).collect::<Vec<_>>();
    let path = "/apis/argoproj.io/v1alpha1/namespaces/argo/applications/app";
    wait_for("the annotation", PATIENCE, || {
        lines().iter().any(|line| line.starts_with(&format!("PATCH {path}?")))
    });
    assert!(lines().iter().any(|line| line.contains("/namespaces/apps/gitrepositories?")));
    assert_eq!(daemon.told(), [git("main")]);
}

#[test]
fn targets_that_do_not_fit_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for (target, problem) in [
        ("{type: kubernetes}", "action and annotation do not fit the type"),
        ("{type: flux-v2, action: restart}", "action and annotation do not fit the type"),
        ("{type: argocd, url: \"https://a.example\"}", "apiTokenPath is missing"),
        ("{type: cluster}", "unknown type \"cluster\""),
    ] {
        let config = format!("fluxRecvVersion: 1\ntargets: {{x: {target}}}\n");
        fs::write(directory.path().join("fluxrecv.yaml"), config).unwrap();
        let (code, text) = Server::output(&["check"], directory.path());
        assert!(code == 1 && text.contains("error: target \"x\": "), "{text}");
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn senders_prove_themselves_as_the_file_says() {
    let daemon = Daemon::start();
    let config = daemon.config(
        "- {source: Artifactory, keyPath: art.key, tokenMode: plain}\n\
         - {source: CephRGW, keyPath: ceph.key, opaqueTokenPath: opaque}",
    );
    let keys = ["art-art-art-art-art", "ceph-ceph-ceph-ceph"];
    let files = [("art.key", keys[0]), ("ceph.key", keys[1]), ("opaque", "s3cret\n")];
    let server = Server::start(&config, &files);
    let image = r#"{"domain":"docker","event_type":"pushed","jpd_origin":"https://reg.example.com",
        "data":{"image_name":"team/app","tag":"1","repo_key":"docker"}}"#;
    let artifactory = |token: &str| {
        post(&server, &Server::path(keys[0]), &[("X-JFrog-Event-Auth", token)], image).status
    };
    assert_eq!([artifactory(keys[0]), artifactory("other")], [200, 401]);
    assert_eq!(daemon.take().len(), 1);
    let ceph = |token: &str| {
        let record = format!(
            r#"{{"Records":[{{"eventName":"ObjectCreated:Put","opaqueData":"{token}",
            "s3":{{"bucket":{{"name":"b"}},"object":{{"key":"k"}}}}}}]}}"#
        );
        post(&server, &Server::path(keys[1]), &[], &record).status
    };
    assert_eq!([ceph("s3cret"), ceph("other")], [200, 401]);
}

#[test]
fn a_daemon_has_the_time_that_the_file_gives_it() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GitHub, keyPath: gh.key}");
    let config = format!("{config}targets: {{default: {{timeout: 1s}}}}\n");
    let server = Server::start(&config, &[("gh.key", KEY)]);
    daemon.set(Behaviour::Hang);
    let start = std::time::Instant::now();
    assert_eq!(github(&server, "main").status, 408);
    let took = start.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_secs(9)).contains(&took), "{took:?}");
}
