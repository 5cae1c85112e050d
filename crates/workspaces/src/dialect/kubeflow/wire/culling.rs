//! When an idle workspace is paused.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    decide::{
        activity::{Clock, subject},
        filter::Labels,
    },
    model::{Workspace, WorkspaceKind, WorkspaceState},
};

/// When a running workspace is paused if nobody uses it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Culling {
    /// When its users are warned, in ms since 1970.
    warn_after: i64,
    /// When it is paused, in ms since 1970.
    pause_after: i64,
    /// In how many seconds that is; 0 if only the next probe has to say so.
    seconds_until_pause: i64,
}

impl Culling {
    /// None if no rule pauses it, or nobody knows when.
    pub(crate) fn of(
        workspace: &Workspace,
        kind: Option<&WorkspaceKind>,
        namespace: &Labels,
        now: i64,
    ) -> Option<Self> {
        let status = workspace.status.as_ref()?;
        if status.state != WorkspaceState::Running || workspace.spec.paused {
            return None;
        }
        let clock = Clock { now, even_since: 0 };
        let ahead = subject(workspace, status, kind?, namespace, clock)?.ahead()?;
        // The controller may know of reasons to wait longer.
        let told = status.activity.rules.as_ref().and_then(|rules| rules.pause_workspace.as_ref());
        let pause_after = ahead.pause.max(told.map_or(0, |told| told.eligible_after));
        let left = pause_after.saturating_sub(now).max(0);
        Some(Self {
            warn_after: pause_after.saturating_sub(ahead.pause.saturating_sub(ahead.warn)),
            pause_after,
            seconds_until_pause: left.saturating_add(999) / 1000,
        })
    }
}

/// That somebody asked to keep a workspace.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeptAlive {
    /// When, in ms since 1970.
    pub(crate) kept_alive: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) culling: Option<Culling>,
}
