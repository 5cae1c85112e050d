//! The table that says which program of this machine an image name means.

use std::collections::BTreeMap;

use glob::Pattern;
use serde::{Deserialize, Serialize};

/// One entry of the table, as the configuration file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// The image names that this entry is for: `*` stands for anything, `?` for one character.
    pub image: String,
    /// The program and its first arguments; a container's own `command` takes its place.
    pub command: Vec<String>,
    /// Further arguments; a container's own `args` take their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment of the program; a container's own `env` wins. `$(NAME)` may refer to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// Entries in order: the first one that fits an image name is taken.
#[derive(Clone, Debug, Default)]
pub struct ImageTable {
    entries: Vec<(Pattern, ImageEntry)>,
}

/// An entry that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageTableError {
    /// The pattern is not a pattern.
    #[error("image \"{image}\" is not a usable pattern: {reason}")]
    Pattern {
        /// The pattern.
        image: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is nothing to run.
    #[error("image \"{image}\" has no command")]
    NoCommand {
        /// The pattern.
        image: String,
    },
}

impl ImageTable {
    /// A table of the given entries; the first that fits wins.
    pub fn new(entries: impl IntoIterator<Item = ImageEntry>) -> Result<Self, ImageTableError> {
        let entries = entries
            .into_iter()
            .map(|entry| {
                let image = entry.image.clone();
                if entry.command.first().is_none_or(String::is_empty) {
                    return Err(ImageTableError::NoCommand { image });
                }
                let pattern = Pattern::new(normalise(&image))
                    .map_err(|error| ImageTableError::Pattern { image, reason: error.msg })?;
                Ok((pattern, entry))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The entry for an image name. Programs have no digests: one that no entry names is passed over.
    #[must_use]
    pub fn find(&self, image: &str) -> Option<&ImageEntry> {
        let image = normalise(image);
        self.fitting(image).or_else(|| self.fitting(image.split_once('@')?.0))
    }

    fn fitting(&self, image: &str) -> Option<&ImageEntry> {
        // A name without a tag is the same as one tagged `latest`.
        let tagged = if has_tag(image) { String::new() } else { format!("{image}:latest") };
        self.entries
            .iter()
            .find(|(pattern, _)| pattern.matches(image) || pattern.matches(&tagged))
            .map(|(_, entry)| entry)
    }
}

fn has_tag(image: &str) -> bool {
    image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']))
}

/// The one registry that may be left out of an image name, and its folder for names without one.
fn normalise(image: &str) -> &str {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    image.strip_prefix("library/").unwrap_or(image)
}

/// What the user is told about an image that no entry fits.
pub(crate) fn unknown_image(image: &str) -> String {
    let shown: String = image.chars().take(256).collect();
    format!(
        "no program of this machine is known for image {shown:?}: add an entry to the table \
         `images` of the configuration file, for example: images: [{{image: {shown:?}, command: \
         [\"/path/to/program\", \"--port=8080\"]}}], and start Quartermaster again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(images: &[&str]) -> ImageTable {
        ImageTable::new(images.iter().map(|image| ImageEntry {
            image: (*image).into(),
            command: vec![(*image).into()],
            args: Vec::new(),
            env: BTreeMap::new(),
        }))
        .unwrap()
    }

    #[rstest::rstest]
    #[case("quartermaster/files", Some("quartermaster/files"))]
    #[case("docker.io/quartermaster/files", Some("quartermaster/files"))]
    #[case("docker.io/library/busybox:1", Some("busybox:*"))]
    #[case("busybox", Some("busybox:*"))]
    #[case("busybox@sha256:ab", Some("busybox:*"))]
    #[case("docker.io/quartermaster/files@sha256:ab", Some("quartermaster/files"))]
    #[case("team/pinned@sha256:ab", Some("team/pinned@sha256:ab"))]
    #[case("team/pinned@sha256:cd", None)]
    #[case("localhost:5000/busybox", None)]
    #[case("example.org/team/jupyter-scipy:v1", Some("*/jupyter*"))]
    #[case("jupyter", None)]
    #[case("", None)]
    fn finds_the_first_entry_that_fits(#[case] image: &str, #[case] expected: Option<&str>) {
        let table = table(&[
            "quartermaster/files",
            "docker.io/library/busybox:*",
            "*/jupyter*",
            "team/pinned@sha256:ab",
        ]);
        let found =
            table.find(image).map(|entry| entry.image.trim_start_matches("docker.io/library/"));
        assert_eq!(found, expected);
    }

    #[test]
    fn refuses_entries_that_cannot_run() {
        let entry = |image: &str, command: &[&str]| ImageEntry {
            image: image.into(),
            command: command.iter().map(|part| (*part).into()).collect(),
            args: Vec::new(),
            env: BTreeMap::new(),
        };
        assert!(ImageTable::new([entry("a***b", &["x"])]).is_err());
        assert!(ImageTable::new([entry("a", &[])]).is_err());
    }
}
