//! What the sources beyond flux-recv's share: the default answers of contract §3.6.

use super::Answers;
use crate::{
    decide::json::Unreadable,
    model::{Answer, Refusal},
};

/// The answer to events that are of no interest.
pub(super) const IGNORED: Answer = Answer::error(200, "ignored");

/// Wrong or missing credentials.
pub(super) fn invalid(reason: &'static str) -> Refusal {
    Refusal::credentials(401, "invalid signature", reason)
}

/// A body that cannot be read.
pub(super) fn unreadable(error: Unreadable) -> Refusal {
    Refusal::payload(400, "cannot decode payload", error.0)
}

/// What senders of git events and of anything else but images are told.
pub(super) fn answers() -> Answers {
    Answers::git("cannot deliver the event")
}
