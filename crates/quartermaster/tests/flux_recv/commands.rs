//! `check`, `send` and `endpoint new` (contract §3.10).

use std::fs;

use super::kit::*;

#[test]
fn files_are_checked_without_being_served() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("gh.key", KEY);
    // The key itself needs no daemon, and nobody answers there.
    let head = "fluxRecvVersion: 1\napi: http://127.0.0.1:1\nendpoints:\n";
    let check = |endpoints: &str| {
        write("f.yaml", &format!("{head}{endpoints}"));
        Server::output(&["check", "--config", "f.yaml"], directory.path())
    };
    let (code, text) = check("- {name: code, source: GitHub, keyPath: gh.key}\n");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("endpoint GitHub using key gh.key at /hook/92da4a9f…\n"), "{text}");
    let (code, text) = check(
        "- {source: GitHub, keyPath: gh.key}\n- {source: Nothing, keyPath: gh.key}\n\
         - {source: Quay, keyPath: none.key}\n- {source: Harbor, keyPath: gh.key}\n",
    );
    assert_eq!(code, 1);
    for problem in [
        "error: endpoints[1] (Nothing): unknown source \"Nothing\"",
        "error: endpoints[2] (Quay): cannot load key from \"none.key\"",
        "error: endpoints[0] (GitHub) and endpoints[3] (Harbor) have the same path",
    ] {
        let (found, by) = (
            text.contains(problem),
            problem.replace(
                "0] (GitHub) and endpoints[3] (Harbor)",
                "3] (Harbor) and endpoints[0] (GitHub)",
            ),
        );
        assert!(found || text.contains(&by), "{text}");
    }
    assert_eq!(Server::output(&["check", "--nonsense"], directory.path()).0, 2);
}

#[test]
fn samples_are_sent_and_show_what_they_lead_to() {
    let daemon = Daemon::start();
    let config = daemon.config(
        "- {name: images, source: Quay, keyPath: quay.key}\n- {name: code, source: GitHub, keyPath: gh.key}",
    );
    let server =
        Server::start(&config, &[("gh.key", KEY), ("quay.key", "another-key-of-a-length")]);
    let (url, directory) = (format!("--url=http://{}", server.address), server.directory.path());
    let send = |more: &[&str]| {
        let flags = ["send", "--config=fluxrecv.yaml", &url];
        Server::output(&[&flags, more].concat(), directory)
    };
    let told = "tells default: git@code.invalid:quartermaster/sample.git main\n";
    let (code, text) = send(&["--endpoint=code"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\n200 OK\n") && text.contains(told), "{text}");
    assert_eq!(daemon.calls().len(), 1);

    let (code, text) = send(&["--endpoint=1", "--dry-run"]);
    assert!(code == 0 && text.contains(told) && !text.contains("200"), "{text}");
    let (code, text) = send(&["--endpoint=code", "--event=ping"]);
    assert!(code == 0 && text.contains("\nPong\n") && text.contains("nobody is told"), "{text}");
    fs::write(directory.join("body"), "[]").unwrap();
    let (code, text) = send(&["--endpoint=code", "--payload=body"]);
    assert!(code == 1 && text.contains("400 Bad Request") && text.contains("refused:"), "{text}");
    assert_eq!(daemon.calls().len(), 1);
    let (code, text) = send(&[]);
    assert!(code == 0 && text.contains("tells default: "), "{text}");
    assert_eq!(daemon.calls().len(), 2);
    assert_eq!(send(&["--endpoint=other"]).0, 1);
}

#[test]
fn a_new_endpoint_works_as_it_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    let new = ["endpoint", "new", "--source=GitLab"];
    let (code, text) = Server::output(&new, directory.path());
    assert_eq!(code, 0, "{text}");
    let entry = "endpoints:\n- {source: GitLab, keyPath: gitlab.key}\n";
    assert!(text.contains(entry) && text.contains("x-gitlab-token"), "{text}");
    let config = format!("fluxRecvVersion: 1\n{entry}");
    fs::write(directory.path().join("fluxrecv.yaml"), config).unwrap();
    let (code, checked) = Server::output(&["check"], directory.path());
    assert!(code == 0 && !checked.contains("warning"), "{checked}");
    let path = text.lines().find_map(|line| line.strip_prefix("path: ")).unwrap();
    assert!(checked.contains(&path[..14]), "{path} {checked}");
}
