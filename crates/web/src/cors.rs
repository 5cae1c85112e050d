//! Which pages of other origins may use an API from a browser.

use axum::{extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::handler::{Handler, Pass};

/// What a page may read of an answer besides its body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag, Location, Retry-After, X-Api-Profile, X-Log-Truncated, X-Request-Id",
);
/// How long a browser may keep what it was told: as long as the shortest limit of any of them.
const KEPT: HeaderValue = HeaderValue::from_static("600");
static PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");

/// What pages of other origins may do.
///
/// A listed origin may do all that its user may, with the credentials that the user's browser sends
/// by itself. All others read, at most, what a request without credentials gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    everybody_reads: bool,
    origins: Vec<String>,
}

impl Cors {
    /// Nobody may do anything.
    pub fn closed() -> Self {
        Self::default()
    }

    /// Every page may read (`Access-Control-Allow-Origin: *`).
    pub fn readable() -> Self {
        Self { everybody_reads: true, origins: Vec::new() }
    }

    /// Pages of these origins, such as `https://portal.example.org`, may do everything.
    pub fn with_origins<'a>(
        mut self,
        origins: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, String> {
        for text in origins {
            let uri = text.parse::<Uri>().ok();
            let plain = uri.is_some_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.authority().is_some_and(|authority| text.ends_with(authority.as_str()))
            });
            if !plain || text.contains(['@', '*']) {
                return Err(format!(
                    "`{text}` is no origin: expected one such as https://portal.example.org"
                ));
            }
            self.origins.push(text.to_ascii_lowercase());
        }
        Ok(self)
    }

    /// Whether a request comes from a page of a listed origin.
    pub(crate) fn trusts(&self, headers: &HeaderMap) -> bool {
        origin(headers).is_some_and(|origin| self.lists(origin))
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        let text = origin.to_str().unwrap_or_default();
        self.origins.iter().any(|known| known.eq_ignore_ascii_case(text))
    }

    /// Adds to every answer what a browser wants to know, refusals included. What is behind answers
    /// `OPTIONS` with `Allow`, which says what a preflight may promise.
    pub fn wrap(self, inner: impl Into<Handler>) -> Handler {
        let inner = inner.into();
        if self == Self::closed() { inner } else { inner.behind(self) }
    }

    fn add(&self, asked: &Asked, answer: &mut HeaderMap) {
        let listed = asked.origin.as_ref().filter(|origin| self.lists(origin));
        if !self.origins.is_empty() {
            answer.append(header::VARY, HeaderValue::from_static("origin"));
        }
        match listed {
            Some(origin) => {
                answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                let yes = HeaderValue::from_static("true");
                answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
            None if self.everybody_reads => {
                let any = HeaderValue::from_static("*");
                answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
            }
            None => return,
        }
        if !asked.preflight {
            if asked.origin.is_some() {
                answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
            return;
        }
        let allow = answer.get(header::ALLOW).and_then(|allow| allow.to_str().ok());
        let methods = allow.unwrap_or_default().split(", ").filter(|name| {
            let safe = name.parse().is_ok_and(|method: Method| method.is_safe());
            listed.is_some() || safe
        });
        let methods: Vec<&str> = methods.collect();
        if let Ok(methods) = HeaderValue::try_from(methods.join(", ")) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Some(headers) = &asked.headers {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        if listed.is_some() && asked.private_network {
            let yes = HeaderValue::from_static("true");
            answer.insert("access-control-allow-private-network", yes);
        }
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, KEPT);
    }
}

/// What a browser asks.
struct Asked {
    origin: Option<HeaderValue>,
    preflight: bool,
    headers: Option<HeaderValue>,
    private_network: bool,
}

impl Pass for Cors {
    async fn pass(&self, request: Request, next: &Handler) -> Response {
        let headers = request.headers();
        let asked = Asked {
            origin: origin(headers).cloned(),
            preflight: *request.method() == Method::OPTIONS
                && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD),
            headers: headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned(),
            private_network: headers.contains_key(&PRIVATE_NETWORK),
        };
        let mut response = next.answer(request).await;
        self.add(&asked, response.headers_mut());
        response
    }
}

