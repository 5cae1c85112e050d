//! Quay: has no secret but the URL.

use super::{
    Answers, Outcome, Source,
    docker_hub::{IMAGE, PAYLOAD},
};
use crate::{
    decide::{
        image,
        json::{self, fields},
    },
    model::{Event, Inbound, Keys, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Quay;

fields! { struct Payload { docker_url: String = "docker_url" } }

impl Source for Quay {
    fn name(&self) -> &'static str {
        "Quay"
    }

    fn verify(&self, _request: &Inbound<'_>, _keys: &Keys) -> Result<(), Refusal> {
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

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
