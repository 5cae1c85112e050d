//! The pages at `/` and `/webhooks`: static files in the program, pure clients of the public API.

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderName, header};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data: https:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

const PAGE: &str = include_str!("../../../ui/index.html");
const SCRIPT: &str = include_str!("../../../ui/app.js");
const WEBHOOKS: &str = include_str!("../../../ui/webhooks.html");
const WEBHOOKS_SCRIPT: &str = include_str!("../../../ui/webhooks.js");
const COMMON: &str = include_str!("../../../ui/common.js");
const STYLE: &str = include_str!("../../../ui/style.css");
const ICON: &str = include_str!("../../../ui/icon.svg");

/// The pages and what they load.
pub(crate) fn router() -> Router {
    const HTML: &str = "text/html; charset=utf-8";
    const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", file(HTML, PAGE))
        .route("/webhooks", file(HTML, WEBHOOKS))
        .route("/assets/app.js", file(JAVASCRIPT, SCRIPT))
        .route("/assets/webhooks.js", file(JAVASCRIPT, WEBHOOKS_SCRIPT))
        .route("/assets/common.js", file(JAVASCRIPT, COMMON))
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
