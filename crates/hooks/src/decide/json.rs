//! Reading the JSON of strangers (contract §1.5): bounded, forgiving where the senders need it.
//!
//! Field names match in any case, of two equal keys the last wins, `null` is "empty", unknown
//! fields are skipped without being kept. [`fields!`] declares what a source reads.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Visitor},
};
use serde_json::Value;

/// How deep values may nest.
const MAX_DEPTH: usize = 128;
/// How many values a body may hold.
const MAX_NODES: usize = 1_000_000;
/// The longest name (ref, URL, image) that is passed on.
const MAX_NAME: usize = 4096;
/// How deep a value may nest that is kept as it is: what it becomes part of is read again, and the
/// parser goes no deeper than 127.
const MAX_KEPT_DEPTH: usize = 100;
/// How many bytes all events of one body may take.
const MAX_EVENTS: usize = 64 << 20;
/// About how many an event takes by itself.
const EVENT: usize = 1024;

/// The body is not the JSON that the source sends; what exactly, is nobody's business outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

/// Reads the first JSON value, which must be an object; what follows it is ignored.
pub fn first<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Unreadable> {
    parse(bounded(body)?)
}

fn parse<'de, T: Deserialize<'de>>(value: &'de [u8]) -> Result<T, Unreadable> {
    // Looked at once as a whole, which is quicker than every string by itself.
    let text = std::str::from_utf8(value).map_err(|_| Unreadable("not UTF-8"))?;
    T::deserialize(&mut serde_json::Deserializer::from_str(text))
        .map_err(|_| Unreadable("not the expected JSON"))
}

/// Reads a body that must be one JSON object and nothing else.
pub fn whole<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Unreadable> {
    let value = bounded(body)?;
    let rest = &body[value.as_ptr().addr() - body.as_ptr().addr() + value.len()..];
    if !rest.iter().all(is_space) {
        return Err(Unreadable("something follows the JSON"));
    }
    parse(value)
}

/// JSON has fewer spaces than ASCII.
const fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The bytes of the first JSON object. Its brackets match, it is not too deep and not too big;
/// whether it is JSON in between, the parser says. The parser's own limit does not cover the
/// fields that it skips.
fn bounded(body: &[u8]) -> Result<&[u8], Unreadable> {
    let start = body.iter().position(|byte| !is_space(byte)).ok_or(Unreadable("empty"))?;
    if body[start] != b'{' {
        return Err(Unreadable("not a JSON object"));
    }
    let (mut at, mut depth, mut nodes) = (start, 0_usize, 0_usize);
    while let Some(&byte) = body.get(at) {
        at += 1;
        match byte {
            b'"' => at = after_string(body, at).ok_or(Unreadable("a string does not end"))?,
            b'{' | b'[' => {
                depth += 1;
                nodes += 1;
                if depth > MAX_DEPTH {
                    return Err(Unreadable("nested too deep"));
                }
            }
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(&body[start..at]);
                }
            }
            b',' => {
                nodes += 1;
                if nodes > MAX_NODES {
                    return Err(Unreadable("too many values"));
                }
            }
            _ => {}
        }
    }
    Err(Unreadable("does not end"))
}

fn after_string(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += quote_or_escape(body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Where the first quote or backslash is. Most strings are too short for a search to be worth its
/// beginning, and too long to be looked at byte by byte.
fn quote_or_escape(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = lowest(word, b'"') | lowest(word, b'\\');
        if found != 0 {
            // A byte in eight bits.
            return Some(index * 8 + usize::try_from(found.trailing_zeros() / 8).ok()?);
        }
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(text.len() - rest.len() + found)
}

/// Sets the highest bit of the first byte of a word that is this one. Of those behind it, any may be
/// set; if none is this one, none is set.
const fn lowest(word: u64, byte: u8) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let zero = word ^ u64::from_ne_bytes([byte; 8]);
    zero.wrapping_sub(EACH) & !zero & (EACH << 7)
}

/// Refuses names of absurd length before they are passed on.
pub fn name(text: &str) -> Result<&str, Unreadable> {
    if text.len() <= MAX_NAME { Ok(text) } else { Err(Unreadable("a name is too long")) }
}

/// Refuses so many events that each repeat so many bytes of one body: a short list with a long name
/// beside it, or a long list of next to nothing, would become far more than was sent.
pub fn events(count: usize, repeated: usize) -> Result<(), Unreadable> {
    let bytes = count.saturating_mul(repeated.saturating_add(EVENT));
    if bytes <= MAX_EVENTS { Ok(()) } else { Err(Unreadable("too many events")) }
}

/// Whether a value is not nested too deep to be kept as it is.
pub fn keeps(value: &Value) -> bool {
    fn within(value: &Value, levels: usize) -> bool {
        match value {
            Value::Array(items) => levels > 0 && items.iter().all(|item| within(item, levels - 1)),
            Value::Object(fields) => {
                levels > 0 && fields.values().all(|field| within(field, levels - 1))
            }
            _ => true,
        }
    }
    within(value, MAX_KEPT_DEPTH)
}

/// Which of the wanted names a key is, in any case. Nothing is allocated for keys.
pub(crate) struct Wanted(pub(crate) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Wanted {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Wanted {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| wanted.eq_ignore_ascii_case(key)))
    }
}

