//! The table of routes and how a request finds its handler: methods that a path does not take,
//! `OPTIONS`, trailing slashes and unknown paths are the same everywhere.
//!
//! Not a router of axum's: that clones and boxes a handler anew for each request and each layer
//! around it, which is most of what a small answer costs. Handlers and extractors are axum's.

use std::sync::{Arc, LazyLock};

use axum::{
    body::Body,
    extract::Request,
    handler::Handler as Handles,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use web::{Answering, Handler, Pass, RouteNote};

use super::{
    App, Endpoint, around::Wishes, doc::Doc, endpoints, envelope::failure, error::Problem,
};

/// Where all routes are.
pub(crate) const BASE: &str = "/api/v1";
/// Where they are as well: below the prefix of the stock UI, which an ingress would take off, and
/// below the one that clients of 2025-07 find pictures under.
const PREFIXES: [&str; 2] = ["/workspaces", "/workspaces/backend"];

/// A handler, whatever it extracts.
type Call = Box<dyn Fn(Request, Arc<App>) -> Answering<'static> + Send + Sync>;

/// A function that axum takes for a handler; `T` says what it extracts.
pub(crate) trait Function<T>: Handles<T, Arc<App>, Future = Answering<'static>> {}

impl<T, H: Handles<T, Arc<App>, Future = Answering<'static>>> Function<T> for H {}

fn call<T: 'static>(function: impl Function<T>) -> Call {
    Box::new(move |request, app| function.clone().call(request, app))
}

/// A path and the methods it takes.
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) operations: Vec<(Method, Doc)>,
    calls: Vec<(Method, Call)>,
}

impl Route {
    /// A route.
    pub(crate) fn at(path: &str) -> Self {
        Self { path: format!("{BASE}{path}"), operations: Vec::new(), calls: Vec::new() }
    }

    /// A route below another path.
    pub(crate) fn under(parent: &str, path: &str) -> Self {
        Self::at(&format!("{parent}{path}"))
    }

    pub(crate) fn get<T: 'static>(self, doc: Doc, function: impl Function<T>) -> Self {
        self.takes(Method::GET, doc, call(function))
    }

    pub(crate) fn post<T: 'static>(self, doc: Doc, function: impl Function<T>) -> Self {
        self.takes(Method::POST, doc, call(function))
    }

    pub(crate) fn put<T: 'static>(self, doc: Doc, function: impl Function<T>) -> Self {
        self.takes(Method::PUT, doc, call(function))
    }

    pub(crate) fn delete<T: 'static>(self, doc: Doc, function: impl Function<T>) -> Self {
        self.takes(Method::DELETE, doc, call(function))
    }

    fn takes(mut self, method: Method, doc: Doc, call: Call) -> Self {
        self.operations.push((method.clone(), doc));
        self.calls.push((method, call));
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

    /// What answers at its path.
    fn answers(self) -> Answers {
        let allow: Arc<str> = self.allow().into();
        let others = move |method: Method| async move {
            match method {
                Method::OPTIONS => allowed(StatusCode::OK.into_response(), &allow),
                _ => not_allowed(&method, &allow),
            }
        };
        Answers { calls: self.calls, others: call(others) }
    }
}

/// Who answers at a path.
pub(crate) struct Answers {
    calls: Vec<(Method, Call)>,
    others: Call,
}

impl Answers {
    /// One for all methods.
    pub(crate) fn any<T: 'static>(function: impl Function<T>) -> Self {
        Self { calls: Vec::new(), others: call(function) }
    }

    /// One for reading only.
    pub(crate) fn read<T: 'static>(function: impl Function<T>) -> Self {
        let others = |method: Method| async move { not_allowed(&method, "GET, HEAD") };
        let calls = vec![(Method::GET, call(function.clone())), (Method::HEAD, call(function))];
        Self { calls, others: call(others) }
    }

    fn of(&self, method: &Method) -> &Call {
        let known = self.calls.iter().find(|(known, _)| known == method);
        known.map_or(&self.others, |(_, call)| call)
    }
}

/// What stands in a path for its parameters, as it was sent; in the extensions of a request, for the
/// extractors to take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Names {
    fn of(params: &matchit::Params<'_, '_>) -> Self {
        let text = |name| params.get(name).unwrap_or_default().to_owned();
        Self { namespace: text("namespace"), name: text("name") }
    }
}

/// All routes, in front of what else there is.
pub(crate) struct Routes {
    places: matchit::Router<(Arc<str>, Arc<Answers>)>,
    app: Arc<App>,
}

impl Routes {
    /// Makes them of a table.
    pub(crate) fn new(app: Arc<App>, table: Vec<Route>) -> Self {
        let mut routes = Self { places: matchit::Router::new(), app };
        let (unknown, slash) =
            (Arc::new(Answers::any(not_found)), Arc::new(Answers::any(without_slash)));
        for path in ["", "/", "/{*rest}"] {
            routes.everywhere(&format!("{BASE}{path}"), &unknown);
        }
        for route in table {
            let path = route.path.clone();
            routes.everywhere(&format!("{path}/"), &slash);
            routes.everywhere(&path, &Arc::new(route.answers()));
        }
        routes
    }

    /// Adds a path below each prefix.
    pub(crate) fn everywhere(&mut self, path: &str, answers: &Arc<Answers>) {
        for prefix in everywhere() {
            self.at(&format!("{prefix}{path}"), answers);
        }
    }

    /// Adds one path.
    pub(crate) fn at(&mut self, path: &str, answers: &Arc<Answers>) {
        // Two patterns that exclude each other are a mistake in the table, which tests go through.
        if let Err(error) = self.places.insert(path, (path.into(), Arc::clone(answers))) {
            tracing::error!(path, %error, "a route is left out");
        }
    }
}

impl Pass for Routes {
    async fn pass(&self, mut request: Request<Body>, next: &Handler) -> Response {
        let found = self.places.at(request.uri().path());
        let found = found.map(|found| (found.value, Names::of(&found.params)));
        let Ok(((pattern, answers), names)) = found else { return next.answer(request).await };
        RouteNote::note(request.extensions(), pattern);
        request.extensions_mut().insert(names);
        let wishes = Wishes::settle(request.headers_mut());
        let response = answers.of(request.method())(request, Arc::clone(&self.app)).await;
        wishes.grant(response).await
    }
}

/// What may stand before the base.
pub(crate) fn everywhere() -> impl Iterator<Item = &'static str> {
    std::iter::once("").chain(PREFIXES)
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
async fn without_slash(method: Method, uri: Uri) -> Response {
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
