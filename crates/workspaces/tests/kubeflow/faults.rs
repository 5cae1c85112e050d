//! The cluster fails in every way it can; callers get an answer that is true.

use std::fmt::Write;

use http::{Method, header};
use insta::assert_snapshot;
use serde_json::json;

use crate::harness::{Fault, SOON, Server, kind, workspace};

#[tokio::test]
async fn every_fault_has_an_answer() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let mut said = String::new();
    for (case, fault) in [
        ("conflict", Fault::Status(409, "Conflict")),
        ("gone", Fault::Status(410, "Gone")),
        ("too many requests", Fault::Status(429, "TooManyRequests")),
        ("unauthorized", Fault::Status(401, "Unauthorized")),
        ("forbidden", Fault::Status(403, "Forbidden")),
        ("broken", Fault::Status(500, "InternalError")),
        ("unavailable", Fault::Status(503, "ServiceUnavailable")),
        ("disk full", Fault::Status(507, "")),
        ("timeout", Fault::Timeout),
        ("torn", Fault::Torn),
    ] {
        server.faults.set(Method::POST, fault.clone());
        let create = server.post("/api/v1/workspaces/team-a", &workspace("new")).await;
        let yaml = kind("new").to_string();
        let create_kind =
            server.post_text("/api/v1/workspacekinds", "application/yaml", yaml).await;
        server.faults.set(Method::PATCH, fault.clone());
        let path = "/api/v1/workspaces/team-a/lab/actions/pause";
        let pause = server.post(path, &json!({"data": {"paused": true}})).await;
        server.faults.set(Method::DELETE, fault.clone());
        let delete = server.delete("/api/v1/workspaces/team-a/lab").await;
        server.faults.set(Method::GET, fault);
        let claim = server.delete("/api/v1/persistentvolumeclaims/team-a/home").await;
        let _ = writeln!(said, "{case}");
        for (what, answer) in [
            ("create", create),
            ("create kind", create_kind),
            ("pause", pause),
            ("delete", delete),
            ("delete claim", claim),
        ] {
            let retry = answer.header(header::RETRY_AFTER);
            let retry = if retry.is_empty() { "" } else { " (with Retry-After)" };
            let _ = writeln!(said, "  {what}: {}{retry}", answer.error().replace('\n', "\n    "));
        }
        let _ = writeln!(said);
    }
    assert_snapshot!(said);
}

#[tokio::test]
async fn reads_from_memory_go_on_while_the_cluster_is_away() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    server.faults.set(Method::GET, Fault::Timeout);
    for path in [
        "/workspaces",
        "/workspaces/team-a/lab",
        "/workspacekinds",
        "/namespaces",
        "/storageclasses",
        "/persistentvolumeclaims/team-a",
    ] {
        let answer = server.get(&format!("/api/v1{path}")).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.show());
    }
}

/// Whoever binds a new claim writes to it; that is no conflict of the caller's.
#[tokio::test]
async fn a_claim_that_changes_while_it_is_deleted_is_deleted() {
    let server = Server::start().await;
    let path = "/api/v1/persistentvolumeclaims/team-a";
    let claim = json!({"data": {
        "name": "busy", "accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
        "requests": {"storage": "1Gi"},
    }});
    let made = server.post(path, &claim).await;
    assert_eq!(made.status.as_u16(), 201, "{}", made.show());
    let busy = format!("{path}/busy");
    server.faults.set_times(Method::DELETE, Fault::Status(409, "Conflict"), 2);
    assert_eq!(server.delete(&busy).await.status.as_u16(), 204);
    // A real cluster looks first whether a pod uses it.
    let key = cluster::Key::new(Some("team-a"), "busy");
    assert!(server.caches.pvcs.wait_for(&key, SOON, |claim| claim.is_none()).await);
    assert_eq!(server.delete(&busy).await.status.as_u16(), 404);
}

#[tokio::test]
async fn before_the_first_list_nothing_is_made_up() {
    let server = Server::without_cluster().await;
    assert_snapshot!("unhealthy", server.get("/api/v1/healthcheck").await.show());
    for path in ["/workspaces", "/workspaces/team-a/lab", "/workspacekinds", "/namespaces"] {
        let answer = server.get(&format!("/api/v1{path}")).await;
        assert_eq!(answer.error(), "503 the server is starting; try again", "{path}");
        assert_eq!(answer.header(header::RETRY_AFTER), "1");
    }
}

/// Bodies with random damage: refused or accepted, but never a reason to break.
#[tokio::test]
async fn damaged_bodies_are_the_callers_fault() {
    let server = Server::start().await;
    let json = workspace("w").to_string().into_bytes();
    let yaml = kind("k").to_string().into_bytes();
    let mut state = 11_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..300 {
        let (path, media_type, mut body) = match round % 2 {
            0 => ("/api/v1/workspaces/team-a", "application/json", json.clone()),
            _ => ("/api/v1/workspacekinds", "application/yaml", yaml.clone()),
        };
        for _ in 0..=random(4) {
            let at = random(body.len());
            match random(4) {
                0 => body[at] = u8::try_from(random(256)).unwrap(),
                1 => drop(body.remove(at)),
                2 => body.insert(at, b"{}[]\":,0-&*\n"[random(12)]),
                _ => body.truncate(at + 1),
            }
        }
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = server.post_text(path, media_type, body).await;
        assert!(!answer.status.is_server_error(), "{shown}\n{}", answer.show());
    }
}
