//! Splitting an image reference as Flux v1 does (contract §1.8), its misreadings repaired.

use super::filter::Patterns;
use crate::model::Image;

/// The reference is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoImage;

/// Splits `[domain/]name[:tag][@digest]`.
pub fn split(reference: &str) -> Result<Image, NoImage> {
    if reference.len() > 4096 {
        return Err(NoImage);
    }
    let (reference, digest) = match reference.split_once("@sha256:") {
        None => (reference, None),
        Some((_, "")) => return Err(NoImage),
        Some((left, digest)) => (left, Some(format!("sha256:{digest}"))),
    };
    if reference.split('/').any(str::is_empty) {
        return Err(NoImage);
    }
    let (domain, path) = match reference.split_once('/') {
        Some((first, rest)) if rest.contains('/') || is_domain(first) => (first, rest),
        _ => ("", reference),
    };
    let (name, tag) = match path.split_once(':') {
        None => (path, None),
        Some((name, tag)) if name.is_empty() || tag.is_empty() || tag.contains(':') => {
            return Err(NoImage);
        }
        Some((name, tag)) => (name, Some(tag)),
    };
    Ok(Image {
        domain: domain.to_owned(),
        name: name.to_owned(),
        tags: tag.map(str::to_owned).into_iter().collect(),
        digest,
        media_type: None,
    })
}

/// The repository of a reference as registries know it, without tag and digest: who names no
/// registry means Docker's.
pub fn repository(reference: &str) -> String {
    let (plain, _) = name_and_tag(reference);
    let (domain, path) = match plain.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (first.to_ascii_lowercase(), rest)
        }
        _ => ("docker.io".to_owned(), plain),
    };
    match domain.as_str() {
        "docker.io" | "index.docker.io" => {
            let library = if path.contains('/') { "" } else { "library/" };
            format!("docker.io/{library}{path}")
        }
        domain => format!("{domain}/{path}"),
    }
}

/// A reference without its digest, before and after the colon of its tag.
fn name_and_tag(reference: &str) -> (&str, Option<&str>) {
    let named = reference.split_once('@').map_or(reference, |(named, _)| named);
    match named.rsplit_once(':') {
        // Otherwise it is a port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    }
}

/// Whether a push is about the image of a reference: the same repository, and a tag that is wanted.
/// Without patterns that is the tag of the reference; senders that tell no tag mean all.
pub fn is_pushed(image: &Image, reference: &str, tags: &Patterns) -> bool {
    let pushed = match image.domain.as_str() {
        "" => repository(&image.name),
        domain => repository(&format!("{domain}/{}", image.name)),
    };
    let tag = name_and_tag(reference).1.unwrap_or("latest");
    let wanted = match tags.is_empty() {
        true => image.tags.is_empty() || image.tags.iter().any(|pushed| pushed == tag),
        false => tags.pass_any(image.tags.iter().map(String::as_str)),
    };
    wanted && pushed == repository(reference)
}

/// Whether this is a digest that an image can be pinned to.
pub fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && rest.bytes().all(hex))
}

