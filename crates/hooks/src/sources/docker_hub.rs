//! Docker Hub: has no secret but the URL. Its `callback_url` is never called: whoever knows the
//! URL could make us call anything.

use super::{Answers, Outcome, Source};
use crate::{
    decide::{
        image,
        json::{self, Loose, fields},
    },
    model::{Event, Inbound, Refusal},
};

pub(super) const PAYLOAD: &str = "Cannot decode webhook payload";
pub(super) const IMAGE: &str = "Cannot parse image in webhook payload";

/// See the module.
#[derive(Debug)]
pub(super) struct DockerHub;

fields! { struct Payload { repository: Repository = "repository", push_data: PushData = "push_data" } }
fields! { struct Repository { repo_name: String = "repo_name" } }
fields! { struct PushData { tag: Loose = "tag" } }

impl Source for DockerHub {
    fn name(&self) -> &'static str {
        "DockerHub"
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload =
            json::first(request.body).map_err(|error| Refusal::payload(400, PAYLOAD, error.0))?;
        let mut image = image::split(&payload.repository.repo_name)
            .map_err(|_| Refusal::payload(400, IMAGE, "repository.repo_name is no image"))?;
        image.tags.extend(payload.push_data.tag.0);
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
    fn a_repository_is_told() {
        let by = |body: &str| told(&DockerHub, &[], body);
        let body = r#"{"callback_url":"http://10.0.0.1/","push_data":{"tag":"1"},
            "repository":{"repo_name":"team/app"}} and more"#;
        assert_eq!(by(body), Ok(vec![image("", "team/app")]));
        for body in [
            "",
            "null",
            "[]",
            "0",
            "\"\"",
            r#"{"repository":[]}"#,
            r#"{"repository":{"repo_name":1}}"#,
        ] {
            assert_eq!(by(body), Err((400, PAYLOAD.into())), "{body}");
        }
        for body in ["{}", r#"{"repository":{"repo_name":"/x"}}"#] {
            assert_eq!(by(body), Err((400, IMAGE.into())), "{body}");
        }
    }
}
