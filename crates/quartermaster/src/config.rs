//! The configuration file, `quartermaster.yaml`: one struct per topic.
//!
//! All that is wrong with a file is reported at once, each error with its line: one structural
//! error per topic (unknown or misplaced fields, wrong types) and every value that breaks a rule.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use embedded::node::{ImageEntry, ImageTable};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use crate::{cli::Auth, failure::Failure};

const SIZE_LIMIT: u64 = 1024 * 1024;
const TOPICS: [&str; 5] = ["dataDir", "listeners", "auth", "images", "log"];

/// Everything that a file may set. All of it is optional.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listeners: Listeners,
    pub(crate) auth: Option<Auth>,
    pub(crate) images: Vec<ImageEntry>,
    pub(crate) log: Option<String>,
}

/// Addresses to listen at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listeners {
    pub(crate) api: Option<SocketAddr>,
    pub(crate) apps: Option<SocketAddr>,
    pub(crate) ops: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenersFile {
    api: Option<Spanned<String>>,
    apps: Option<Spanned<String>>,
    ops: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthFile {
    mode: Option<Auth>,
}

impl Config {
    /// Reads a file; the error holds everything that is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::usage(format!("cannot read the configuration {}: {error}", path.display()))
        };
        if std::fs::metadata(path).map_err(unreadable)?.len() > SIZE_LIMIT {
            return Err(unreadable(std::io::Error::other("larger than 1 MiB")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, name: &str) -> Result<Self, Failure> {
        let mut reader = Reader { text, name, problems: Vec::new() };
        reader.check_topics();
        let data_dir: Option<String> = reader.topic("dataDir");
        let listeners: ListenersFile = reader.topic("listeners").unwrap_or_default();
        let auth: AuthFile = reader.topic("auth").unwrap_or_default();
        let images: Vec<Spanned<ImageEntry>> = reader.topic("images").unwrap_or_default();
        let log: Option<Spanned<String>> = reader.topic("log");
        let config = Self {
            data_dir: data_dir.map(PathBuf::from),
            listeners: Listeners {
                api: reader.address("listeners.api", listeners.api),
                apps: reader.address("listeners.apps", listeners.apps),
                ops: reader.address("listeners.ops", listeners.ops),
            },
            auth: auth.mode,
            images: images.into_iter().map(|image| reader.image(image)).collect(),
            log: reader.filter(log),
        };
        match reader.problems.len() {
            0 => Ok(config),
            1 => Err(Failure::usage(reader.problems.remove(0))),
            count => Err(Failure::usage(format!(
                "{name} has {count} errors\n\n{}",
                reader.problems.join("\n\n")
            ))),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    name: &'a str,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// The file as a whole: syntax, and topics that nobody knows.
    fn check_topics(&mut self) {
        type Topics = Option<BTreeMap<String, Spanned<IgnoredAny>>>;
        match serde_saphyr::from_str::<Topics>(self.text) {
            Ok(topics) => {
                for (topic, value) in topics.unwrap_or_default() {
                    if !TOPICS.contains(&topic.as_str()) {
                        let known = TOPICS.join(", ");
                        let text = format!("unknown field `{topic}`, expected one of: {known}");
                        self.problem(&value, &text);
                    }
                }
            }
            Err(error) => self.problems.push(format!("{}: {error}", self.name)),
        }
    }

    /// One topic, as if it were alone in the file.
    fn topic<T: for<'de> Deserialize<'de>>(&mut self, name: &'static str) -> Option<T> {
        let seed = Topic { name, value: std::marker::PhantomData };
        match serde_saphyr::with_deserializer_from_str(self.text, |de| {
            serde::de::DeserializeSeed::deserialize(seed, de)
        }) {
            Ok(value) => value,
            Err(error) => {
                let text = format!("{}: {error}", self.name);
                // A file that is not YAML at all says so once, not once per topic.
                if !self.problems.contains(&text) {
                    self.problems.push(text);
                }
                None
            }
        }
    }

    fn problem<T>(&mut self, at: &Spanned<T>, text: &str) {
        let (line, column) = (at.referenced.line(), at.referenced.column());
        let mut problem = format!("{}:{line}:{column}: {text}", self.name);
        let index = usize::try_from(line).unwrap_or(0).saturating_sub(1);
        if let Some(source) = self.text.lines().nth(index) {
            let _never_fails = write!(problem, "\n  {line} | {source}");
        }
        self.problems.push(problem);
    }

    fn address(&mut self, field: &str, value: Option<Spanned<String>>) -> Option<SocketAddr> {
        let value = value?;
        let parsed = value.value.parse().ok();
        if parsed.is_none() {
            self.problem(&value, &format!("{field}: expected an address such as 127.0.0.1:4000"));
        }
        parsed
    }

    fn image(&mut self, entry: Spanned<ImageEntry>) -> ImageEntry {
        if let Err(error) = ImageTable::new([entry.value.clone()]) {
            self.problem(&entry, &format!("images: {error}"));
        }
        entry.value
    }

    fn filter(&mut self, value: Option<Spanned<String>>) -> Option<String> {
        let value = value?;
        if let Err(error) = value.value.parse::<tracing_subscriber::filter::Targets>() {
            self.problem(&value, &format!("log: {error}"));
        }
        Some(value.value)
    }
}

/// Takes one field out of a mapping and skips the others.
struct Topic<T> {
    name: &'static str,
    value: std::marker::PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> serde::de::DeserializeSeed<'de> for Topic<T> {
    type Value = Option<T>;

    fn deserialize<D: serde::Deserializer<'de>>(self, de: D) -> Result<Self::Value, D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Topic<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a mapping of settings")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.name {
                found = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "\
dataDir: /srv/quartermaster
listeners:
  api: 127.0.0.1:5000
auth:
  mode: none
images:
- image: registry.example.org/notebook:*
  command: [jupyter, lab]
  env: {LANG: C.UTF-8}
log: info,embedded=debug
";

    #[test]
    fn a_full_file_is_read() {
        let config = Config::parse(FULL, "q.yaml").unwrap();
        assert_eq!(config.data_dir, Some("/srv/quartermaster".into()));
        assert_eq!(config.listeners.api, Some("127.0.0.1:5000".parse().unwrap()));
        assert_eq!(config.auth, Some(Auth::None));
        assert_eq!(config.images[0].command, ["jupyter", "lab"]);
        assert_eq!(config.log.as_deref(), Some("info,embedded=debug"));
        assert_eq!(Config::parse("", "q.yaml").unwrap(), Config::default());
        assert_eq!(Config::parse("# nothing\n", "q.yaml").unwrap(), Config::default());
    }

    #[test]
    fn every_error_of_a_file_is_reported_at_once() {
        let text = "\
listners: {}
listeners:
  api: localhost
  apps: 127.0.0.1:99999
auth:
  mode: trust
images:
- image: x
  comand: [y]
log: 'a=b=c'
";
        let report = Config::parse(text, "q.yaml").unwrap_err().to_string();
        insta::assert_snapshot!(report);
    }

    #[test]
    fn broken_yaml_is_reported_once() {
        let report = Config::parse("a: [", "q.yaml").unwrap_err().to_string();
        assert_eq!(report.matches("q.yaml").count(), 1, "{report}");
        let report = Config::parse("just text", "q.yaml").unwrap_err().to_string();
        assert!(report.contains("mapping"), "{report}");
    }
}
