//! The one error type of every request (DESIGN §5): a text for the caller, a context for the log.
//!
//! It knows nothing of a wire format. Each dialect maps it to its own bodies in one place, so the
//! same failure reads right in every contract.

use std::{error::Error as StdError, fmt, time::Duration};

/// What went wrong, in terms that every dialect can map to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be read: syntax, wrong types, unknown fields (400).
    Malformed,
    /// The request was read and breaks a rule; see [`Error::causes`] (422).
    Invalid,
    /// The media type is missing or not one that the route takes (415).
    UnsupportedMediaType,
    /// The body is larger than the route takes (413).
    TooLarge,
    /// Nobody knows who the caller is (401).
    Unauthenticated,
    /// The caller is known and may not do this (403).
    Forbidden,
    /// The object or route does not exist (404).
    NotFound,
    /// The state of the object forbids the operation (409).
    Conflict,
    /// The object is not in the version that the request insists on (412).
    PreconditionFailed,
    /// Too many requests of this caller (429).
    TooManyRequests,
    /// A part that is needed cannot answer now; trying again helps (503).
    Unavailable,
    /// A part that is needed took too long (504).
    Timeout,
    /// The disk is full; nothing was written (507).
    InsufficientStorage,
    /// Something broke that the caller cannot mend (500).
    Internal,
}

/// Who found a [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Quartermaster itself; `field` is a path in the request.
    Internal,
    /// The Kubernetes API or admission; `field` is a path in the object.
    Kubernetes,
}

/// One field of a request that breaks a rule, in the words of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Who found it.
    pub origin: Origin,
    /// Machine-readable reason, such as `FieldValueInvalid`.
    pub reason: String,
    /// Dotted path, `[0]` for indexes and `[key]` for map keys; may be empty.
    pub field: String,
    /// Text for a human.
    pub message: String,
}

impl Cause {
    /// A cause found by Quartermaster.
    pub fn internal(
        reason: impl Into<String>,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            origin: Origin::Internal,
            reason: reason.into(),
            field: field.into(),
            message: message.into(),
        }
    }
}

/// A failed request: [`Kind`], public text, private context.
///
/// There is no `Display`: nobody can leak the private half by formatting it. Callers get
/// [`Error::message`], logs get [`Error::log`].
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    causes: Vec<Cause>,
    retry_after: Option<Duration>,
    context: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error whose text is safe to show.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), retry_after: None, context: None }
    }

    /// An internal failure: the caller learns only that there was one, the log gets the source.
    pub fn internal(context: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            Kind::Internal,
            "the server encountered a problem and could not process your request",
        )
        .with_context(context)
    }

    /// Attaches what only logs may see.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// Attaches the fields that are at fault.
    #[must_use]
    pub fn with_causes(mut self, causes: Vec<Cause>) -> Self {
        self.causes = causes;
        self
    }

    /// Says when trying again may help.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The fields that are at fault; empty for most kinds.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// When trying again may help, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same request may succeed later without a change by the caller.
    pub fn retryable(&self) -> bool {
        match self.kind {
            Kind::TooManyRequests
            | Kind::Unavailable
            | Kind::Timeout
            | Kind::InsufficientStorage => true,
            Kind::Malformed
            | Kind::Invalid
            | Kind::UnsupportedMediaType
            | Kind::TooLarge
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Conflict
            | Kind::PreconditionFailed
            | Kind::Internal => false,
        }
    }

    /// Everything there is, private context and its sources included: for logs only.
    pub fn log(&self) -> impl fmt::Display + '_ {
        LogView(self)
    }
}

struct LogView<'a>(&'a Error);

impl fmt::Display for LogView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        let mut next: Option<&(dyn StdError + 'static)> = match &self.0.context {
            Some(context) => Some(context.as_ref()),
            None => None,
        };
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_sees_the_context_and_the_caller_does_not() {
        let error = Error::internal(std::io::Error::other("disk on fire"));
        assert!(!error.message().contains("fire"));
        assert_eq!(
            error.log().to_string(),
            "Internal: the server encountered a problem and could not process your request: disk on fire"
        );
    }
}
