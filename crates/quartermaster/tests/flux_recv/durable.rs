//! Nothing that was answered with success is lost: rows 42 to 51 of §5, and kills under load.

use std::{
    collections::HashSet,
    io::Write as _,
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::kit::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn quay(server: &Server) -> Answer {
    post(server, &Server::path(KEY), &[], r#"{"docker_url":"quay.io/team/app"}"#)
}

/// A journalled GitHub endpoint with quick retries.
fn journalled(daemon: &Daemon, delivery: &str) -> String {
    let config = daemon.config("- {name: code, source: GitHub, keyPath: gh.key}");
    format!(
        "{config}delivery: {{store: data, schedule: [{}], {delivery}}}\n\
         targets: {{default: {{rate: 100000, maxConcurrency: 8, probe: 100ms}}}}\n\
         limits: {{rate: {{perEndpoint: {{perSecond: 1000000, burst: 1000000}}}}}}\n",
        ["100ms"; 60].join(", ")
    )
}

fn push(server: &Server, branch: &str, id: &str) -> Answer {
    let body = body(branch);
    post(server, &Server::path(KEY), &headers(&signed(&body), id), &body)
}

fn body(branch: &str) -> String {
    format!(r#"{{"ref":"refs/heads/{branch}","repository":{{"ssh_url":"git@h:t/a.git"}}}}"#)
}

fn headers<'a>(signature: &'a str, id: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", id),
        ("Content-Type", "application/json"),
        ("X-Hub-Signature-256", signature),
    ]
}

fn branch(told: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(told).unwrap();
    value["Source"]["Branch"].as_str().unwrap().to_owned()
}

#[test]
fn row_48_failed_image_notifications_are_made_later() {
    let daemon = Daemon::start();
    daemon.set(Behaviour::Say(500, "", ""));
    let server = Server::start(&daemon.config("- {source: Quay, keyPath: k}"), &[("k", KEY)]);
    assert_eq!(quay(&server).said(), (200, ""));
    assert_eq!(daemon.take().len(), 1);
    daemon.set(Behaviour::Accept);
    wait_for("the repetition", PATIENCE, || daemon.told().len() == 1);
}

#[test]
fn row_50_a_kill_after_the_answer_loses_nothing() {
    let daemon = Daemon::start();
    daemon.set(Behaviour::Reset);
    let mut server = Server::start(&daemon.config("- {source: Quay, keyPath: k}"), &[("k", KEY)]);
    assert_eq!(quay(&server).said(), (200, ""));
    server.kill();
    daemon.set(Behaviour::Accept);
    daemon.take();
    server.restart();
    wait_for("the notification", PATIENCE, || daemon.told().len() == 1);
}

#[test]
fn row_51_without_a_store_there_is_no_false_success() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: Quay, keyPath: k}");
    // A plain file runs without its directory, and says so.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("data"), "a file").unwrap();
    std::fs::write(directory.path().join("k"), KEY).unwrap();
    let file = directory.path().join("fluxrecv.yaml");
    std::fs::write(&file, format!("{config}delivery: {{store: data}}\n")).unwrap();
    let (code, text) = Server::once(&["--listen=127.0.0.1:0"], directory.path());
    assert!(code == 1 && text.contains("cannot use the directory data"), "{text}");
    let tiny = format!("{config}delivery: {{store: data, maxStoreBytes: 1}}\n");
    let admin = free_address();
    let flags = [format!("--admin-listen={admin}")];
    let server = Server::start_with(&tiny, &[("k", KEY)], &flags);
    let ready = || exchange(admin, &request("GET", "/readyz", &[], b"")).unwrap().status;
    assert_eq!(ready(), 200);
    daemon.set(Behaviour::Say(500, "", ""));
    assert_eq!(quay(&server).said(), (200, ""), "the first one fits");
    let answer = post(&server, &Server::path(KEY), &[], r#"{"docker_url":"quay.io/team/other"}"#);
    assert_eq!(answer.said(), (503, "cannot store the event now\n"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(ready(), 503);
}

#[test]
fn stored_events_are_acknowledged_and_told() {
    let daemon = Daemon::start();
    daemon.set(Behaviour::Hang);
    let server = Server::start(&journalled(&daemon, "ack: stored"), &[("gh.key", KEY)]);
    let answer = push(&server, "main", "1");
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let id = answer.header("x-quartermaster-delivery").unwrap();
    assert_eq!(answer.body, format!(r#"{{"id":"{id}","status":"accepted"}}"#));
    wait_for("the notification", PATIENCE, || daemon.told().len() == 1);
}

#[test]
fn row_42_repeats_are_answered_and_not_told() {
    let daemon = Daemon::start();
    let server = Server::start(&journalled(&daemon, "ack: downstream"), &[("gh.key", KEY)]);
    let first = push(&server, "main", "1");
    assert_eq!((first.said(), first.header("x-quartermaster-duplicate")), ((200, "OK"), None));
    // The note of success is on its way to the journal.
    wait_for("a duplicate", PATIENCE, || {
        push(&server, "main", "1").header("x-quartermaster-duplicate") == Some("true")
    });
    let told = daemon.take().len();
    let again = push(&server, "main", "1");
    assert_eq!(
        (again.said(), again.header("x-quartermaster-duplicate")),
        ((200, "OK"), Some("true"))
    );
    assert_eq!((daemon.take().len(), told <= 2), (0, true));
    // Row 44: the same id with another body is another event.
    assert_eq!(push(&server, "other", "1").header("x-quartermaster-duplicate"), None);
    assert_eq!(daemon.take().len(), 1);
}

#[test]
fn row_43_repeats_can_be_refused() {
    let daemon = Daemon::start();
    let server = Server::start(&journalled(&daemon, "replay: reject"), &[("gh.key", KEY)]);
    assert_eq!(push(&server, "main", "1").said(), (200, "OK"));
    wait_for("a refusal", PATIENCE, || push(&server, "main", "1").status == 409);
    daemon.take();
    assert_eq!(push(&server, "main", "1").said(), (409, "duplicate delivery\n"));
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn row_46_a_flood_of_the_same_becomes_a_handful() {
    let daemon = Daemon::start();
    let server =
        Server::start(&journalled(&daemon, "ack: stored, replay: allow"), &[("gh.key", KEY)]);
    daemon.set(Behaviour::Hang);
    let body = body("main");
    let signature = signed(&body);
    std::thread::scope(|scope| {
        for thread in 0..50 {
            let (server, body, signature) = (&server, &body, &signature);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(server.address).unwrap();
                for number in 0..200 {
                    let id = format!("{thread}-{number}");
                    let headers = headers(signature, &id);
                    let path = Server::path(KEY);
                    let bytes = request("POST", &path, &headers, body.as_bytes());
                    stream.write_all(&bytes).unwrap();
                    assert_eq!(answer(&mut stream).unwrap().status, 202);
                }
            });
        }
    });
    assert!(daemon.told().len() < 20, "{}", daemon.told().len());
    let file = server.directory.path().join("data/journal.redb");
    let bytes = std::fs::metadata(file).unwrap().len();
    assert!(bytes < 128 << 20, "10,000 events take {bytes} bytes");
}

/// A disk that is full: the kernel lets the receiver write no byte more than it has written.
#[test]
fn row_51_a_full_disk_is_said_and_forgiven() {
    let daemon = Daemon::start();
    let admin = free_address();
    let flags = [format!("--admin-listen={admin}")];
    let config = journalled(&daemon, "ack: stored, replay: allow");
    let server = Server::start_with(&config, &[("gh.key", KEY)], &flags);
    let ready = || exchange(admin, &request("GET", "/readyz", &[], b"")).unwrap().status;
    assert_eq!((push(&server, "first", "1").status, ready()), (202, 200));
    server.limit_files(Some(4096));
    let answer = push(&server, "second", "2");
    assert_eq!(answer.said(), (503, "cannot store the event now\n"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(ready(), 503);
    server.limit_files(None);
    wait_for("room", PATIENCE, || push(&server, "third", "3").status == 202);
    assert_eq!(ready(), 200);
    let told = || daemon.told().iter().map(|told| branch(told)).collect::<HashSet<_>>();
    wait_for("both", PATIENCE, || told().contains("first") && told().contains("third"));
    assert!(!told().contains("second"), "what was refused is not told");
}

#[test]
fn downstream_failures_are_answered_and_repaired() {
    let daemon = Daemon::start();
    daemon.set(Behaviour::Say(503, "", ""));
    let server = Server::start(&journalled(&daemon, "ack: downstream"), &[("gh.key", KEY)]);
    let text = "Error while calling downstream API\n";
    assert_eq!(push(&server, "main", "1").said(), (500, text));
    wait_for("more attempts", PATIENCE, || daemon.told().len() > 3);
    daemon.set(Behaviour::Accept);
    daemon.take();
    wait_for("the repetition", PATIENCE, || !daemon.told().is_empty());
}

/// Under load from several senders the receiver is killed again and again. Every accepted event
/// arrives at least once, and none that was refused. `HOOKS_KILLS` says how often.
#[test]
fn kills_under_load_lose_nothing() {
    let kills: usize = std::env::var("HOOKS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let daemon = Daemon::start();
    let config = journalled(&daemon, "ack: stored");
    let mut server = Server::start(&config, &[("gh.key", KEY)]);
    let address = server.address;
    let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let accepted = Arc::new(Mutex::new(HashSet::new()));
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (over, next, accepted) =
                (Arc::clone(&over), Arc::clone(&next), Arc::clone(&accepted));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let forged = number % 5 == 0;
                    let branch =
                        if forged { format!("forged{number}") } else { format!("b{number}") };
                    let body = body(&branch);
                    let signature = if forged { signed("other") } else { signed(&body) };
                    let bytes = request(
                        "POST",
                        &Server::path(KEY),
                        &headers(&signature, &branch),
                        body.as_bytes(),
                    );
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    let _ = stream.write_all(&bytes);
                    match answer(&mut stream).map(|answer| answer.status) {
                        Some(202) => drop(accepted.lock().unwrap().insert(branch)),
                        Some(401) if forged => {}
                        None => {}
                        Some(other) => panic!("{other} for {branch}"),
                    }
                }
            })
        })
        .collect();
    for kill in 0..kills {
        let before = accepted.lock().unwrap().len();
        // Killed at ever other moments: after some were accepted, in the middle of more.
        wait_for("progress", PATIENCE, || accepted.lock().unwrap().len() > before + 7 * (kill % 9));
        server.kill();
        server.restart();
    }
    over.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let accepted = accepted.lock().unwrap().clone();
    let arrived = || daemon.told().iter().map(|told| branch(told)).collect::<HashSet<_>>();
    wait_for("every accepted event", Duration::from_secs(60), || accepted.is_subset(&arrived()));
    assert!(arrived().iter().all(|branch| !branch.starts_with("forged")));
    assert!(accepted.len() > kills, "{} accepted", accepted.len());
    let (sent, told) = (next.load(Ordering::Relaxed), arrived().len());
    // Figures for whoever runs it for long.
    let _ = writeln!(
        std::io::stderr(),
        "{kills} kills: {sent} sent, {} accepted, {told} told, none of them forged",
        accepted.len()
    );
}
