//! The page at `/`: static files in the program, a pure client of the public API.

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderName, header};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data: https:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const PAGE: &str = include_str!("../../../ui/index.html");
const SCRIPT: &str = include_str!("../../../ui/app.js");
const STYLE: &str = include_str!("../../../ui/style.css");
const ICON: &str = include_str!("../../../ui/icon.svg");

/// `/` and what it loads.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/", file("text/html; charset=utf-8", PAGE))
        .route("/assets/app.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/assets/style.css", file("text/css; charset=utf-8", STYLE))
        .route("/assets/icon.svg", file("image/svg+xml", ICON))
}

fn file(media_type: &'static str, text: &'static str) -> axum::routing::MethodRouter {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        // The program's next version has other files at the same paths.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    get(async move || (headers, text).into_response())
}
