//! What answers the requests of a listener: a router, and what each request passes on its way there.
//!
//! Not layers of the router: those wrap each of its routes, and a request clones all of them once
//! more at each one. Here a request borrows what it passes, at the price of one box each.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::{Router, body::Body, extract::MatchedPath, response::Response, routing::Route};
use http::{Extensions, Request};
use tower::{Layer, Service};

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct Handler(Arc<dyn Answer>);

trait Answer: Send + Sync {
    fn answer(&self, request: Request<Body>) -> Answering<'_>;
}

/// An answer that is on its way, of a size that does not depend on who gives it.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// What each request passes on its way: it may answer itself, or change what comes from the next.
pub trait Pass: Send + Sync + 'static {
    /// The answer to a request.
    fn pass<'a>(
        &'a self,
        request: Request<Body>,
        next: &'a Handler,
    ) -> impl Future<Output = Response> + Send + 'a;
}

impl Handler {
    /// Puts something before it.
    #[must_use]
    pub fn behind(self, pass: impl Pass) -> Self {
        Self(Arc::new(Behind { pass, next: self }))
    }

    /// Leaves the paths below a prefix to another one.
    #[must_use]
    pub fn beside(self, prefix: &'static str, other: impl Into<Self>) -> Self {
        Self(Arc::new(Beside { prefix, below: other.into(), others: self }))
    }

    /// The answer to a request.
    pub fn answer(&self, request: Request<Body>) -> Answering<'_> {
        self.0.answer(request)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").finish_non_exhaustive()
    }
}

impl From<Router> for Handler {
    fn from(router: Router) -> Self {
        Self(Arc::new(Routes(router.layer(NoteRoute))))
    }
}

impl Service<Request<Body>> for Handler {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move { Ok(handler.answer(request).await) })
    }
}

struct Behind<P> {
    pass: P,
    next: Handler,
}

impl<P: Pass> Answer for Behind<P> {
    fn answer(&self, request: Request<Body>) -> Answering<'_> {
        Box::pin(self.pass.pass(request, &self.next))
    }
}

struct Beside {
    prefix: &'static str,
    below: Handler,
    others: Handler,
}

impl Answer for Beside {
    fn answer(&self, request: Request<Body>) -> Answering<'_> {
        let rest = request.uri().path().strip_prefix(self.prefix);
        let next =
            if rest.is_some_and(|rest| !rest.is_empty()) { &self.below } else { &self.others };
        next.0.answer(request)
    }
}

struct Routes(Router);

impl Answer for Routes {
    fn answer(&self, request: Request<Body>) -> Answering<'_> {
        // A clone is a count: what a router holds is shared.
        let answer = self.0.clone().call(request);
        Box::pin(async { answer.await.unwrap_or_else(|never| match never {}) })
    }
}

/// The route of a request, in its extensions: a router notes it for who stands before it.
#[derive(Debug, Clone, Default)]
pub struct RouteNote(Arc<OnceLock<Arc<str>>>);

impl RouteNote {
    /// Asks for it.
    pub(crate) fn ask(extensions: &mut Extensions) -> Self {
        let note = Self::default();
        extensions.insert(note.clone());
        note
    }

    /// The pattern of the route; none for what leads nowhere.
    pub(crate) fn pattern(&self) -> Option<&Arc<str>> {
        self.0.get()
    }

    /// Notes the pattern, if somebody wants to know it.
    pub fn note(extensions: &Extensions, pattern: &Arc<str>) {
        if let Some(Self(note)) = extensions.get() {
            note.get_or_init(|| Arc::clone(pattern));
        }
    }
}

#[derive(Clone)]
struct NoteRoute;

#[derive(Clone)]
struct Noted(Route);

impl Layer<Route> for NoteRoute {
    type Service = Noted;

    fn layer(&self, route: Route) -> Noted {
        Noted(route)
    }
}

impl Service<Request<Body>> for Noted {
    type Response = Response;
    type Error = Infallible;
    type Future = <Route as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let extensions = request.extensions();
        if let (Some(RouteNote(note)), Some(path)) = (extensions.get(), extensions.get()) {
            let path: &MatchedPath = path;
            note.get_or_init(|| path.as_str().into());
        }
        self.0.call(request)
    }
}
