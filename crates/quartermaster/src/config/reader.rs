//! Reads one topic after the other and collects everything that is wrong.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr};

use embedded::node::{ImageEntry, ImageTable};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::TOPICS;

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) name: &'a str,
    pub(super) problems: Vec<String>,
}

impl Reader<'_> {
    /// The file as a whole: syntax, and topics that nobody knows.
    pub(super) fn check_topics(&mut self) {
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
    pub(super) fn topic<T: for<'de> Deserialize<'de>>(&mut self, name: &'static str) -> Option<T> {
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

    pub(super) fn problem<T>(&mut self, at: &Spanned<T>, text: &str) {
        let (line, column) = (at.referenced.line(), at.referenced.column());
        let mut problem = format!("{}:{line}:{column}: {text}", self.name);
        let index = usize::try_from(line).unwrap_or(0).saturating_sub(1);
        if let Some(source) = self.text.lines().nth(index) {
            let _never_fails = write!(problem, "\n  {line} | {source}");
        }
        self.problems.push(problem);
    }

    pub(super) fn address(
        &mut self,
        field: &str,
        value: Option<Spanned<String>>,
    ) -> Option<SocketAddr> {
        self.checked(field, value, |text| {
            text.parse().map_err(|_| "expected an address such as 127.0.0.1:4000".to_owned())
        })
    }

    /// The value that a check makes of a text; what it says against it becomes a problem.
    pub(super) fn checked<T>(
        &mut self,
        field: &str,
        value: Option<Spanned<String>>,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = value?;
        match check(&value.value) {
            Ok(checked) => Some(checked),
            Err(text) => {
                self.problem(&value, &format!("{field}: {text}"));
                None
            }
        }
    }

    pub(super) fn image(&mut self, entry: Spanned<ImageEntry>) -> ImageEntry {
        if let Err(error) = ImageTable::new([entry.value.clone()]) {
            self.problem(&entry, &format!("images: {error}"));
        }
        entry.value
    }

    pub(super) fn filter(&mut self, value: Option<Spanned<String>>) -> Option<String> {
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
