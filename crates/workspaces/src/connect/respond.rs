//! What people and programs read when the workspace itself does not speak.

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use web::{Client, Error, Head, Kind, Page};

use super::{Closed, Outlook, path::ConnectPath, proxy::Failure};

/// Words an error that is not about one workspace: for the listener's stack and refusals.
pub fn render(error: &Error, head: &Head) -> Response {
    let status = status(error.kind());
    if status.is_server_error() {
        tracing::warn!(request = ?head, error = %error.log(), "request failed");
    }
    match head.client {
        Client::Browser => Page::new(status, title(status)).text(error.message()).into_response(),
        Client::Program => problem(status, error.message(), error.retry_after()),
    }
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Kind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::InsufficientStorage => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "Please sign in",
        StatusCode::FORBIDDEN => "Request refused",
        StatusCode::NOT_FOUND => "Nothing here",
        _ => "That did not work",
    }
}

/// An error for programs, in the envelope of the workspaces API.
fn problem(status: StatusCode, message: &str, retry_after: Option<Duration>) -> Response {
    let body = json!({ "error": { "code": status.as_str(), "message": message } });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(after) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

const OPENS: &str = "This page opens it as soon as it is ready.";

/// Who reads, which workspace it is about, and where the way back leads.
pub(super) struct Reader<'a> {
    pub(super) client: Client,
    pub(super) path: ConnectPath<'a>,
    /// The address of the list of workspaces.
    pub(super) home: String,
}

impl Reader<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.path.namespace, self.path.workspace)
    }

    fn page(&self, status: StatusCode, title: String) -> Page {
        Page::new(status, title).link(self.home.clone(), "All workspaces")
    }

    /// There is no such workspace.
    pub(super) fn no_workspace(&self) -> Response {
        let name = self.name();
        match self.client {
            Client::Browser => self
                .page(StatusCode::NOT_FOUND, "This workspace does not exist".to_owned())
                .text(format!("There is no workspace {name}. It may have been deleted."))
                .into_response(),
            Client::Program => problem(
                StatusCode::NOT_FOUND,
                &format!("the workspace {name} does not exist"),
                None,
            ),
        }
    }

    /// The workspace has no such port.
    pub(super) fn no_port(&self) -> Response {
        let (name, port) = (self.name(), self.path.port);
        match self.client {
            Client::Browser => self
                .page(StatusCode::NOT_FOUND, "This workspace has no such port".to_owned())
                .text(format!("The image of {name} has no port \u{201c}{port}\u{201d}."))
                .into_response(),
            Client::Program => problem(
                StatusCode::NOT_FOUND,
                &format!("the workspace {name} has no port {port:?}"),
                None,
            ),
        }
    }

    /// The browser showed a ticket that is good no more.
    pub(super) fn used_ticket(&self, again: &str) -> Response {
        match self.client {
            Client::Browser => self
                .page(StatusCode::UNAUTHORIZED, "This link was used before".to_owned())
                .text("Links into a workspace work once and for a minute.")
                .link(again.to_owned(), "Open the workspace")
                .into_response(),
            Client::Program => {
                problem(StatusCode::UNAUTHORIZED, "this ticket was used before or is too old", None)
            }
        }
    }

    /// The workspace is not there now.
    pub(super) fn closed(&self, closed: &Closed) -> Response {
        let name = self.name();
        if self.client == Client::Program {
            let hint = match closed.outlook {
                Outlook::Coming => Some(Duration::from_secs(1)),
                Outlook::Paused | Outlook::Broken => None,
            };
            let text = format!("the workspace {name} is not running ({})", closed.state);
            let text = match closed.outlook {
                Outlook::Paused => format!("{text}: start it first"),
                _ if closed.message.is_empty() => text,
                _ => format!("{text}: {}", closed.message),
            };
            return problem(StatusCode::BAD_GATEWAY, &text, hint);
        }
        let (title, hint, again) = match closed.outlook {
            Outlook::Coming => (format!("{name} is on its way"), OPENS, 1),
            Outlook::Paused => (
                format!("{name} is paused"),
                "Start it in the list of workspaces. Its files are kept.",
                5,
            ),
            Outlook::Broken => {
                (format!("{name} does not run"), "This page looks again every few seconds.", 5)
            }
        };
        let page = self.page(StatusCode::SERVICE_UNAVAILABLE, title).refresh(again);
        let page = if closed.outlook == Outlook::Coming { page.busy() } else { page };
        let page = if closed.state.is_empty() { page } else { page.badge(&closed.state) };
        let page = if closed.message.is_empty() { page } else { page.text(&closed.message) };
        page.text(hint).into_response()
    }

    /// The pod is ready and its program does not answer.
    pub(super) fn failed(&self, failure: &Failure) -> Response {
        let status = match failure {
            Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Late => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        if self.client == Client::Program {
            let text = format!("{}: {failure}", self.name());
            return problem(status, &text, Some(Duration::from_secs(1)));
        }
        match failure {
            Failure::Unreachable(_) | Failure::Busy => self
                .page(status, format!("{} is nearly there", self.name()))
                .busy()
                .refresh(1)
                .text("It runs, and its program does not answer yet.")
                .text(OPENS)
                .into_response(),
            _ => self
                .page(status, format!("{} did not answer", self.name()))
                .text(format!("{failure}."))
                .text("Load this page again, or restart the workspace in the list.")
                .into_response(),
        }
    }
}
