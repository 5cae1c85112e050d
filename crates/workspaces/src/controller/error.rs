//! Why a step of a reconcile did not come to its end, by what is to be done about it.

use cluster::{apply::ApplyError, error};

use crate::decide::naming;

/// The longest text of a status message; what the API says can be of any length.
const MAX_MESSAGE: usize = 1024;

/// Why a step did not come to its end.
#[derive(Debug)]
pub(super) enum StepError {
    /// Somebody has to act: the workspace is in error until something changes.
    Stalled(String),
    /// An object cannot be made (quota, admission, a taken name): in error, and tried again with
    /// back-off.
    Refused(String),
    /// Something has to happen first, and its coming wakes us: what.
    Waiting(String),
    /// A newer version exists than the one that was read: again at once.
    Outdated,
    /// The API fails: again with back-off.
    Transient {
        /// What was tried.
        doing: String,
        /// What came of it.
        source: kube::Error,
    },
}

impl StepError {
    /// For metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Stalled(_) => "stalled",
            Self::Refused(_) => "refused",
            Self::Waiting(_) => "waiting",
            Self::Outdated => "outdated",
            Self::Transient { .. } => "failed",
        }
    }

    /// For a call that is not about one of the objects of the workspace.
    pub(super) fn call(doing: &str, source: kube::Error) -> Self {
        if error::is_conflict(&source) {
            Self::Outdated
        } else {
            Self::Transient { doing: doing.to_owned(), source }
        }
    }

    /// For an object of the workspace.
    pub(super) fn apply(failed: ApplyError) -> Self {
        match failed {
            // No watch shows objects of others, so only trying again tells when this one is gone.
            ApplyError::Foreign { kind, name } => Self::Refused(format!(
                "Workspace cannot use {kind} {name:?}: it exists and is not owned by the Workspace"
            )),
            ApplyError::Api { source, .. } if error::is_conflict(&source) => Self::Outdated,
            // Gone since it was read, or its namespace is going.
            ApplyError::Api { source, .. } if error::is_not_found(&source) => Self::Outdated,
            ApplyError::Api { kind, source, .. } if error::is_refused(&source) => {
                Self::Refused(generation_failed(&kind, &said(&source)))
            }
            ApplyError::Api { kind, name, source } => {
                Self::Transient { doing: format!("write {kind} {name:?}"), source }
            }
        }
    }
}

/// The state message when an object cannot be made.
pub(super) fn generation_failed(kind: &str, error: &str) -> String {
    let text = format!("Workspace failed to generate {kind} with error: {error}");
    naming::truncate(&text, MAX_MESSAGE).to_owned()
}

fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
