//! Quay: has no secret but the URL.

use super::{
    Answers, Outcome, Source,
    docker_hub::{IMAGE, PAYLOAD},
    extra::unreadable,
};
use crate::{
    decide::{
        image,
        json::{self, Unreadable, fields},
    },
    model::{Event, Inbound, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Quay;

fields! { struct Payload { docker_url: String = "docker_url" } }

impl Source for Quay {
    fn name(&self) -> &'static str {
        "Quay"
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload =
            json::first(request.body).map_err(|error| Refusal::payload(400, PAYLOAD, error.0))?;
        let image = image::split(&payload.docker_url)
            .map_err(|_| Refusal::payload(400, IMAGE, "docker_url is no image"))?;
        Ok(Outcome::Events(vec![Event::image("push", image)]))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }
}

/// The same with the tags, for endpoints that ask for a password or a header as well.
#[derive(Debug)]
pub(super) struct QuayRepoEvents;

fields! { struct Tagged { docker_url: String = "docker_url", tags: Vec<String> = "updated_tags" } }

impl Source for QuayRepoEvents {
    fn name(&self) -> &'static str {
        "QuayRepoEvents"
    }

    fn needs_auth(&self) -> bool {
        true
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Tagged = json::first(request.body).map_err(unreadable)?;
        let mut image = image::split(&payload.docker_url)
            .map_err(|_| unreadable(Unreadable("docker_url is no image")))?;
        image.tags.extend(payload.tags);
        Ok(Outcome::Events(vec![Event::image("push", image)]))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn repository_events_keep_all_tags() {
        let headers = headers(&[]);
        let body = br#"{"docker_url":"quay.io/t/a","updated_tags":["a","b"]}"#;
        let outcome = QuayRepoEvents.parse(&Inbound { headers: &headers, body, now: 0 });
        let Ok(Outcome::Events(events)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(events[0].image.as_ref().unwrap().tags, ["a", "b"]);
    }

    #[test]
    fn a_repository_is_told_once_whatever_its_tags() {
        let by = |body: &str| told(&Quay, &[], body);
        let body = r#"{"docker_url":"quay.io/team/app","updated_tags":["a","b"]}"#;
        assert_eq!(by(body), Ok(vec![image("quay.io", "team/app")]));
        assert_eq!(by(r#"{"docker_url":null}"#), Err((400, IMAGE.into())));
        assert_eq!(by(r#"{"docker_url":{}}"#), Err((400, PAYLOAD.into())));
        assert_eq!(by("null"), Err((400, PAYLOAD.into())));
    }
}
