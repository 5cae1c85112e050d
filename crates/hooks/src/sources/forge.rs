//! Gitea, Forgejo and Gogs: one family, each with headers of its own name. Unlike GitHub's, the
//! signature of a form hook covers the payload in the form, not the form.

use std::borrow::Cow;

use super::{
    Answers, Options, Outcome, Source,
    extra::{self, IGNORED, invalid, unreadable},
    files::{Commits, Total},
    strip,
};
use crate::{
    decide::{
        digest::hex,
        image,
        json::{self, Loose, Unreadable, fields},
        signature::{self, Algorithm, equal},
    },
    model::{Event, Header, Inbound, Keys, Refusal, Repo},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Forge {
    name: &'static str,
    /// The names in headers, the own one first.
    brands: &'static [&'static str],
    minimum: Algorithm,
    ignore_deletes: bool,
}

impl Forge {
    pub(super) fn new(name: &'static str, options: &Options) -> Self {
        let brands: &[&str] = match name {
            "Forgejo" => &["forgejo", "gitea", "gogs"],
            "Gitea" => &["gitea", "gogs"],
            _ => &["gogs"],
        };
        Self { name, brands, minimum: options.minimum, ignore_deletes: options.ignore_deletes }
    }

    fn header<'a>(&self, request: &Inbound<'a>, what: &str) -> Header<'a> {
        let found = self.brands.iter().map(|brand| request.header(&format!("x-{brand}-{what}")));
        found.into_iter().find(|header| header.present()).unwrap_or(Header::Missing)
    }
}

fields! {
    struct Payload {
        reference: String = "ref",
        kind: Loose = "ref_type",
        repository: Repository = "repository",
        before: Loose = "before",
        after: Loose = "after",
        commits: Commits = "commits",
        total: Total = "total_commits",
    }
}
fields! {
    struct Repository {
        ssh_url: String = "ssh_url",
        clone_url: Loose = "clone_url",
        full_name: Loose = "full_name",
    }
}

fields! { struct Packaged { action: String = "action", package: Package = "package" } }
fields! {
    struct Package {
        kind: String = "type",
        owner: Owner = "owner",
        name: String = "name",
        version: String = "version",
        url: String = "html_url",
    }
}
fields! { struct Owner { login: String = "login" } }

/// An image that was pushed to the registry of the forge itself; other packages concern nobody.
fn packaged(body: &[u8]) -> Result<Option<Event>, Unreadable> {
    let Packaged { action, package } = json::first(body)?;
    let Package { kind, owner, name, version, url } = package;
    if action != "created" || kind != "container" {
        return Ok(None);
    }
    const WRONG: Unreadable = Unreadable("package is no image");
    let host = url.split_once("://").and_then(|(_, rest)| rest.split('/').next()).ok_or(WRONG)?;
    // Registries know small letters only.
    let owner = owner.login.to_lowercase();
    let mut image = image::split(&format!("{host}/{owner}/{name}")).map_err(|_| WRONG)?;
    match image::is_digest(&version) {
        true => image.digest = Some(version),
        false => image.tags.push(json::name(&version)?.to_owned()),
    }
    Ok(Some(Event::image("package", image)))
}

