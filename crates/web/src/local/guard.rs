//! The layer that one listener puts in front of all its routes in `local` mode.
//!
//! Order: where the request comes from, then a ticket of the start URL, then the credential. What is
//! let through carries [`Identity::local`] and a [`Proof`].

use axum::{body::Body, response::Response};
use http::{Method, Request, StatusCode, header};

use super::{
    Local, Scope, SessionCookie,
    link::{query_value, redirect_with_cookie, without_query},
    source,
};
use crate::{
    Client, Error, Head, Identity, Kind, Page, Render,
    handler::{Handler, Pass},
};

/// Name of the query parameter that carries a ticket.
const TICKET: &str = "ticket";

/// How a caller proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The token itself: a program of the owner.
    Bearer,
    /// A session cookie: a browser of the owner.
    Cookie,
    /// Nothing was wanted (`--auth none`).
    Nothing,
}

type Paths = fn(&Method, &str) -> bool;

/// Local security of one listener.
#[derive(Clone)]
pub struct Guard {
    local: Local,
    cookie: SessionCookie,
    render: Render,
    pages: Paths,
    public: Paths,
}

impl Guard {
    /// Guards the API listener on `port`; `render` words the refusals.
    pub fn new(local: Local, port: u16, render: Render) -> Self {
        let nothing: Paths = |_, _| false;
        let cookie = SessionCookie::api(port);
        Self { local, cookie, render, pages: nothing, public: nothing }
    }

    /// Which paths a person may navigate to from elsewhere. Tickets are taken there.
    #[must_use]
    pub fn pages(mut self, pages: Paths) -> Self {
        self.pages = pages;
        self
    }

    /// Which paths need no credential (health checks). The rules about the source still hold.
    #[must_use]
    pub fn public(mut self, public: Paths) -> Self {
        self.public = public;
        self
    }

    /// Puts the guard in front of all there is.
    pub fn protect(self, inner: impl Into<Handler>) -> Handler {
        inner.into().behind(self)
    }

    fn refuse(&self, error: &Error, head: &Head) -> Response {
        tracing::debug!(request = ?head, error = %error.log(), "request refused");
        let navigates = (self.pages)(&head.method, head.uri.path());
        match (head.client, error.kind()) {
            (Client::Browser, Kind::Unauthenticated) if navigates => sign_in_page(),
            (Client::Browser, _) if navigates => {
                Page::new(StatusCode::FORBIDDEN, "Request refused")
                    .text(error.message())
                    .into_response()
            }
            _ => (self.render)(error, head),
        }
    }

    /// Answers a page request that brings a ticket: a cookie and the same address without it.
    fn redeem(&self, ticket: &str, head: &Head, signed_in: bool) -> Response {
        let good = !self.local.wants_proof() || self.local.redeem(&Scope::api(), ticket);
        if !good {
            return match head.client {
                Client::Browser => used_ticket_page(head.uri.path(), signed_in),
                Client::Program => (self.render)(&used_ticket(), head),
            };
        }
        redirect_with_cookie(&without_query(&head.uri, TICKET), self.cookie.issue(&self.local))
    }
}

impl Pass for Guard {
    async fn pass(&self, request: Request<Body>, next: &Handler) -> Response {
        let (mut parts, body) = request.into_parts();
        let page = (self.pages)(&parts.method, parts.uri.path());
        if let Err(error) = source::check(&parts, page) {
            return self.refuse(&error, &Head::of(&parts));
        }
        let proof = proof(self, &parts.headers);
        if page
            && parts.method == Method::GET
            && let Some(ticket) = query_value(&parts.uri, TICKET)
        {
            return self.redeem(&ticket, &Head::of(&parts), proof.is_some());
        }
        if let Some(proof) = proof {
            parts.extensions.insert(Identity::local());
            parts.extensions.insert(proof);
        } else if !(self.public)(&parts.method, parts.uri.path()) {
            return self.refuse(&no_proof(), &Head::of(&parts));
        }
        let mut response = next.answer(Request::from_parts(parts, body)).await;
        // Dialects whose contract opens them to every origin must not do so on this machine.
        response.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        response
    }
}

fn proof(guard: &Guard, headers: &http::HeaderMap) -> Option<Proof> {
    if !guard.local.wants_proof() {
        Some(Proof::Nothing)
    } else if guard.local.bearer(headers) {
        Some(Proof::Bearer)
    } else {
        guard.cookie.is_in(&guard.local, headers).then_some(Proof::Cookie)
    }
}

fn no_proof() -> Error {
    Error::new(
        Kind::Unauthenticated,
        "send the token of the data directory as `Authorization: Bearer`, or sign a browser in with \
         the address that `quartermaster open` prints",
    )
}

fn used_ticket() -> Error {
    Error::new(
        Kind::Unauthenticated,
        "this ticket was used before or is too old: `quartermaster open` prints a fresh address",
    )
}

fn sign_in_page() -> Response {
    Page::new(StatusCode::UNAUTHORIZED, "Please sign in")
        .text("This browser is not signed in to this Quartermaster.")
        .text("Run this in a terminal and open the address it prints:")
        .command("quartermaster open")
        .link("/", "Try again")
        .into_response()
}

fn used_ticket_page(path: &str, signed_in: bool) -> Response {
    let page = Page::new(StatusCode::UNAUTHORIZED, "This link was used before")
        .text("Sign-in links work once and for a short time.");
    if signed_in {
        page.text("This browser is signed in already.").link(path, "Go on").into_response()
    } else {
        page.text("Run this in a terminal and open the address it prints:")
            .command("quartermaster open")
            .into_response()
    }
}
