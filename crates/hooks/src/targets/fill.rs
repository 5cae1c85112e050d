//! Texts with gaps that an event fills: `{branch}`.

use serde_json::Value;

use crate::model::Event;

/// Words that every event has something for, if only nothing.
const WORDS: [&str; 6] = ["branch", "tag", "after", "digest", "bucket", "key"];

/// A text with what `value` says in the place of `{word}`; words that it does not know stay.
pub(super) fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    // One pass, so that what is filled in is not filled in again.
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let word = rest.split_once('}').and_then(|(word, after)| Some((value(word)?, after)));
        match word {
            Some((value, after)) => {
                filled.push_str(&value);
                rest = after;
            }
            None => filled.push('{'),
        }
    }
    filled + rest
}

/// Whether [`of_event`] knows a word.
pub(super) fn is_known(word: &str) -> bool {
    WORDS.contains(&word) || word.starts_with("raw/")
}

/// What an event says for a word: one of a few, or `raw` and a JSON pointer into its sender's own
/// words.
pub(super) fn of_event(event: &Event, word: &str) -> Option<String> {
    if !is_known(word) {
        return None;
    }
    let (image, object) = (event.image.as_ref(), event.object.as_ref());
    let value = match word {
        "branch" => event.branch.clone(),
        "tag" => event.tag.clone().or_else(|| image?.tags.first().cloned()),
        "after" => event.after.clone(),
        "digest" => image.and_then(|image| image.digest.clone()),
        "bucket" => object.map(|object| object.bucket.clone()),
        "key" => object.map(|object| object.key.clone()),
        _ => match event.raw.as_ref().and_then(|raw| raw.pointer(&word["raw".len()..])) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        },
    };
    Some(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventKind, Object};

    #[test]
    fn texts_are_filled_once() {
        let mut event = Event::new(EventKind::GitPush, "push");
        event.branch = Some("{after}".to_owned());
        event.after = Some("abc".to_owned());
        let filled = fill("{branch}-{after}-{{tag}-{x}{", |word| of_event(&event, word));
        assert_eq!(filled, "{after}-abc-{-{x}{");
    }

    #[test]
    fn objects_and_generic_events_have_words() {
        let mut event = Event::raw("put", br#"{"data": {"set": "tiles", "year": 2024, "ok": []}}"#);
        let object = Object { bucket: "b".into(), key: "k/1".into(), ..Object::default() };
        event.object = Some(object);
        let text = "{bucket} {key} {raw/data/set}-{raw/data/year}{raw/data/ok}{raw/none}";
        assert_eq!(fill(text, |word| of_event(&event, word)), "b k/1 tiles-2024");
    }
}
