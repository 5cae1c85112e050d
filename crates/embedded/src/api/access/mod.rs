//! Who may do what: users, impersonation, roles.
//!
//! [`refuse`] stands before every request; everything that asks whether somebody may do something
//! asks [`authorize`].

mod attributes;
pub(crate) mod bootstrap;
mod defaults;
pub(crate) mod escalation;
mod impersonate;
mod policy;
pub(crate) mod review;
mod rule;
pub(crate) mod tokens;
mod user;

use std::ops::ControlFlow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use self::impersonate::Impersonation;
pub(crate) use self::{attributes::Attributes, policy::Policy, rule::Rule, user::Caller};
pub use self::{tokens::Authenticator, user::User};
use super::{Api, Body, Status};

/// Whether something is allowed, and why or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

/// Finds out who is behind a request and whether they may do what it asks for. Returns the answer
/// to a request that goes no further; else [`Caller::of`] tells who it is.
pub(crate) fn refuse(api: &Api, parts: &mut Parts) -> Option<Response<Body>> {
    let mut caller = match parts.extensions.remove::<User>() {
        Some(user) => Caller::new(user),
        None => Caller::default(),
    };
    match Impersonation::read(&parts.headers) {
        Ok(None) => {}
        Ok(Some(impersonation)) => {
            for wanted in impersonation.wanted() {
                if let Err(status) = demand(api, &caller, &wanted) {
                    return Some(status.into_response());
                }
            }
            caller = Caller::new(impersonation.user());
        }
        Err(problem) => return Some(server_error(parts, &problem)),
    }
    if !caller.is_superuser()
        && let Err(status) = demand(api, &caller, &Attributes::of(parts))
    {
        return Some(status.into_response());
    }
    parts.extensions.insert(caller);
    None
}

/// 403 unless the caller may do it.
pub(crate) fn demand(api: &Api, caller: &Caller, wanted: &Attributes) -> Result<(), Status> {
    if caller.is_superuser() {
        return Ok(());
    }
    let user = caller.user();
    let decision = authorize(api, &user, wanted);
    if decision.allowed {
        return Ok(());
    }
    Err(Status::unauthorized_action(&user.name, wanted, &decision.reason))
}

/// Whether a user may do something.
pub(crate) fn authorize(api: &Api, user: &User, wanted: &Attributes) -> Decision {
    if user.is_superuser() {
        return Decision { allowed: true, reason: String::new() };
    }
    let index = api.policy.current(&api.store);
    let mut reason = None;
    let problems = index.visit(user, &wanted.namespace, |binding, rule| {
        if !rule.allows(wanted) {
            return ControlFlow::Continue(());
        }
        reason = Some(format!("RBAC: allowed by {}", binding.shown(user)));
        ControlFlow::Break(())
    });
    match reason {
        Some(reason) => Decision { allowed: true, reason },
        None if problems.is_empty() => Decision { allowed: false, reason: String::new() },
        None => Decision { allowed: false, reason: format!("RBAC: {}", aggregate(problems)) },
    }
}

/// Several problems in one text, each once.
fn aggregate(mut problems: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    match problems.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// The plain 500 of a request that the API server does not take as one.
fn server_error(parts: &Parts, problem: &str) -> Response<Body> {
    let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
    let text = escape(&format!("Internal Server Error: {uri:?}: {problem}\n"));
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// Nothing in an error may look like HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
