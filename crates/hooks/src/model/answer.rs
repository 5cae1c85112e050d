//! What the sender is told.

use std::borrow::Cow;

/// The whole answer to one request, free of HTTP types' builders and easy to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body without the newline that error texts end in.
    pub text: Cow<'static, str>,
    /// Whether the body is an error text: newline at its end, `nosniff` among the headers.
    pub error: bool,
}

impl Answer {
    /// A plain text, as it is.
    pub const fn text(status: u16, text: &'static str) -> Self {
        Self { status, text: Cow::Borrowed(text), error: false }
    }

    /// An error text: a newline follows it on the wire.
    pub const fn error(status: u16, text: &'static str) -> Self {
        Self { status, text: Cow::Borrowed(text), error: true }
    }

    /// 200 `OK`, how git sources say that all went well.
    pub const OK: Self = Self::text(200, "OK");

    /// 200 without a body, how image sources say that all went well.
    pub const EMPTY: Self = Self::text(200, "");
}

/// Which gate a request failed at; decides what counts against an address, never what is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wrong or missing credentials.
    Credentials,
    /// An event the endpoint does not take.
    Event,
    /// A body that cannot be read.
    Payload,
}

impl Class {
    /// The word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Event => "event",
            Self::Payload => "payload",
        }
    }
}

/// A request that a source turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the sender is told.
    pub answer: Answer,
    /// Which gate it failed at.
    pub class: Class,
    /// What exactly was wrong, for our log only.
    pub reason: &'static str,
}

impl Refusal {
    /// Wrong or missing credentials.
    pub const fn credentials(status: u16, text: &'static str, reason: &'static str) -> Self {
        Self { answer: Answer::error(status, text), class: Class::Credentials, reason }
    }

    /// An event the endpoint does not take.
    pub const fn event(status: u16, text: &'static str) -> Self {
        Self { answer: Answer::error(status, text), class: Class::Event, reason: "unwanted event" }
    }

    /// A body that cannot be read.
    pub const fn payload(status: u16, text: &'static str, reason: &'static str) -> Self {
        Self { answer: Answer::error(status, text), class: Class::Payload, reason }
    }
}
