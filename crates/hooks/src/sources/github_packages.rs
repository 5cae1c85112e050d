//! Packages of GitHub: signed as all its hooks, about images.

use super::{
    Answers, Options, Outcome, Source,
    extra::{IGNORED, invalid, unreadable},
};
use crate::{
    decide::{
        image,
        json::{self, Loose, Unreadable, fields},
        signature::{self, Algorithm},
    },
    model::{Event, Inbound, Keys, Refusal},
};

/// See the module.
#[derive(Debug)]
pub(super) struct GitHubPackages {
    minimum: Algorithm,
}

impl GitHubPackages {
    pub(super) fn new(options: &Options) -> Self {
        Self { minimum: options.minimum }
    }
}

fields! {
    struct Payload {
        action: String = "action",
        package: Package = "package",
        registry_package: Package = "registry_package",
    }
}
fields! { struct Package { kind: String = "package_type", version: Version = "package_version" } }
fields! { struct Version { url: String = "package_url", container: Container = "container_metadata" } }
fields! { struct Container { tag: Tag = "tag" } }
fields! { struct Tag { name: Loose = "name", digest: Loose = "digest" } }

impl Source for GitHubPackages {
    fn name(&self) -> &'static str {
        "GHCR"
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        signature::hub(request, keys, self.minimum).map_err(invalid)
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let event = request.text("x-github-event").unwrap_or_default();
        if !["package", "registry_package"].contains(&event) {
            return Ok(Outcome::Nothing(IGNORED));
        }
        let body = signature::hub_payload(request);
        let payload: Payload = json::whole(&body).map_err(unreadable)?;
        let package = if event == "package" { payload.package } else { payload.registry_package };
        let kind = package.kind.to_ascii_lowercase();
        let pushed = ["published", "updated"].contains(&&*payload.action);
        if !pushed || !["container", "docker"].contains(&&*kind) {
            return Ok(Outcome::Nothing(IGNORED));
        }
        let Version { url, container } = package.version;
        let mut image = image::split(url.strip_suffix(':').unwrap_or(&url))
            .map_err(|_| unreadable(Unreadable("package_url is no image")))?;
        let tag = container.tag.name.0.filter(|tag| !tag.is_empty() && !image.tags.contains(tag));
        image.tags.extend(tag);
        image.digest = image.digest.or(container.tag.digest.0);
        Ok(Outcome::Events(vec![Event::image(event, image)]))
    }

    fn answers(&self) -> Answers {
        Answers::image()
    }

    fn id_headers(&self) -> &'static [&'static str] {
        &["x-github-delivery"]
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn published_containers_are_told() {
        let source = GitHubPackages::new(&Options::default());
        let by = |event: &str, body: &str| {
            told(&source, &[("x-github-event", event), ("content-type", "application/json")], body)
        };
        let body = |kind: &str, action: &str| {
            format!(
                r#"{{"action":"{action}","package":{{"package_type":"{kind}","package_version":{{
                "package_url":"ghcr.io/t/a:","container_metadata":{{"tag":{{"name":"1"}}}}}}}}}}"#
            )
        };
        assert_eq!(
            by("package", &body("CONTAINER", "published")),
            Ok(vec![image("ghcr.io", "t/a")])
        );
        let ignored = Err((200, "ignored".into()));
        assert_eq!(by("package", &body("npm", "published")), ignored);
        assert_eq!(by("package", &body("container", "deleted")), ignored);
        assert_eq!(by("push", "{}"), ignored);
        assert_eq!(by("package", "null"), Err((400, "cannot decode payload".into())));
        assert_eq!(verified(&source, &[], "{}"), Err((401, "invalid signature".into())));
    }
}
