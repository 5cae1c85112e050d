//! What the sources beyond flux-recv's share: the default answers of contract §3.6.

use std::collections::{HashMap, hash_map::Entry};

use super::Answers;
use crate::{
    decide::json::Unreadable,
    model::{Answer, Event, Image, ImageName, Refusal},
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

/// The images of one push: each is one event, with all its tags.
#[derive(Default)]
pub(super) struct Pushed {
    pub(super) events: Vec<Event>,
    known: HashMap<ImageName, usize>,
}

impl Pushed {
    pub(super) fn add(&mut self, event: &str, image: Image) {
        let name = ImageName { domain: image.domain.clone(), image: image.name.clone() };
        match self.known.entry(name) {
            Entry::Occupied(known) => {
                let Some(known) = self.events[*known.get()].image.as_mut() else { return };
                known.tags.extend_from_slice(&image.tags);
                // Of several nobody knows which tag is which.
                if known.digest != image.digest {
                    known.digest = None;
                }
            }
            Entry::Vacant(place) => {
                place.insert(self.events.len());
                self.events.push(Event::image(event, image));
            }
        }
    }
}
