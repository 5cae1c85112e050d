//! The few pages that the listeners themselves show to people: sign-in help, refusals, waiting.
//!
//! One self-contained document without scripts or foreign assets; its policy allows nothing but its
//! own style sheet. Every text is escaped here and nowhere else.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page.css");

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// A page for a person.
#[derive(Debug, Default)]
pub struct Page {
    status: StatusCode,
    title: String,
    busy: bool,
    badge: Option<String>,
    paragraphs: Vec<String>,
    command: Option<String>,
    links: Vec<(String, String)>,
    refresh: Option<u32>,
}

impl Page {
    /// A page with a title.
    pub fn new(status: StatusCode, title: impl Into<String>) -> Self {
        Self { status, title: title.into(), ..Self::default() }
    }

    /// Shows that something is going on.
    #[must_use]
    pub fn busy(mut self) -> Self {
        self.busy = true;
        self
    }

    /// A short word of state above the text.
    #[must_use]
    pub fn badge(mut self, text: impl Into<String>) -> Self {
        self.badge = Some(text.into());
        self
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.paragraphs.push(text.into());
        self
    }

    /// A command to type.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Adds a link. Only `http(s)` addresses and absolute paths are taken; others are dropped.
    #[must_use]
    pub fn link(mut self, target: impl Into<String>, text: impl Into<String>) -> Self {
        let target = target.into();
        if ["http://", "https://", "/"].iter().any(|start| target.starts_with(start)) {
            self.links.push((target, text.into()));
        }
        self
    }

    /// Loads the same address again after so many seconds.
    #[must_use]
    pub fn refresh(mut self, seconds: u32) -> Self {
        self.refresh = Some(seconds);
        self
    }

    fn html(&self) -> String {
        let mut html = String::with_capacity(4096);
        html.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
        html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        html.push_str("<meta name=\"color-scheme\" content=\"light dark\">");
        let title = escape(&self.title);
        let _ = write!(html, "<title>{title} · Quartermaster</title><style>{STYLE}</style></head>");
        html.push_str("<body><main><p class=\"brand\">Quartermaster</p>");
        if self.busy {
            html.push_str("<div class=\"spinner\" aria-hidden=\"true\"></div>");
        }
        let _ = write!(html, "<h1>{title}</h1><div role=\"status\">");
        if let Some(badge) = &self.badge {
            let _ = write!(html, "<p class=\"badge\">{}</p>", escape(badge));
        }
        for paragraph in &self.paragraphs {
            let _ = write!(html, "<p>{}</p>", escape(paragraph));
        }
        html.push_str("</div>");
        if let Some(command) = &self.command {
            let _ = write!(html, "<pre><code>{}</code></pre>", escape(command));
        }
        if !self.links.is_empty() {
            html.push_str("<nav aria-label=\"Ways on\">");
            for (target, text) in &self.links {
                let _ = write!(html, "<a href=\"{}\">{}</a>", escape(target), escape(text));
            }
            html.push_str("</nav>");
        }
        html.push_str("</main></body></html>\n");
        html
    }

    /// The page as a response that no cache keeps and nobody may frame.
    pub fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.html()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if let Ok(policy) = HeaderValue::from_str(&POLICY) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        if let Some(seconds) = self.refresh {
            headers.insert(header::REFRESH, HeaderValue::from(seconds));
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Text made safe for element content and quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_odd_links_dropped() {
        let html = Page::new(StatusCode::OK, "<script>alert(1)</script>")
            .text("a & \"b\"")
            .link("javascript:alert(1)", "bad")
            .link("/\"onclick=\"x", "good")
            .html();
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("javascript:"), "{html}");
        assert!(html.contains("a &amp; &quot;b&quot;"), "{html}");
        assert!(html.contains("href=\"/&quot;onclick=&quot;x\""), "{html}");
    }

    #[test]
    fn the_policy_allows_the_style_sheet_and_nothing_else() {
        let response = Page::new(StatusCode::OK, "x").refresh(2).into_response();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert_eq!(response.headers()["refresh"], "2");
        assert!(!STYLE.contains('<'), "the style sheet must not end its element");
    }
}
