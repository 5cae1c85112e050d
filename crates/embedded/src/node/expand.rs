//! `$(NAME)` in commands, arguments and environment values, as Kubernetes replaces it.

use super::mounts::PathMap;

/// Replaces `$(NAME)` where `lookup` knows the name and leaves it alone where not; `$$` stands for
/// one `$`, so `$$(NAME)` comes out as `$(NAME)`. Mount paths in the text itself are replaced by
/// `paths`; values are taken as they are, because theirs were replaced already.
pub(crate) fn expand<'a>(
    text: &str,
    lookup: impl Fn(&str) -> Option<&'a str>,
    paths: &PathMap,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        paths.map_into(&mut out, before);
        rest = from.strip_prefix('$').unwrap_or_default();
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    paths.map_into(&mut out, rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("$(A)", "1")]
    #[case("x$(A)y$(B)z", "x1y$(A)z")]
    #[case("$$(A)", "$(A)")]
    #[case("$$$(A)", "$1")]
    #[case("$$$$(A)", "$$(A)")]
    #[case("$(UNKNOWN)", "$(UNKNOWN)")]
    #[case("$(A", "$(A")]
    #[case("$()", "$()")]
    #[case("$A ${A} $", "$A ${A} $")]
    #[case("$$", "$")]
    #[case("$($(A))", "$($(A))")]
    #[case("/mnt/$(A)", "/real/1")]
    #[case("$(P)/mnt $(P)", "/mnt/mnt /mnt")]
    fn expands_as_kubernetes_does(#[case] text: &str, #[case] expected: &str) {
        let lookup = |name: &str| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            "P" => Some("/mnt"),
            _ => None,
        };
        let paths = PathMap::new([("/mnt".to_owned(), "/real".into())]);
        assert_eq!(expand(text, lookup, &paths), expected);
    }
}
