//! The files that a push changed, as the code hosts list them: `commits[].added`, `.modified`,
//! `.removed`. Nice to have: whatever is not as it should be counts as missing.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::decide::json::Wanted;

/// How many files of a push are remembered, and how many bytes of names.
const MAX_FILES: usize = 1000;
const MAX_BYTES: usize = 64 * 1024;

/// All commits of a push.
#[derive(Debug, Clone, Default)]
pub(super) struct Commits {
    /// How many are listed.
    pub(super) count: u64,
    files: BTreeSet<String>,
    bytes: usize,
    cut: bool,
}

impl Commits {
    /// The files, and whether there may be more: because of the sender, which says how many commits
    /// there are or lists `most` of them, or because of us.
    pub(super) fn files(self, total: Option<u64>, most: u64) -> (Vec<String>, bool) {
        let cut = self.cut || self.count >= most || total.is_some_and(|total| total > self.count);
        (self.files.into_iter().collect(), cut)
    }

    fn add(&mut self, file: &str) {
        if self.files.contains(file) {
            return;
        }
        if self.files.len() >= MAX_FILES || self.bytes + file.len() > MAX_BYTES {
            self.cut = true;
            return;
        }
        self.bytes += file.len();
        self.files.insert(file.to_owned());
    }
}

impl<'de> Deserialize<'de> for Commits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut commits = Self::default();
        deserializer.deserialize_any(Part { commits: &mut commits, level: Level::Commits })?;
        Ok(commits)
    }
}

/// How many commits there are; nothing if that is no number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Total {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(serde_json::Value::deserialize(deserializer)?.as_u64()))
    }
}

#[derive(Clone, Copy)]
enum Level {
    Commits,
    Commit,
    Files,
    File,
}

/// Reads one part into the commits; parts of other types are skipped.
struct Part<'a> {
    commits: &'a mut Commits,
    level: Level,
}

impl<'de> serde::de::DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let level = match self.level {
            Level::Commits => Level::Commit,
            Level::Files => Level::File,
            Level::Commit | Level::File => {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(());
            }
        };
        while list.next_element_seed(Part { commits: &mut *self.commits, level })?.is_some() {
            if matches!(level, Level::Commit) {
                self.commits.count += 1;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const LISTS: &[&str] = &["added", "modified", "removed"];
        while let Some(found) = map.next_key_seed(Wanted(LISTS))? {
            match (self.level, found) {
                (Level::Commit, Some(_)) => {
                    map.next_value_seed(Part { commits: &mut *self.commits, level: Level::Files })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if matches!(self.level, Level::File) {
            self.commits.add(text);
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(json: &str, total: Option<u64>) -> (Vec<String>, bool) {
        serde_json::from_str::<Commits>(json).unwrap().files(total, 3)
    }

    #[test]
    fn files_are_collected_once() {
        let json =
            r#"[{"id":"x","added":["b"],"modified":["a","b"],"removed":[]},{"removed":["c"]}]"#;
        let all: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!(files(json, None), (all.clone(), false));
        assert_eq!(files(json, Some(2)), (all.clone(), false));
        assert_eq!(files(json, Some(3)), (all, true));
        assert!(files("[{},{},{}]", None).1);
    }

    #[test]
    fn odd_ones_are_skipped() {
        for json in ["null", "1", "\"x\"", "{}", "[null,[1],{\"added\":{\"x\":1}}]"] {
            assert_eq!(files(json, None).0, [""; 0], "{json}");
        }
        let json = r#"[{"added":[1,null,["x"],"a"]}]"#;
        assert_eq!(files(json, None).0, ["a"]);
    }

    #[test]
    fn very_many_are_cut() {
        let names: Vec<String> = (0..2000).map(|number| format!("\"{number}\"")).collect();
        let json = format!("[{{\"added\":[{}]}}]", names.join(","));
        let (files, cut) = files(&json, None);
        assert_eq!((files.len(), cut), (MAX_FILES, true));
    }
}
