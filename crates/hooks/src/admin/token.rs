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
use web::{Error, Handler, Head, Kind, listener::Stack, metrics};

use super::{Admin, Gate, answer::Problem, router, trouble};
use crate::{decide::signature::equal, receive::Receiver};

/// Probes, counts and the API. Without a token nobody may see or do anything but ask how it is.
pub fn listener(receiver: Arc<Receiver>, token: Option<Vec<u8>>) -> Handler {
    let admin = Arc::new(Admin::new(Arc::clone(&receiver), Gate::Operators, None));
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
        .route(
            "/readyz",
            get(move || async move {
                match trouble(&receiver) {
                    None => (StatusCode::OK, "ready\n".to_owned()),
                    Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
                }
            }),
        )
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