/// The one origin that a request names.
fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(header::ORIGIN).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, response::IntoResponse, routing::any};
    use rstest::rstest;
    use tower::ServiceExt as _;

    use super::*;

    const PORTAL: &str = "https://portal.example.org";

    async fn ask(cors: Cors, method: &str, headers: &[(&str, &str)]) -> HeaderMap {
        let answer = || async { [(header::ALLOW, "DELETE, GET, OPTIONS")].into_response() };
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let router = cors.wrap(Router::new().route("/", any(answer)));
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.into_parts().0.headers
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[rstest]
    #[case::closed(Cors::closed(), PORTAL, "", "")]
    #[case::readable(Cors::readable(), PORTAL, "*", "")]
    #[case::without_origin(Cors::readable(), "", "*", "")]
    #[case::listed(Cors::readable().with_origins([PORTAL]).unwrap(), PORTAL, PORTAL, "true")]
    #[case::case_of_letters(
        Cors::closed().with_origins([PORTAL]).unwrap(),
        "https://Portal.example.org",
        "https://Portal.example.org",
        "true"
    )]
    #[case::another(
        Cors::closed().with_origins([PORTAL]).unwrap(),
        "https://portal.example.org.evil.example",
        "",
        ""
    )]
    #[case::another_may_read(
        Cors::readable().with_origins([PORTAL]).unwrap(),
        "http://portal.example.org",
        "*",
        ""
    )]
    #[tokio::test]
    async fn only_listed_origins_get_credentials(
        #[case] cors: Cors,
        #[case] origin: &str,
        #[case] allowed: &str,
        #[case] credentials: &str,
    ) {
        let varies = !cors.origins.is_empty();
        let headers: &[_] = if origin.is_empty() { &[] } else { &[("origin", origin)] };
        let answer = ask(cors, "GET", headers).await;
        assert_eq!(text(&answer, "access-control-allow-origin"), allowed);
        assert_eq!(text(&answer, "access-control-allow-credentials"), credentials);
        assert_eq!(text(&answer, "vary"), if varies { "origin" } else { "" });
    }

    #[tokio::test]
    async fn a_preflight_promises_what_will_be_done() {
        let cors = Cors::readable().with_origins([PORTAL]).unwrap();
        for (origin, methods) in
            [(PORTAL, "DELETE, GET, OPTIONS"), ("https://other.example", "GET, OPTIONS")]
        {
            let wanted = [
                ("origin", origin),
                ("access-control-request-method", "DELETE"),
                ("access-control-request-headers", "content-type,kubeflow-userid"),
            ];
            let answer = ask(cors.clone(), "OPTIONS", &wanted).await;
            assert_eq!(text(&answer, "access-control-allow-methods"), methods, "{origin}");
            let headers = text(&answer, "access-control-allow-headers");
            assert_eq!(headers, "content-type,kubeflow-userid");
            assert_eq!(text(&answer, "access-control-max-age"), "600");
        }
        let plain = ask(cors, "OPTIONS", &[("origin", PORTAL)]).await;
        assert_eq!(text(&plain, "access-control-allow-methods"), "", "no preflight");
        assert!(text(&plain, "access-control-expose-headers").contains("ETag"));
    }

    #[rstest]
    #[case("portal.example.org")]
    #[case("https://portal.example.org/")]
    #[case("https://portal.example.org/path")]
    #[case("https://a@portal.example.org")]
    #[case("https://*.example.org")]
    #[case("ftp://portal.example.org")]
    #[case("*")]
    #[case("null")]
    #[case("")]
    fn what_is_no_origin_is_refused(#[case] text: &str) {
        assert!(Cors::closed().with_origins([text]).unwrap_err().contains("is no origin"));
    }
}
