//! Whole answers, one case after the other, for a snapshot.

use std::fmt::Write;

use axum::body::Body;
use http::{HeaderName, Method, header};
use serde_json::{Value, json};

use crate::harness::{Answer, Server, request};

/// What a route said, case by case.
#[derive(Default)]
pub(crate) struct Record(String);

impl Record {
    pub(crate) fn add(&mut self, case: &str, answer: &Answer) {
        let _ = writeln!(self.0, "# {case}\n{}\n", answer.show());
    }

    /// Adds how a route refuses somebody without rights.
    pub(crate) async fn add_stranger(&mut self, server: &Server, method: Method, path: &str) {
        self.add_stranger_with(server, method, path, &json!({"data": {}})).await;
    }

    /// The same with a body that passes all checks that come before.
    pub(crate) async fn add_stranger_with(
        &mut self,
        server: &Server,
        method: Method,
        path: &str,
        body: &Value,
    ) {
        let mut request = request(method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let stranger = web::Identity { user: "eve".into(), groups: Vec::new() };
        request.extensions_mut().insert(stranger);
        self.add("a stranger", &server.send_as_is(request).await);
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

/// Sends a JSON body with one more header.
pub(crate) async fn send_with(
    server: &Server,
    method: Method,
    path: &str,
    (name, value): (HeaderName, &str),
    body: &Value,
) -> Answer {
    let request = request(method, path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(name, value)
        .body(Body::from(body.to_string()))
        .unwrap();
    server.send(request).await
}

pub(crate) async fn put(server: &Server, path: &str, body: &Value) -> Answer {
    put_text(server, path, body.to_string()).await
}

pub(crate) async fn put_text(server: &Server, path: &str, body: String) -> Answer {
    let request = request(Method::PUT, path).header(header::CONTENT_TYPE, "application/json");
    server.send(request.body(Body::from(body)).unwrap()).await
}

/// Asks in another generation of the contract.
pub(crate) async fn get_old(server: &Server, path: &str) -> Answer {
    let request = request(Method::GET, path).header("x-api-profile", "2025-07");
    server.send(request.body(Body::empty()).unwrap()).await
}
