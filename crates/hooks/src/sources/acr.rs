//! Azure Container Registry: cannot sign, so its endpoint asks for a header.

use std::borrow::Cow;

use super::{
    Answers, Outcome, Source,
    extra::{IGNORED, unreadable},
};
use crate::{
    decide::{
        image,
        json::{self, Loose, Unreadable, fields},
    },
    model::{Answer, Event, EventKind, Inbound, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Acr;

fields! {
    struct Payload {
        id: Option<String> = "id",
        action: String = "action",
        target: Target = "target",
        request: Request = "request",
    }
}
fields! {
    struct Target {
        repository: String = "repository",
        tag: Loose = "tag",
        digest: Loose = "digest",
        media_type: Loose = "mediaType",
    }
}
fields! { struct Request { host: String = "host" } }

impl Source for Acr {
    fn name(&self) -> &'static str {
        "ACR"
    }

    fn needs_auth(&self) -> bool {
        true
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let payload: Payload = json::first(request.body).map_err(unreadable)?;
        let kind = match &*payload.action {
            "push" => EventKind::ImagePush,
            "chart_push" => EventKind::ChartPush,
            "ping" => return Ok(Outcome::Nothing(Answer::text(200, "Pong"))),
            _ => return Ok(Outcome::Nothing(IGNORED)),
        };
        let target = payload.target;
        let mut image = image::split(&format!("{}/{}", payload.request.host, target.repository))
            .map_err(|_| unreadable(Unreadable("host and repository are no image")))?;
        image.tags.extend(target.tag.0);
        image.digest = image.digest.or(target.digest.0);
        image.media_type = target.media_type.0;
        let event = Event { kind, ..Event::image(payload.action, image) };
        Ok(Outcome::Events(vec![event]))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        json::first::<Payload>(request.body).ok()?.id.map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn pushes_are_told() {
        let by = |body: &str| told(&Acr, &[], body);
        let body = r#"{"action":"push","target":{"repository":"t/a","tag":"1"},"request":{"host":"r.azurecr.io"}}"#;
        assert_eq!(by(body), Ok(vec![image("r.azurecr.io", "t/a")]));
        assert_eq!(by(r#"{"action":"ping"}"#), Err((200, "Pong".into())));
        assert_eq!(by(r#"{"action":"delete"}"#), Err((200, "ignored".into())));
        assert_eq!(by(r#"{"action":"push"}"#), Err((400, "cannot decode payload".into())));
    }
}