impl Source for Forge {
    fn name(&self) -> &'static str {
        self.name
    }

    fn verify(&self, request: &Inbound<'_>, keys: &Keys) -> Result<(), Refusal> {
        let payload = signature::hub_payload(request);
        let signed = Inbound { body: &payload, ..*request };
        match self.header(request, "signature") {
            Header::One(offered) => {
                let matches = keys.any(request.now, |key| {
                    equal(hex(&Algorithm::Sha256.hmac(key, &[&payload])).as_bytes(), offered)
                });
                matches.then_some(()).ok_or_else(|| invalid("signature does not match"))
            }
            Header::Differ => Err(invalid("different signatures")),
            Header::Missing if self.name == "Gogs" => Err(invalid("no signature")),
            Header::Missing => {
                signature::hub_signature(&signed, keys, self.minimum).map_err(invalid)
            }
        }
    }

    fn parse(&self, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
        let event = self.header(request, "event").one().unwrap_or_default();
        let event = std::str::from_utf8(event).unwrap_or_default();
        if !["push", "create", "delete", "package"].contains(&event) {
            return Ok(Outcome::Nothing(IGNORED));
        }
        let body = signature::hub_payload(request);
        if event == "package" {
            let image = packaged(&body).map_err(unreadable)?;
            return Ok(
                image.map_or(Outcome::Nothing(IGNORED), |event| Outcome::Events(vec![event]))
            );
        }
        let payload: Payload = json::first(&body).map_err(unreadable)?;
        let zeros = |hash: &str| !hash.is_empty() && hash.bytes().all(|byte| byte == b'0');
        let deleted = event == "delete" || payload.after.0.as_deref().is_some_and(zeros);
        if deleted && self.ignore_deletes {
            return Ok(Outcome::Nothing(IGNORED));
        }
        let Repository { ssh_url, clone_url, full_name } = payload.repository;
        if ssh_url.is_empty() || payload.reference.is_empty() {
            return Err(unreadable(Unreadable("no ref or repository.ssh_url")));
        }
        let reference = match payload.kind.0.as_deref() {
            Some("tag") if !payload.reference.starts_with("refs/") => {
                format!("refs/tags/{}", payload.reference)
            }
            Some("branch") if !payload.reference.starts_with("refs/") => {
                format!("refs/heads/{}", payload.reference)
            }
            _ => payload.reference,
        };
        json::name(&reference).and(json::name(&ssh_url)).map_err(unreadable)?;
        let repo = Repo {
            full_name: full_name.0.unwrap_or_default(),
            urls: std::iter::once(ssh_url.clone()).chain(clone_url.0).collect(),
        };
        let mut event = Event::git(event, repo, &reference).told(ssh_url, strip(&reference));
        event.deleted = deleted;
        event.before = payload.before.0;
        event.after = payload.after.0;
        (event.changed_files, event.files_truncated) =
            payload.commits.files(payload.total.0, u64::MAX);
        Ok(Outcome::Events(vec![event]))
    }

    fn answers(&self) -> Answers {
        extra::answers()
    }

    fn delivery_id<'a>(&self, request: &Inbound<'a>) -> Option<Cow<'a, str>> {
        let id = self.header(request, "delivery").one()?;
        std::str::from_utf8(id).ok().map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    const BODY: &str = r#"{"ref":"refs/heads/main","repository":{"ssh_url":"git@h:t/a.git"}}"#;

    fn forge(name: &'static str) -> Forge {
        Forge::new(name, &Options::default())
    }

    fn mac(body: &str) -> String {
        hex(&Algorithm::Sha256.hmac(KEY, &[body.as_bytes()]))
    }

    #[test]
    fn the_own_signature_decides_and_is_lower_case() {
        let wrong = Err((401, "invalid signature".into()));
        let good = mac(BODY);
        let check = |name, headers: &[(&str, &str)]| verified(&forge(name), headers, BODY);
        assert_eq!(check("Gitea", &[("x-gitea-signature", &good)]), Ok(()));
        assert_eq!(check("Gitea", &[("x-gogs-signature", &good)]), Ok(()));
        assert_eq!(check("Gogs", &[("x-gogs-signature", &good)]), Ok(()));
        assert_eq!(check("Forgejo", &[("x-forgejo-signature", &good)]), Ok(()));
        assert_eq!(check("Gitea", &[("x-gitea-signature", &good.to_uppercase())]), wrong);
        let both = [("x-forgejo-signature", "00"), ("x-gitea-signature", good.as_str())];
        assert_eq!(check("Forgejo", &both), wrong);
        let hub = format!("sha256={good}");
        assert_eq!(check("Gitea", &[("x-hub-signature-256", &hub)]), Ok(()));
        assert_eq!(check("Gogs", &[("x-hub-signature-256", &hub)]), wrong);
        for empty in [("x-hub-signature", "sha1="), ("x-gitea-signature", "")] {
            assert_eq!(check("Gitea", &[empty]), wrong);
        }
        assert_eq!(check("Gitea", &[]), wrong);
    }

    #[test]
    fn forms_are_signed_inside() {
        let encoded: String = BODY.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let form = format!("payload={encoded}");
        let media = ("content-type", "application/x-www-form-urlencoded");
        let (inside, outside) = (mac(BODY), mac(&form));
        assert_eq!(
            verified(&forge("Gitea"), &[media, ("x-gitea-signature", &inside)], &form),
            Ok(())
        );
        assert!(
            verified(&forge("Gitea"), &[media, ("x-gitea-signature", &outside)], &form).is_err()
        );
        let told = told(&forge("Gitea"), &[media, ("x-gitea-event", "push")], &form);
        assert_eq!(told, Ok(vec![git("git@h:t/a.git", "main")]));
    }

    #[test]
    fn images_in_the_package_registry_are_told() {
        let by = |body: &str| told(&forge("Gitea"), &[("x-gitea-event", "package")], body);
        let body = r#"{"action":"created","package":{"owner":{"login":"Team"},"type":"container",
            "name":"sub/app","version":"1.2",
            "html_url":"https://code.example.com:3000/Team/-/packages/container/sub%2Fapp/1.2"}}"#;
        let expected = Ok(vec![image("code.example.com:3000", "team/sub/app")]);
        assert_eq!(by(body), expected);
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = body.replace("1.2", &digest);
        assert_eq!(by(&pinned), expected);
        let pushed = |body: &str| {
            let headers = headers(&[("x-gitea-event", "package")]);
            let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
            let Ok(Outcome::Events(events)) = forge("Gitea").parse(&request) else { panic!() };
            let image = events[0].image.clone().unwrap();
            (image.tags, image.digest)
        };
        assert_eq!(pushed(body), (vec!["1.2".to_owned()], None));
        assert_eq!(pushed(&pinned), (vec![], Some(digest)));
        let ignored = Err((200, "ignored".into()));
        assert_eq!(by(&body.replace("created", "deleted")), ignored);
        assert_eq!(by(&body.replace("\"container\"", "\"npm\"")), ignored);
        assert_eq!(by("{}"), ignored);
        let broken = Err((400, "cannot decode payload".into()));
        assert_eq!(by(&body.replace("https://", "")), broken);
        assert_eq!(by(""), broken);
    }

    #[test]
    fn pushes_and_new_refs_are_told() {
        let by =
            |event: &str, body: &str| told(&forge("Forgejo"), &[("x-forgejo-event", event)], body);
        assert_eq!(by("push", BODY), Ok(vec![git("git@h:t/a.git", "main")]));
        let tag = r#"{"ref":"v1","ref_type":"tag","repository":{"ssh_url":"git@h:t/a.git"}}"#;
        assert_eq!(by("create", tag), Ok(vec![git("git@h:t/a.git", "refs/tags/v1")]));
        assert_eq!(by("issues", "{}"), Err((200, "ignored".into())));
        for body in ["", "{}", "null", r#"{"ref":1}"#] {
            assert_eq!(by("push", body), Err((400, "cannot decode payload".into())), "{body}");
        }
    }
}
