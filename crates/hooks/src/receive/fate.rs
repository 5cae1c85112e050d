//! What became of a request, for counts and for operators; the sender sees only the answer.

use std::borrow::Cow;

use crate::journal::Id;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The targets are told, or were.
    Told(Option<Id>),
    /// It was turned down, for this reason.
    Rejected(&'static str, Cow<'static, str>),
    /// It repeats this delivery; without an id it was refused.
    Duplicate(Option<Id>),
    /// It concerns nobody.
    Ignored,
    /// The filters let nothing pass.
    Filtered,
    /// A filter could not be asked.
    FilterError(String),
}

impl Fate {
    /// The word for operators.
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Told(Some(_)) => "queued",
            Self::Told(None) => "told",
            Self::Rejected(..) => "rejected",
            Self::Duplicate(_) => "duplicate",
            Self::Ignored => "ignored",
            Self::Filtered => "filtered",
            Self::FilterError(_) => "filter_error",
        }
    }

    /// The journal's record of it.
    pub(super) fn id(&self) -> Option<Id> {
        match self {
            Self::Told(id) => *id,
            _ => None,
        }
    }

    /// What more there is to say.
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Rejected(_, reason) => Some(reason.to_string()),
            Self::Duplicate(Some(id)) => Some(format!("of {id}")),
            Self::FilterError(error) => Some(error.clone()),
            _ => None,
        }
    }
}
