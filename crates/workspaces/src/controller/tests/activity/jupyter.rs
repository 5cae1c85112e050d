//! A Jupyter server that says what a test wants.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What it answers.
#[derive(Clone)]
pub(super) struct Says {
    pub(super) active: i64,
    pub(super) kernels: Vec<&'static str>,
    pub(super) status: u16,
    pub(super) body: Option<String>,
    pub(super) silent: bool,
}

impl Says {
    pub(super) fn active(active: i64) -> Self {
        Self { active, kernels: Vec::new(), status: 200, body: None, silent: false }
    }
}

struct Shared {
    says: Mutex<Says>,
    asked: Mutex<Vec<String>>,
}

pub(super) struct Jupyter {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

impl Jupyter {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { says: Mutex::new(Says::active(0)), asked: Mutex::default() });
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared, _server: AbortOnDropHandle::new(server) }
    }

    pub(super) fn says(&self, says: Says) {
        *self.shared.says.lock() = says;
    }

    /// What it was asked since the last call.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.asked.lock())
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.asked.lock().push(format!("{} {}", request.method(), request.uri().path()));
    let says = shared.says.lock().clone();
    if says.silent {
        std::future::pending::<()>().await;
    }
    let body = if request.uri().path().ends_with("/api/kernels") {
        let kernel = |state: &&str| json!({"id": "k", "execution_state": state});
        says.kernels.iter().map(kernel).collect::<serde_json::Value>().to_string()
    } else {
        let active = jiff::Timestamp::from_millisecond(says.active).unwrap().to_string();
        let status = json!({
            "connections": 0, "kernels": says.kernels.len(), "last_activity": active,
            "started": "2026-01-01T00:00:00Z",
        });
        says.body.unwrap_or_else(|| status.to_string())
    };
    let now = jiff::Timestamp::from_millisecond(super::now()).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    Response::builder()
        .status(says.status)
        .header("date", date.unwrap())
        .header("location", "http://127.0.0.1:1/elsewhere")
        .body(Body::from(body))
        .unwrap()
}
