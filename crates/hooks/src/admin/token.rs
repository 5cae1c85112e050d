//! The operators' listener of a program that has no other: probes for everybody, the rest for who
//! holds the token.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use tokio::sync::watch;
use web::{Error, Handler, Head, Kind, listener::Stack, metrics};

use super::{Admin, Gate, answer::Problem, router, trouble};
use crate::{decide::signature::equal, receive::Receiver};

/// What the program says of itself to who asks whether it is ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Whether it is ending.
    pub ending: watch::Receiver<bool>,
    /// Why the configuration in use is not the one in the files.
    pub stale: watch::Receiver<Option<String>>,
}

impl Readiness {
    /// The answer, if this keeps the receiver from keeping its word. With an old configuration it is
    /// as ready as before, and says so.
    fn answer(&self, trouble: Option<String>) -> (StatusCode, String) {
        let trouble = self.ending.borrow().then(|| "ending".to_owned()).or(trouble);
        match (trouble, &*self.stale.borrow()) {
            (Some(trouble), _) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
            (None, Some(why)) => {
                (StatusCode::OK, format!("ready\nthe old configuration stays: {why}\n"))
            }
            (None, None) => (StatusCode::OK, "ready\n".to_owned()),
        }
    }
}

/// Probes, counts and the API, with `url` before the paths of endpoints. Without a token nobody may
/// see or do anything but ask how it is.
pub fn listener(
    receiver: Arc<Receiver>,
    token: Option<Vec<u8>>,
    url: Option<String>,
    readiness: Readiness,
) -> Handler {
    let admin = Arc::new(Admin::new(Arc::clone(&receiver), Gate::Operators, url));
    let mut registry = metrics::registry();
    admin.register(&mut registry);
    let registry = Arc::new(registry);
    let token: Option<Arc<[u8]>> = token.map(Into::into);
    let guard = move |request: Request, next: Next| {
        let token = token.clone();
        async move {
            if allowed(token.as_deref(), request.headers()) {
                return next.run(request).await;
            }
            let error = Error::new(Kind::Unauthenticated, "a bearer token is needed");
            Problem::from(error).into_response()
        }
    };
    let open = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness.answer(trouble(&receiver)) }))
        .route(
            "/metrics",
            get(move || async move { metrics::answer(&registry).map_err(Problem::from) }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") });
    let api = router(admin).layer(middleware::from_fn(guard));
    // A stream has no end, and the bodies of this API are read with a limit of their own.
    Stack::streaming("admin", refused).wrap(open.merge(api))
}

fn allowed(token: Option<&[u8]>, headers: &HeaderMap) -> bool {
    let sent = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let sent = sent.and_then(|value| value.strip_prefix(b"Bearer "));
    token.zip(sent).is_some_and(|(token, sent)| equal(token, sent))
}

fn refused(error: &Error, _: &Head) -> Response {
    let text = error.message().to_owned();
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}
