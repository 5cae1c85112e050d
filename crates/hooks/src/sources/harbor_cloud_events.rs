//! Harbor, when it is set to send CloudEvents.

use std::borrow::Cow;

use super::{
    Answers, Outcome, Source,
    extra::{IGNORED, Pushed, invalid, unreadable},
};
use crate::{
    decide::{
        image,
        json::{self, Loose, Unreadable, fields},
        signature,
    },
    model::{Inbound, Keys, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct HarborCloudEvents;

fields! {
    struct Payload {
        id: String = "id",
        source: String = "source",
        kind: String = "type",
        data: Data = "data",
    }
}
fields! { struct Data { resources: Vec<Resource> = "resources" } }
fields! { struct Resource { url: String = "resource_url", digest: Loose = "digest" } }

impl Source for HarborCloudEvents {
    fn name(&self) -> &'static str {
        "HarborCloudEvents"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        let matches = signature::token(request.header("authorization"), request, keys);
        matches.then_some(()).ok_or_else(|| invalid("token mismatch"))
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload = json::first(request.body).map_err(unreadable)?;
        if !["harbor.artifact.pushed", "harbor.tag.created"].contains(&&*payload.kind) {
            return Ok(Outcome::Nothing(IGNORED));
        }
        json::events(payload.data.resources.len(), 0).map_err(unreadable)?;
        let mut pushed = Pushed::default();
        for resource in payload.data.resources {
            let mut image = image::split(&resource.url)
                .map_err(|_| unreadable(Unreadable("resource_url is no image")))?;
            image.digest = image.digest.or(resource.digest.0);
            pushed.add(&payload.kind, image);
        }
        if pushed.events.is_empty() {
            return Err(unreadable(Unreadable("no data.resources")));
        }
        Ok(Outcome::Events(pushed.events))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        let Payload { id, source, .. } = json::first(request.body).ok()?;
        (!id.is_empty()).then(|| Cow::Owned(format!("{source} {id}")))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn distinct_repositories_are_told() {
        let by = |body: &str| told(&HarborCloudEvents, &[], body);
        let body = r#"{"type":"harbor.artifact.pushed","data":{"resources":[
            {"resource_url":"h.io/t/a:1"},{"resource_url":"h.io/t/a:2"},{"resource_url":"h.io/t/b:1"}]}}"#;
        assert_eq!(by(body), Ok(vec![image("h.io", "t/a"), image("h.io", "t/b")]));
        assert_eq!(
            by(&body.replace("artifact.pushed", "artifact.deleted")),
            Err((200, "ignored".into()))
        );
        for body in ["", r#"{"type":"harbor.tag.created"}"#] {
            assert_eq!(by(body), Err((400, "cannot decode payload".into())));
        }
        let body = r#"{"type":"harbor.artifact.pushed","data":{"resources":[
            {"resource_url":"h.io/t/a:1","digest":"sha256:00"},{"resource_url":"h.io/t/b@sha256:01"}]}}"#;
        let told = [Some("sha256:00".to_owned()), Some("sha256:01".to_owned())];
        assert_eq!(digests(&HarborCloudEvents, body), told);
        let wrong = Err((401, "invalid signature".into()));
        assert_eq!(verified(&HarborCloudEvents, &[("authorization", "x")], "{}"), wrong);
    }
}
