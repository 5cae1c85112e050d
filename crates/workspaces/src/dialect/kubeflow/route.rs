//! The table of routes and how it becomes a router: methods that a path does not take, `OPTIONS`,
//! trailing slashes and unknown paths are the same everywhere.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::OriginalUri,
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, any, on},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};

use super::{App, Endpoint, doc::Doc, endpoints, envelope::failure, error::Problem};

/// Where all routes are.
pub(crate) const BASE: &str = "/api/v1";
/// Where they are as well: below the prefix of the stock UI, which an ingress would take off, and
/// below the one that clients of 2025-07 find pictures under.
const PREFIXES: [&str; 2] = ["/workspaces", "/workspaces/backend"];

/// A path and the methods it takes.
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) operations: Vec<(Method, Doc)>,
    handlers: MethodRouter<Arc<App>>,
}

impl Route {
    /// A route.
    pub(crate) fn at(path: &str) -> Self {
        let path = format!("{BASE}{path}");
        Self { path, operations: Vec::new(), handlers: MethodRouter::new() }
    }

    /// A route below another path.
    pub(crate) fn under(parent: &str, path: &str) -> Self {
        Self::at(&format!("{parent}{path}"))
    }

    pub(crate) fn get<H: Handler<T, Arc<App>>, T: 'static>(self, doc: Doc, handler: H) -> Self {
        self.takes(Method::GET, MethodFilter::GET, doc, handler)
    }

    pub(crate) fn post<H: Handler<T, Arc<App>>, T: 'static>(self, doc: Doc, handler: H) -> Self {
        self.takes(Method::POST, MethodFilter::POST, doc, handler)
    }

    pub(crate) fn put<H: Handler<T, Arc<App>>, T: 'static>(self, doc: Doc, handler: H) -> Self {
        self.takes(Method::PUT, MethodFilter::PUT, doc, handler)
    }

    pub(crate) fn delete<H: Handler<T, Arc<App>>, T: 'static>(self, doc: Doc, handler: H) -> Self {
        self.takes(Method::DELETE, MethodFilter::DELETE, doc, handler)
    }

    fn takes<H: Handler<T, Arc<App>>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        doc: Doc,
        handler: H,
    ) -> Self {
        self.operations.push((method, doc));
        self.handlers = self.handlers.on(filter, handler);
        self
    }

    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        let mut methods: Vec<&str> =
            self.operations.iter().map(|(method, _)| method.as_str()).collect();
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.join(", ")
    }

    fn mount(self, router: Router<Arc<App>>) -> Router<Arc<App>> {
        let allow = self.allow();
        let refuse = {
            let allow = allow.clone();
            move |method: Method| async move { not_allowed(&method, &allow) }
        };
        let options = move || async move { allowed(StatusCode::OK.into_response(), &allow) };
        // Without a handler of its own, `HEAD` would be answered by that of `GET`.
        let others = on(MethodFilter::HEAD, refuse.clone()).options(options).fallback(refuse);
        let handlers = self.handlers.merge(others);
        everywhere().fold(router, |router, prefix| {
            router
                .route(&format!("{prefix}{}/", self.path), any(without_slash))
                .route(&format!("{prefix}{}", self.path), handlers.clone())
        })
    }
}

/// What may stand before the base.
pub(crate) fn everywhere() -> impl Iterator<Item = &'static str> {
    std::iter::once("").chain(PREFIXES)
}

/// Makes the router of a table.
pub(crate) fn mount(routes: Vec<Route>) -> Router<Arc<App>> {
    let unknown = everywhere().fold(Router::new(), |router, prefix| {
        router
            .route(&format!("{prefix}{BASE}"), any(not_found))
            .route(&format!("{prefix}{BASE}/"), any(not_found))
            .route(&format!("{prefix}{BASE}/{{*rest}}"), any(not_found))
    });
    routes.into_iter().fold(unknown, |router, route| route.mount(router))
}

/// Whether a request below the base needs no identity: some operations answer everybody, and what
/// no operation answers is nobody's secret.
pub fn is_open(method: &Method, path: &str) -> bool {
    static TABLE: LazyLock<Vec<Endpoint>> = LazyLock::new(endpoints);
    let below = everywhere().filter_map(|prefix| path.strip_prefix(prefix)).find(|path| {
        path.strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let Some(path) = below else { return false };
    let mut table = TABLE.iter();
    let operation = table.find(|known| known.method == *method && leads(&known.path, path));
    operation.is_none_or(|known| known.open)
}

/// Whether a path fits a template, segment by segment.
fn leads(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(segment)) if wanted.starts_with('{') && !segment.is_empty() => {}
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
}

async fn not_found() -> Problem {
    Problem::not_found()
}

fn not_allowed(method: &Method, allow: &str) -> Response {
    let message = format!("the {method} method is not supported for this resource");
    allowed(failure(StatusCode::METHOD_NOT_ALLOWED, &message, None), allow)
}

fn allowed(mut response: Response, allow: &str) -> Response {
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Sends the client to the path without the slash; only `GET` may be remembered for good.
async fn without_slash(method: Method, OriginalUri(uri): OriginalUri) -> Response {
    let status = match method {
        Method::GET => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::TEMPORARY_REDIRECT,
    };
    match HeaderValue::try_from(shortened(&uri)) {
        Ok(location) => (status, [(header::LOCATION, location)]).into_response(),
        Err(_) => Problem::not_found().into_response(),
    }
}

fn shortened(uri: &Uri) -> String {
    let path = uri.path().trim_end_matches('/');
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::healthcheck("GET", "/api/v1/healthcheck", true)]
    #[case::below_a_prefix("GET", "/workspaces/backend/api/v1/healthcheck", true)]
    #[case::list("GET", "/api/v1/workspaces", false)]
    #[case::list_below_a_prefix("GET", "/workspaces/api/v1/workspaces", false)]
    #[case::object("DELETE", "/api/v1/workspaces/a/b", false)]
    #[case::deep("POST", "/api/v1/workspaces/a/b/actions/pause", false)]
    #[case::another_method("PATCH", "/api/v1/workspaces/a/b", true)]
    #[case::preflight("OPTIONS", "/api/v1/workspaces", true)]
    #[case::unknown("GET", "/api/v1/nothing", true)]
    #[case::slash("GET", "/api/v1/workspaces/", true)]
    #[case::base("GET", "/api/v1", true)]
    #[case::another_base("GET", "/api/v12/workspaces", false)]
    #[case::elsewhere("GET", "/", false)]
    fn only_operations_for_everybody_and_what_is_not_there_are_open(
        #[case] method: &str,
        #[case] path: &str,
        #[case] open: bool,
    ) {
        assert_eq!(is_open(&method.parse().unwrap(), path), open);
    }
}
