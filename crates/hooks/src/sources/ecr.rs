//! Elastic Container Registry, by way of an EventBridge API destination; the connection of its
//! rule brings the credentials.

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
    model::{Event, Inbound, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Ecr;

fields! {
    struct Payload {
        id: Option<String> = "id",
        source: String = "source",
        kind: String = "detail-type",
        account: String = "account",
        region: String = "region",
        detail: Detail = "detail",
    }
}
fields! {
    struct Detail {
        action: String = "action-type",
        result: String = "result",
        repository: String = "repository-name",
        tag: Loose = "image-tag",
        digest: Loose = "image-digest",
    }
}

impl Source for Ecr {
    fn name(&self) -> &'static str {
        "ECR"
    }

    fn needs_auth(&self) -> bool {
        true
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let Payload { source, kind, account, region, detail, .. } =
            json::first(request.body).map_err(unreadable)?;
        let pushed = source == "aws.ecr"
            && kind == "ECR Image Action"
            && detail.action == "PUSH"
            && detail.result == "SUCCESS";
        if !pushed {
            return Ok(Outcome::Nothing(IGNORED));
        }
        let plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !plain(&account) || !plain(&region) {
            return Err(unreadable(Unreadable("account or region is none")));
        }
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        let host = format!("{account}.dkr.ecr.{region}.amazonaws.com{china}");
        let mut image = image::split(&format!("{host}/{}", detail.repository))
            .map_err(|_| unreadable(Unreadable("repository-name is no image")))?;
        image.tags.extend(detail.tag.0);
        image.digest = detail.digest.0;
        Ok(Outcome::Events(vec![Event::image(detail.action, image)]))
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
    fn successful_pushes_are_told() {
        let by = |body: &str| told(&Ecr, &[], body);
        let body = r#"{"source":"aws.ecr","detail-type":"ECR Image Action","account":"123","region":"eu-west-1",
            "detail":{"action-type":"PUSH","result":"SUCCESS","repository-name":"t/a"}}"#;
        assert_eq!(by(body), Ok(vec![image("123.dkr.ecr.eu-west-1.amazonaws.com", "t/a")]));
        let china = body.replace("eu-west-1", "cn-north-1");
        assert_eq!(by(&china), Ok(vec![image("123.dkr.ecr.cn-north-1.amazonaws.com.cn", "t/a")]));
        for change in [("PUSH", "DELETE"), ("SUCCESS", "FAILURE"), ("aws.ecr", "aws.s3")] {
            assert_eq!(by(&body.replace(change.0, change.1)), Err((200, "ignored".into())));
        }
        let odd = body.replace("eu-west-1", "evil/host");
        assert_eq!(by(&odd), Err((400, "cannot decode payload".into())));
    }
}
