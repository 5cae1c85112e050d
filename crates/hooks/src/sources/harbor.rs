//! Harbor, both payload formats of its own: the key is whatever was typed as "auth header".

use super::{
    Answers, Outcome, Source,
    docker_hub::{IMAGE, PAYLOAD},
    extra::Pushed,
};
use crate::{
    decide::{
        image,
        json::{self, Loose, fields},
        signature,
    },
    model::{Inbound, Keys, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Harbor;

fields! { struct Payload { kind: String = "type", event_data: EventData = "event_data" } }
fields! { struct EventData { resources: Vec<Resource> = "resources" } }
fields! { struct Resource { resource_url: String = "resource_url", digest: Loose = "digest" } }

impl Source for Harbor {
    fn name(&self) -> &'static str {
        "Harbor"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        if signature::token(request.header("authorization"), request, keys) {
            Ok(())
        } else {
            Err(Refusal::credentials(401, "The Harbor token does not match", "token mismatch"))
        }
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload =
            json::first(request.body).map_err(|error| Refusal::payload(400, PAYLOAD, error.0))?;
        if !["pushImage", "PUSH_ARTIFACT"].contains(&&*payload.kind) {
            return Err(Refusal::event(400, "Unexpected event type"));
        }
        if payload.event_data.resources.is_empty() {
            return Err(Refusal::payload(400, PAYLOAD, "no event_data.resources"));
        }
        let resources = payload.event_data.resources;
        json::events(resources.len(), 0)
            .map_err(|error| Refusal::payload(400, PAYLOAD, error.0))?;
        let mut pushed = Pushed::default();
        for (index, resource) in resources.into_iter().enumerate() {
            let mut image = match image::split(&resource.resource_url) {
                Ok(image) => image,
                Err(_) if index > 0 => continue,
                Err(_) => {
                    return Err(Refusal::payload(400, IMAGE, "resource_url is no image"));
                }
            };
            image.digest = image.digest.or(resource.digest.0);
            pushed.add(&payload.kind, image);
        }
        Ok(Outcome::Events(pushed.events))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn body(kind: &str, urls: &[&str]) -> String {
        let resources: Vec<_> =
            urls.iter().map(|url| serde_json::json!({ "resource_url": url })).collect();
        serde_json::json!({"type": kind, "event_data": {"resources": resources}}).to_string()
    }

    #[test]
    fn the_key_is_the_whole_header() {
        let good = std::str::from_utf8(KEY).unwrap();
        let wrong = Err((401, "The Harbor token does not match".into()));
        assert_eq!(verified(&Harbor, &[("authorization", good)], "{}"), Ok(()));
        let bearer = format!("Bearer {good}");
        assert_eq!(verified(&Harbor, &[("authorization", &bearer)], "{}"), wrong);
        assert_eq!(verified(&Harbor, &[], "{}"), wrong);
    }

    #[test]
    fn a_digest_is_that_of_all_tags() {
        let digest = |second: &str| {
            let body = format!(
                r#"{{"type":"PUSH_ARTIFACT","event_data":{{"resources":[
                {{"resource_url":"h.io/t/a:1","digest":"sha256:00"}},
                {{"resource_url":"h.io/t/a:2","digest":"{second}"}}]}}}}"#
            );
            let headers = headers(&[]);
            let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
            match Harbor.parse(&request) {
                Ok(Outcome::Events(events)) => events[0].image.clone().unwrap().digest,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(digest("sha256:00").as_deref(), Some("sha256:00"));
        assert_eq!(digest("sha256:11"), None);
    }

    #[test]
    fn distinct_repositories_are_told() {
        let by = |body: &str| told(&Harbor, &[], body);
        for kind in ["pushImage", "PUSH_ARTIFACT"] {
            let body = body(kind, &["h.io/t/a:1", "h.io/t/a:2", "h.io/t/b@sha256:00"]);
            assert_eq!(by(&body), Ok(vec![image("h.io", "t/a"), image("h.io", "t/b")]));
        }
        let unexpected = Err((400, "Unexpected event type".into()));
        assert_eq!(by(&body("DELETE_ARTIFACT", &["h.io/t/a"])), unexpected);
        assert_eq!(by("{}"), unexpected);
        assert_eq!(by(&body("pushImage", &[])), Err((400, PAYLOAD.into())));
        assert_eq!(by(r#"{"type":"pushImage"}"#), Err((400, PAYLOAD.into())));
        assert_eq!(by("null"), Err((400, PAYLOAD.into())));
        assert_eq!(by(&body("pushImage", &[""])), Err((400, IMAGE.into())));
    }
}
