//! Answers as HTTP writes them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{journal::Id, listener::Body, model::Answer};

/// An answer and the headers that go with it.
#[derive(Debug)]
pub(crate) struct Reply {
    answer: Answer,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, headers: Vec::new() }
    }
}

impl Reply {
    /// An error that ends the connection: what follows on it cannot be believed.
    pub(super) fn closing(status: u16, text: &'static str) -> Self {
        Self::from(Answer::error(status, text))
            .with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// An error that time will mend.
    pub(crate) fn retry(status: u16, text: &'static str, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Self::from(Answer::error(status, text)).with(header::RETRY_AFTER, seconds.max(1).into())
    }

    /// The answer to other methods than POST.
    pub(crate) fn post_only() -> Self {
        Self::from(Answer::error(405, "method not allowed"))
            .with(header::ALLOW, HeaderValue::from_static("POST"))
    }

    /// The answer to a request that is safe and will be told on.
    pub(super) fn accepted(id: Id) -> Self {
        let text = format!("{{\"id\":\"{id}\",\"status\":\"accepted\"}}");
        Self::from(Answer { status: 202, text: text.into(), error: false })
            .with(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .naming(id)
    }

    /// Asks for a user name and a password.
    pub(super) fn basic(self) -> Self {
        let realm = HeaderValue::from_static("Basic realm=\"hook\"");
        self.with(header::WWW_AUTHENTICATE, realm)
    }

    /// Names the delivery in a header.
    pub(super) fn naming(self, id: Id) -> Self {
        match HeaderValue::try_from(id.to_string()) {
            Ok(value) => self.with(HeaderName::from_static("x-quartermaster-delivery"), value),
            Err(_) => self,
        }
    }

    /// Says that nothing was done because it had been done before.
    pub(super) fn duplicate(self) -> Self {
        let name = HeaderName::from_static("x-quartermaster-duplicate");
        self.with(name, HeaderValue::from_static("true"))
    }

    /// The answer to a sender that asks whether it may send, so often.
    pub(super) fn allowed(origin: &str, per_minute: u64) -> Self {
        let reply = Self::from(Answer::EMPTY).with(header::ALLOW, HeaderValue::from_static("POST"));
        match HeaderValue::try_from(origin) {
            Ok(origin) => reply
                .with(HeaderName::from_static("webhook-allowed-origin"), origin)
                .with(HeaderName::from_static("webhook-allowed-rate"), per_minute.into()),
            Err(_) => reply,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.answer.text
    }

    pub(super) fn status(&self) -> u16 {
        self.answer.status
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
        const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
        let Answer { status, text, error } = self.answer;
        let body = match text {
            text if error => Bytes::from(format!("{text}\n")),
            std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            std::borrow::Cow::Owned(text) => Bytes::from(text),
        };
        let empty = body.is_empty();
        let mut response = Response::new(Body::new(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !empty {
            headers.insert(header::CONTENT_TYPE, TEXT);
        }
        if error {
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}