/// A text that is nice to have: any other type counts as missing instead of failing the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loose(pub Option<String>);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Loose;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose(Some(text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
                Ok(Loose(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Loose, E> {
                Ok(Loose(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Loose, E> {
                Ok(Loose(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
                Ok(Loose(None))
            }

            fn visit_unit<E>(self) -> Result<Loose, E> {
                Ok(Loose(None))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Loose, A::Error> {
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Loose, A::Error> {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Loose(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Declares an object that a source reads: `struct Name { field: Type = "wireName" }`.
macro_rules! fields {
    ($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty = $key:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        struct $name { $($field: $type),* }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;
                impl<'de> serde::de::Visitor<'de> for Reader {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_unit<E>(self) -> Result<$name, E> {
                        Ok($name::default())
                    }

                    #[allow(unused_assignments, unused_mut, unused_variables, reason = "an object may have no fields of interest")]
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        const NAMES: &[&str] = &[$($key),*];
                        let mut read = $name::default();
                        while let Some(found) = map.next_key_seed($crate::decide::json::Wanted(NAMES))? {
                            let mut index = 0_usize;
                            $(
                                if found == Some(index) {
                                    read.$field = map.next_value::<Option<$type>>()?.unwrap_or_default();
                                    continue;
                                }
                                index += 1;
                            )*
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok(read)
                    }
                }
                deserializer.deserialize_any(Reader)
            }
        }
    };
}
pub(crate) use fields;

#[cfg(test)]
mod tests {
    use super::*;

    fields! {
        struct Inner { name: String = "name" }
    }
    fields! {
        struct Outer {
            url: String = "ssh_url",
            inner: Inner = "inner",
            list: Vec<Inner> = "list",
            maybe: Option<String> = "maybe",
            loose: Loose = "loose",
        }
    }

    fn url(body: &str) -> Option<String> {
        first::<Outer>(body.as_bytes()).ok().map(|read| read.url)
    }

    #[rstest::rstest]
    #[case(r#"{"ssh_url":"a"}"#, Some("a"))]
    #[case(r#" {"SSH_URL":"a","other":{"ssh_url":[1,{}]}}"#, Some("a"))]
    #[case(r#"{"ssh_url":"a","ssh_url":"b"}"#, Some("b"))]
    #[case(r#"{"ssh_url":null}"#, Some(""))]
    #[case(r#"{"ssh_url":"a"}}"#, Some("a"))]
    #[case(r#"{"ssh_url":"a"} nonsense"#, Some("a"))]
    #[case(r#"{"ssh_url":"\u00e9\"}"}"#, Some("é\"}"))]
    #[case(r#"{"n":1e999999,"ssh_url":"a"}"#, Some("a"))]
    #[case(r#"{"inner":null,"list":[null,{"name":"x"}],"loose":{"a":[1]}}"#, Some(""))]
    #[case(r#"{"ssh_url":1}"#, None)]
    #[case(r#"{"inner":[]}"#, None)]
    #[case(r#"{"inner":"text"}"#, None)]
    #[case(r#"{"list":{}}"#, None)]
    #[case(r#"{"ssh_url":"\ud800"}"#, None)]
    #[case(r#"{"ssh_url":"a""#, None)]
    #[case(r#"{"ssh_url":"a"]"#, None)]
    #[case("\u{feff}{}", None)]
    #[case("", None)]
    #[case("null", None)]
    #[case("[]", None)]
    #[case("\"\"", None)]
    #[case("0", None)]
    fn objects_are_read_by_the_rules(#[case] body: &str, #[case] expected: Option<&str>) {
        assert_eq!(url(body).as_deref(), expected);
    }

    #[test]
    fn only_whole_bodies_when_the_source_wants_that() {
        assert!(whole::<Outer>(b" {} \n").is_ok());
        assert!(whole::<Outer>(b"{} x").is_err());
        assert!(whole::<Outer>(b"{}}").is_err());
        assert!(whole::<Outer>(b"{}\x0c").is_err(), "JSON knows four spaces");
    }

    #[test]
    fn depth_and_number_of_values_are_limited_in_skipped_fields_too() {
        for depth in [200, 10_000, 1_000_000] {
            let body = format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(url(&body), None, "{depth}");
            assert_eq!(url(&"{\"a\":".repeat(depth)), None, "{depth}");
        }
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert!(url(&deep).is_some());
        let many = format!("{{\"x\":[0{}]}}", ",0".repeat(2_000_000));
        assert_eq!(url(&many), None);
        let long = format!("{{\"x\":\"{}\"}}", "a".repeat(9 << 20));
        assert!(url(&long).is_some());
    }

    #[test]
    fn nice_to_have_fields_never_fail_a_request() {
        for value in ["1", "-1", "1.5", "true", "null", "[1]", "{\"a\":{}}"] {
            let body = format!("{{\"loose\":{value}}}");
            let read: Outer = first(body.as_bytes()).unwrap();
            assert_eq!(read.loose, Loose(None), "{value}");
        }
        let read: Outer = first(br#"{"loose":"x","maybe":"y","list":[{"name":"z"}]}"#).unwrap();
        assert_eq!((read.loose.0.as_deref(), read.maybe.as_deref()), (Some("x"), Some("y")));
        assert_eq!((read.list[0].name.as_str(), read.inner.name.as_str()), ("z", ""));
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>) {
            let _ = first::<Outer>(&body);
            let _ = whole::<Outer>(&body);
        }

        #[test]
        fn quotes_and_escapes_are_found(text in "[\"\\\\!#\\]a\u{a2}\u{dc}]{0,30}") {
            let plain = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'));
            assert_eq!(quote_or_escape(text.as_bytes()), plain);
        }

        #[test]
        fn no_near_json_panics(body in "[{}\\[\\]\",:a0 \\\\]{0,40}") {
            let _ = whole::<Outer>(body.as_bytes());
        }
    }
}
