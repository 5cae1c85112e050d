//! The table of routes and how it becomes a router: methods that a path does not take, `OPTIONS`,
//! trailing slashes and unknown paths are the same everywhere.

use std::sync::Arc;

use axum::{
    Router,
    extract::OriginalUri,
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, any, on},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};

use super::{App, envelope::failure, error::Problem};

/// Where all routes are.
pub(crate) const BASE: &str = "/api/v1";

/// A path and the methods it takes.
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) methods: Vec<Method>,
    handlers: MethodRouter<Arc<App>>,
}

impl Route {
    /// A route.
    pub(crate) fn at(path: &str) -> Self {
        let path = format!("{BASE}{path}");
        Self { path, methods: Vec::new(), handlers: MethodRouter::new() }
    }

    /// A route below another path.
    pub(crate) fn under(parent: &str, path: &str) -> Self {
        Self::at(&format!("{parent}{path}"))
    }

    pub(crate) fn get<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Self {
        self.takes(Method::GET, MethodFilter::GET, handler)
    }

    pub(crate) fn post<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Self {
        self.takes(Method::POST, MethodFilter::POST, handler)
    }

    pub(crate) fn delete<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Self {
        self.takes(Method::DELETE, MethodFilter::DELETE, handler)
    }

    fn takes<H: Handler<T, Arc<App>>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        handler: H,
    ) -> Self {
        self.methods.push(method);
        self.handlers = self.handlers.on(filter, handler);
        self
    }

    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
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
        router
            .route(&format!("{}/", self.path), any(without_slash))
            .route(&self.path, self.handlers.merge(others))
    }
}

/// Makes the router of a table.
pub(crate) fn mount(routes: Vec<Route>) -> Router<Arc<App>> {
    let unknown = Router::new()
        .route(BASE, any(not_found))
        .route(&format!("{BASE}/"), any(not_found))
        .route(&format!("{BASE}/{{*rest}}"), any(not_found));
    routes.into_iter().fold(unknown, |router, route| route.mount(router))
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
