//! Why a command ended early: a text, perhaps a hint, and the exit code.

use std::process::ExitCode;

/// Exit code of a wrong command line or configuration (`EX_USAGE` of sysexits).
pub(crate) const USAGE: u8 = 64;

/// A command that could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// Something outside the command line went wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1 }
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: USAGE }
    }

    /// A part that did not start or ended, with all that is known about it.
    pub(crate) fn of(error: impl std::error::Error) -> Self {
        Self::new(cluster::error::chain(&error))
    }

    /// Says what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the message and the hint, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        crate::output::note(&format!("error: {}", self.message));
        if let Some(hint) = &self.hint {
            crate::output::note(&format!("hint: {hint}"));
        }
        ExitCode::from(self.code)
    }
}
