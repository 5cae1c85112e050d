//! The layer that lets nobody in whom it does not know.

use axum::{body::Body, response::Response};
use http::{Method, Request};

use super::Authenticate;
use crate::{
    Cors, Head, Render,
    handler::{Handler, Pass},
    local::source,
};

type Paths = fn(&Method, &str) -> bool;

/// Identity of one listener whose callers bring a credential with each request.
///
/// Credentials that a browser sends by itself (the session of the proxy in front) must not serve
/// pages of other sites: what changes something, or opens a tunnel, has to come from a page of this
/// very origin as far as the browser tells.
pub struct Door<A> {
    who: A,
    render: Render,
    public: Paths,
    cors: Cors,
}

impl<A: Authenticate> Door<A> {
    /// Asks `who` about every request; `render` words the refusals.
    pub fn new(who: A, render: Render) -> Self {
        let nothing: Paths = |_, _| false;
        Self { who, render, public: nothing, cors: Cors::closed() }
    }

    /// Which requests everybody may make.
    #[must_use]
    pub fn public(mut self, public: Paths) -> Self {
        self.public = public;
        self
    }

    /// Which other origins may change something as well.
    #[must_use]
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Puts the door in front of all there is.
    pub fn protect(self, inner: impl Into<Handler>) -> Handler {
        inner.into().behind(self)
    }
}

impl<A: Authenticate> Pass for Door<A> {
    async fn pass(&self, request: Request<Body>, next: &Handler) -> Response {
        let (mut parts, body) = request.into_parts();
        if let Err(error) = source::check_site(&parts)
            && !self.cors.trusts(&parts.headers)
        {
            return (self.render)(&error, &Head::of(&parts));
        }
        match self.who.authenticate(&mut parts).await {
            Ok(identity) => {
                parts.extensions.insert(identity);
            }
            Err(_) if (self.public)(&parts.method, parts.uri.path()) => {}
            Err(error) => {
                let head = Head::of(&parts);
                tracing::debug!(request = ?head, error = %error.log(), "request refused");
                return (self.render)(&error, &head);
            }
        }
        next.answer(Request::from_parts(parts, body)).await
    }
}
