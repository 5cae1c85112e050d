//! What the journal remembers of one accepted request.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    Id,
    seal::{self, Seal},
};
use crate::model::Event;

/// How many attempts are remembered one by one.
const MAX_ATTEMPTS: usize = 10;
/// How many merged ids a notification names; the rest is only counted.
const MAX_MERGED: usize = 100;

/// One accepted request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Its name; not stored, it is the key.
    #[serde(skip, default = "no_id")]
    pub id: Id,
    /// The endpoint's name.
    pub endpoint: String,
    /// The source's name.
    pub source: String,
    /// The sender's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
    /// SHA-256 of the body, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
    /// Whether the sender used the id before, for another body.
    #[serde(default, skip_serializing_if = "is_false")]
    pub id_reused: bool,
    /// How often the sender repeated it while it was unfinished.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u32,
    /// What happened.
    pub events: Vec<Event>,
    /// The same encrypted, in base64: then there are no `events` before it is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<String>,
    /// Targets whose filters turned all events down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// Who is told of notifications that are given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// Who is told.
    pub notifications: Vec<Notification>,
}

/// One target being told of one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The target's name.
    pub target: String,
    /// The index of the event.
    pub event: usize,
    /// What it is about; one subject's notifications are made in order.
    pub subject: String,
    /// Whether it cannot be made without the request.
    #[serde(default, skip_serializing_if = "is_false")]
    pub needs_request: bool,
    /// What has become of it.
    pub state: State,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u32,
    /// When it is due, in Unix milliseconds; nothing while an older one of its subject is in its
    /// way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
    /// Before this, in Unix milliseconds, it waits for others of its subject to be made with them;
    /// nothing if it is made alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// What went wrong the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The latest attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Attempt>,
    /// How many later ones it stands for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u32,
    /// Whose; only the first hundred are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_ids: Vec<String>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended, in Unix milliseconds.
    pub at: i64,
    /// What went wrong; nothing if it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What has become of a notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits, or is being tried.
    Pending,
    /// It was made.
    Delivered,
    /// It was given up.
    Dead,
    /// An earlier one, still pending, says the same.
    Merged(String, u16),
}

fn no_id() -> Id {
    Id(0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Notification {
    /// Whether this is its target's name, in full or without the endpoint's.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.target == name || self.target.rsplit('/').next() == Some(name)
    }

    /// Notes an attempt.
    pub(super) fn attempted(&mut self, at: i64, error: Option<String>) {
        self.attempts = self.attempts.saturating_add(1);
        self.last_error.clone_from(&error);
        if self.history.len() >= MAX_ATTEMPTS {
            self.history.remove(0);
        }
        self.history.push(Attempt { at, error });
    }

    /// Notes that a later one needs none of its own.
    pub(super) fn absorb(&mut self, id: Id) {
        self.merged = self.merged.saturating_add(1);
        if self.merged_ids.len() < MAX_MERGED {
            self.merged_ids.push(id.to_string());
        }
    }
}

impl Delivery {
    /// Whether nothing of its own is left to do. What it merged into may still be pending.
    pub(super) fn finished(&self) -> bool {
        self.notifications.iter().all(|notification| notification.state != State::Pending)
    }

    /// Whether any notification was given up.
    pub fn dead(&self) -> bool {
        self.notifications.iter().any(|notification| notification.state == State::Dead)
    }

    /// What has become of it, in one word.
    pub fn word(&self) -> &'static str {
        let any = |wanted: fn(&Notification) -> bool| self.notifications.iter().any(wanted);
        let pending = any(|one| matches!(one.state, State::Pending | State::Merged(..)));
        let tried = any(|one| one.state == State::Pending && one.attempts > 0);
        match (pending, tried) {
            (_, true) => "retrying",
            (true, false) => "queued",
            (false, _) if self.dead() => "dead",
            (false, _) => "delivered",
        }
    }

    /// Encrypts the events; nothing if that cannot be done.
    pub(super) fn close(mut self, seal: &Seal) -> Option<Self> {
        let events = serde_json::to_vec(&self.events).ok()?;
        self.sealed = Some(STANDARD.encode(seal::close(Some(seal), self.id, &events)?));
        self.events.clear();
        Some(self)
    }

    /// The delivery with its events, if they can be read.
    pub(super) fn open(mut self, seal: Option<&Seal>) -> Self {
        if let Some(text) = self.sealed.take() {
            let opened = STANDARD.decode(text).ok();
            let opened = opened.and_then(|bytes| seal::open(seal, self.id, &bytes));
            self.events =
                opened.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        }
        self
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and lists only: writing cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn from_bytes(id: Id, bytes: &[u8]) -> Option<Self> {
        let mut read: Self = serde_json::from_slice(bytes).ok()?;
        read.id = id;
        Some(read)
    }
}
