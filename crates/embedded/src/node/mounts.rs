//! Mounts without a mount namespace: where a program names a path under a mount, it gets the real
//! directory instead.
//!
//! Only names can be replaced, so `readOnly` is not enforced, and a path that a program makes up by
//! itself is not found. A mount inside another mount also gets a symbolic link there.

use std::path::{Path, PathBuf};

/// Mount paths and the directories that stand for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathMap {
    /// Longest path first, so that a mount inside another one wins.
    entries: Vec<(String, PathBuf)>,
}

impl PathMap {
    /// A map of absolute mount paths.
    pub(crate) fn new(mounts: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        let mut entries: Vec<_> =
            mounts.into_iter().map(|(path, real)| (tidy(&path), real)).collect();
        entries.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Self { entries }
    }

    /// The same map, with `real` in place of a path that an image would hold: one that is absolute,
    /// under no mount, and not on this machine.
    pub(crate) fn standing_in(mut self, path: &str, real: &Path) -> Self {
        let path = tidy(path);
        let needed = path.starts_with('/') && self.map(&path) == path && !Path::new(&path).exists();
        if needed {
            self.entries.push((path, real.to_owned()));
            self.entries.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        }
        self
    }

    /// Replaces every mount path in a text by its directory.
    pub(crate) fn map(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        self.map_into(&mut out, text);
        out
    }

    /// The same for a text that goes on after `out`, so that a path in the middle of another one is
    /// seen as such.
    pub(crate) fn map_into(&self, out: &mut String, text: &str) {
        let mut rest = text;
        while let Some(slash) = rest.find('/') {
            let (before, from) = rest.split_at(slash);
            out.push_str(before);
            let hit = if may_begin(out) { self.longest_prefix(from) } else { None };
            if let Some((path, real)) = hit {
                out.push_str(&real.to_string_lossy());
                rest = from.get(path.len()..).unwrap_or_default();
            } else {
                out.push('/');
                rest = from.get(1..).unwrap_or_default();
            }
        }
        out.push_str(rest);
    }

    /// Mounts that lie inside another mount: where the link goes, and what it points to.
    pub(crate) fn links(&self) -> Vec<(PathBuf, PathBuf)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, (path, real))| {
                let outer = self.entries.get(index + 1..)?;
                let (below, parent) = outer.iter().find_map(|(outer, parent)| {
                    Some((path.strip_prefix(outer.as_str())?.strip_prefix('/')?, parent))
                })?;
                Some((parent.join(below), real.clone()))
            })
            .collect()
    }

    fn longest_prefix(&self, text: &str) -> Option<(&str, &Path)> {
        self.entries.iter().find_map(|(path, real)| {
            let ends = text
                .strip_prefix(path.as_str())?
                .chars()
                .next()
                .is_none_or(|next| !is_of_name(next));
            ends.then_some((path.as_str(), real.as_path()))
        })
    }
}

/// An absolute path without doubled or trailing slashes; empty for the root.
pub(crate) fn tidy(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").fold(
        String::new(),
        |mut tidied, part| {
            tidied.push('/');
            tidied.push_str(part);
            tidied
        },
    )
}

/// Whether a path may begin after this text: not in the middle of another path or word.
fn may_begin(before: &str) -> bool {
    before.ends_with("://")
        || before
            .chars()
            .next_back()
            .is_none_or(|last| last != '/' && last != '~' && !is_of_name(last))
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> PathMap {
        PathMap::new([
            ("/home/jovyan/".to_owned(), "/v/home".into()),
            ("/home/jovyan/data".to_owned(), "/v/data".into()),
            ("/mnt".to_owned(), "/home/jovyan".into()),
        ])
    }

    #[rstest::rstest]
    #[case("/home/jovyan", "/v/home")]
    #[case("/home/jovyan/", "/v/home/")]
    #[case("--dir=/home/jovyan/work", "--dir=/v/home/work")]
    #[case("/home/jovyan/data/x:/home/jovyan", "/v/data/x:/v/home")]
    #[case(
        "/home/jovyan2 /home/jovyan-2 /home/jovyan.d",
        "/home/jovyan2 /home/jovyan-2 /home/jovyan.d"
    )]
    #[case("/srv/home/jovyan", "/srv/home/jovyan")]
    #[case("http://host/mnt", "http://host/mnt")]
    #[case("file:///mnt/x", "file:///home/jovyan/x")]
    #[case("cd '/mnt' && ls \"/mnt\"", "cd '/home/jovyan' && ls \"/home/jovyan\"")]
    #[case("//mnt", "//mnt")]
    #[case("ünï/mnt", "ünï/mnt")]
    #[case("", "")]
    fn replaces_whole_paths_only(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(map().map(text), expected);
    }

    #[test]
    fn a_missing_home_is_stood_in_for() {
        let home = Path::new("/pod/home");
        let missing = PathMap::default().standing_in("/home/of-an-image", home);
        assert_eq!(missing.map("/home/of-an-image/x"), "/pod/home/x");
        assert_eq!(map().standing_in("/home/jovyan", home).map("/home/jovyan"), "/v/home");
        assert_eq!(PathMap::default().standing_in("/usr", home).map("/usr"), "/usr");
    }

    #[test]
    fn links_a_mount_inside_another() {
        assert_eq!(map().links(), [(PathBuf::from("/v/home/data"), PathBuf::from("/v/data"))]);
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_leaves_foreign_text(text in ".{0,64}") {
            let mapped = map().map(&text);
            if !text.contains("/mnt") && !text.contains("/home") {
                proptest::prop_assert_eq!(mapped, text);
            }
        }
    }
}
