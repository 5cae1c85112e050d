//! The cluster fails under kinds, Secrets, pictures, events and quotas; callers get an answer that
//! is true.

use std::fmt::Write;

use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use serde_json::json;

use crate::{
    harness::{Answer, Fault, Server},
    record::put,
};

const KIND: &str = "/api/v1/workspacekinds/lab";
const SECRETS: &str = "/api/v1/secrets/team-a";
const SECRET: &str = "/api/v1/secrets/team-a/keys";
const LAB: &str = "/api/v1/workspaces/team-a/lab/podtemplate";

fn line(answer: &Answer) -> String {
    let retry = answer.header(header::RETRY_AFTER);
    let retry = if retry.is_empty() { "" } else { " (with Retry-After)" };
    let text = match answer.status {
        StatusCode::OK => format!("200 {}", answer.text()),
        _ => answer.error(),
    };
    format!("{}{retry}", text.replace('\n', "\n    "))
}

#[tokio::test]
async fn every_fault_has_an_answer() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let new = json!({"data": {"name": "keys"}});
    assert_eq!(server.post(SECRETS, &new).await.status, StatusCode::CREATED);
    let kind = server.get(KIND).await.json();
    let change = json!({"data": {"contents": {}}});
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
        let mut answers = Vec::new();
        server.faults.set(Method::PUT, fault.clone());
        answers.push(("edit kind", put(&server, KIND, &kind).await));
        answers.push(("change secret", put(&server, SECRET, &change).await));
        server.faults.set(Method::POST, fault.clone());
        let other = json!({"data": {"name": "other"}});
        answers.push(("create secret", server.post(SECRETS, &other).await));
        server.faults.set(Method::DELETE, fault.clone());
        answers.push(("delete secret", server.delete(SECRET).await));
        server.faults.set(Method::GET, fault);
        answers.push(("read kind to edit it", put(&server, KIND, &kind).await));
        for (what, path) in [
            ("list secrets", SECRETS.to_owned()),
            ("get secret", SECRET.to_owned()),
            ("picture", format!("{KIND}/assets/logo")),
            ("events", format!("{LAB}/events")),
            ("quotas", "/api/v1/quotas/team-a".to_owned()),
        ] {
            answers.push((what, server.get(&path).await));
        }
        let _ = writeln!(said, "{case}");
        for (what, answer) in answers {
            let _ = writeln!(said, "  {what}: {}", line(&answer));
        }
        let _ = writeln!(said);
    }
    assert_snapshot!(said);
}

/// A fault is not remembered: the metrics API may be there a moment later.
#[tokio::test]
async fn a_cluster_that_is_away_is_not_one_without_metrics() {
    let server = Server::start().await;
    server.make_workspace("lab").await;
    let path = format!("{LAB}/resources");
    server.faults.set(Method::GET, Fault::Timeout);
    assert_eq!(server.get(&path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    server.faults.set_times(Method::GET, Fault::Timeout, 0);
    let answer = server.get(&path).await;
    assert_eq!(answer.json(), json!({"data": {"error": "METRICS_API_NOT_AVAILABLE"}}));
}

/// What is read from memory goes on while the cluster is away.
#[tokio::test]
async fn reads_from_memory_go_on() {
    let server = Server::start().await;
    server.faults.set(Method::GET, Fault::Timeout);
    for path in [format!("{KIND}/filterrules/explain"), KIND.to_owned()] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.show());
    }
    let values = format!("{KIND}/podtemplate/options/listvalues");
    let answer = server.post(&values, &json!({"data": {}})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
}