/// Whether the first of two segments is a host: it says `localhost`, has a dot between two
/// alphanumeric characters, or ends in a port.
fn is_domain(segment: &str) -> bool {
    let dotted = segment.as_bytes().windows(3).any(|window| {
        window[1] == b'.' && window[0].is_ascii_alphanumeric() && window[2].is_ascii_alphanumeric()
    });
    let port = segment.split_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    segment.contains("localhost") || dotted || port
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[rstest::rstest]
    #[case("alpine", "", "alpine")]
    #[case("alpine:3", "", "alpine")]
    #[case("team/app", "", "team/app")]
    #[case("Team/App", "", "Team/App")]
    #[case("reg.example.com/app:1", "reg.example.com", "app")]
    #[case("reg.example.com:5000/app", "reg.example.com:5000", "app")]
    #[case("localhost/app", "localhost", "app")]
    #[case("localhost:5000/app:1", "localhost:5000", "app")]
    #[case("org/sub/app", "org", "sub/app")]
    #[case("reg.example.com/a/b/c:2", "reg.example.com", "a/b/c")]
    #[case("host:5000/app", "host:5000", "app")]
    #[case("team/app@sha256:ab12", "", "team/app")]
    #[case("reg.example.com/a:1@sha256:ab", "reg.example.com", "a")]
    #[case("user@host/app", "", "user@host/app")]
    #[case("user@host/app@sha256:ab", "", "user@host/app")]
    #[case("app@", "", "app@")]
    #[case("team/:tag", "", "team/")]
    fn references_split(#[case] reference: &str, #[case] domain: &str, #[case] name: &str) {
        let image = split(reference).unwrap();
        assert_eq!((image.domain.as_str(), image.name.as_str()), (domain, name));
    }

    #[rstest::rstest]
    #[case("app:")]
    #[case("app:a:b")]
    #[case("")]
    #[case("/app")]
    #[case("app/")]
    #[case("a//b")]
    #[case("@sha256:ab")]
    #[case("app@sha256:")]
    #[case("app/@sha256:ab")]
    #[case(":tag")]
    #[case("reg.example.com/:tag")]
    fn odd_references_fail(#[case] reference: &str) {
        assert_eq!(split(reference), Err(NoImage));
    }

    #[rstest::rstest]
    #[case("alpine", "docker.io/library/alpine")]
    #[case("alpine:3@sha256:ab", "docker.io/library/alpine")]
    #[case("team/app:1", "docker.io/team/app")]
    #[case("index.docker.io/team/app", "docker.io/team/app")]
    #[case("docker.io/alpine", "docker.io/library/alpine")]
    #[case("localhost/app:1", "localhost/app")]
    #[case("Reg.example.com:5000/a/b", "reg.example.com:5000/a/b")]
    #[case("org/sub/app", "docker.io/org/sub/app")]
    fn repositories_are_normal(#[case] reference: &str, #[case] expected: &str) {
        assert_eq!(repository(reference), expected);
    }

    #[rstest::rstest]
    #[case("docker.io/library/nb:1", "nb", &["1"], &[], true)]
    #[case("nb", "docker.io/library/nb", &["latest"], &[], true)]
    #[case("nb:1", "nb", &["2"], &[], false)]
    #[case("nb:1", "nb", &[], &[], true)]
    #[case("nb:1", "nb", &["2"], &["2*"], true)]
    #[case("nb:1", "nb", &["1"], &["*", "!1"], false)]
    #[case("nb:1", "nb", &[], &["*"], false)]
    #[case("reg:5000/nb", "reg:5000/nb", &["latest"], &[], true)]
    #[case("nb:1", "other", &["1"], &[], false)]
    fn pushes_are_about_images(
        #[case] reference: &str,
        #[case] pushed: &str,
        #[case] tags: &[&str],
        #[case] wanted: &[&str],
        #[case] expected: bool,
    ) {
        let mut image = split(pushed).unwrap();
        image.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let wanted = Patterns(wanted.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(is_pushed(&image, reference, &wanted), expected);
    }

    #[test]
    fn digests_are_whole() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert!(is_digest(&good));
        for bad in ["", "sha256:", &good[1..], &good.to_uppercase(), &format!("{good}0")] {
            assert!(!is_digest(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_reference_panics(reference in any::<String>(), tag in any::<String>()) {
            let image = Image { name: reference.clone(), tags: vec![tag], ..Image::default() };
            let _ = is_pushed(&image, &reference, &Patterns::default());
        }

        #[test]
        fn nothing_panics_and_names_are_never_empty(reference in any::<String>()) {
            if let Ok(image) = split(&reference) {
                prop_assert!(!image.name.is_empty());
                prop_assert!(!image.name.contains(':'));
            }
        }

        #[test]
        fn what_was_put_together_comes_apart(
            domain in "[a-z0-9]{1,8}\\.[a-z]{2,5}(:[0-9]{1,5})?",
            name in "[a-zA-Z0-9_-]{1,10}(/[a-z0-9._-]{1,10}){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_.-]{1,20}"),
            digest in proptest::option::of("sha256:[0-9a-f]{64}"),
        ) {
            let mut reference = format!("{domain}/{name}");
            if let Some(tag) = &tag {
                reference = format!("{reference}:{tag}");
            }
            if let Some(digest) = &digest {
                reference = format!("{reference}@{digest}");
            }
            let image = split(&reference).unwrap();
            prop_assert_eq!(image.domain, domain);
            prop_assert_eq!(image.name, name);
            prop_assert_eq!(image.tags, Vec::from_iter(tag));
            prop_assert_eq!(image.digest, digest);
        }

        #[test]
        fn tag_and_digest_never_change_the_name(
            bare in "[a-z0-9.]{1,8}(/[a-z0-9.-]{1,8}){0,3}",
            tag in "[a-z0-9]{1,8}",
        ) {
            let key = |reference: &str| split(reference).map(|image| (image.domain, image.name));
            prop_assert_eq!(key(&bare), key(&format!("{bare}:{tag}")));
            prop_assert_eq!(key(&bare), key(&format!("{bare}@sha256:{tag}")));
        }
    }
}
