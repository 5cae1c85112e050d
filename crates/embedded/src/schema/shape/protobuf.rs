//! Reading the protobuf of Kubernetes, in which Go's clients send built-in kinds.
//!
//! Only bodies are read, and only into JSON, which all other rules are about; answers are always
//! JSON, which the same clients take. The table of types knows the numbers of the fields.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Kind, Own, Shape, Type, at, named, of_kind};

/// With this begins every body.
const MAGIC: &[u8] = b"k8s\0";
/// No kind is nested nearly as deep.
const DEPTH: usize = 64;

type Object = Map<String, Value>;

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no protobuf of Kubernetes.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is one of a kind that has no protobuf here.
    #[error("{0} is not served in protobuf here")]
    Kind(String),
}

const CUT: Unreadable = Unreadable::Malformed("proto: unexpected end of the body");

/// Whether a body says that it is one.
pub fn is(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// The JSON form of a body.
pub fn read(body: &[u8]) -> Result<Value, Unreadable> {
    let rest = body.strip_prefix(MAGIC);
    let rest = rest.ok_or(Unreadable::Malformed("the body does not begin as Kubernetes' does"))?;
    let (mut kind, mut api_version, mut raw) = (String::new(), String::new(), &[][..]);
    each(rest, |number, wire| {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => each(meta, |number, wire| {
                match (number, wire) {
                    (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                    (2, Wire::Bytes(text)) => kind = utf8(text)?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
        Ok(())
    })?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let shape = of_kind(group, &kind).or_else(|| named(&format!("meta/v1.{kind}")));
    let shape = shape.ok_or_else(|| Unreadable::Kind(format!("{kind} of {api_version}")))?;
    let mut object = Object::new();
    fill(&mut object, shape, &[], raw, 0)?;
    let mut value = Value::Object(object);
    // Protobuf sends what is empty, JSON does not.
    super::write(shape, &mut value);
    value["apiVersion"] = api_version.into();
    value["kind"] = kind.into();
    Ok(value)
}

/// Reads a message into an object. `path` leads to the message where its fields are those of their
/// parent in JSON.
fn fill(
    object: &mut Object,
    shape: &'static Shape,
    path: &[u32],
    bytes: &[u8],
    depth: usize,
) -> Result<(), Unreadable> {
    if depth > DEPTH {
        return Err(Unreadable::Malformed("proto: nested too deep"));
    }
    each(bytes, |number, wire| {
        let path = [path, &[number]].concat();
        if let Some(field) = shape.fields.iter().find(|field| field.number == path) {
            let slot = object.entry(field.name).or_insert(Value::Null);
            return add(slot, &field.ty, &wire, depth);
        }
        match wire {
            Wire::Bytes(bytes) if shape.fields.iter().any(|one| one.number.starts_with(&path)) => {
                fill(object, shape, &path, bytes, depth + 1)
            }
            // Like Go's, this reader forgets fields that it does not know.
            _ => Ok(()),
        }
    })
}

/// Adds one occurrence of a field to what was there.
fn add(
    slot: &mut Value,
    ty: &'static Type,
    wire: &Wire<'_>,
    depth: usize,
) -> Result<(), Unreadable> {
    match (&ty.kind, wire) {
        (Kind::List(element), _) => {
            if slot.is_null() {
                *slot = json!([]);
            }
            if let Value::Array(items) = slot {
                items.push(item(element, wire, depth)?);
            }
        }
        (Kind::Map(element), Wire::Bytes(entry)) => {
            if slot.is_null() {
                *slot = json!({});
            }
            let (mut key, mut member) = (String::new(), empty(element));
            each(entry, |number, wire| {
                match number {
                    1 => key = scalar(&Kind::Text, &wire)?.as_str().unwrap_or_default().to_owned(),
                    2 => member = item(element, &wire, depth)?,
                    _ => {}
                }
                Ok(())
            })?;
            if let Value::Object(members) = slot {
                members.insert(key, member);
            }
        }
        (Kind::Struct(index), Wire::Bytes(bytes)) => {
            if slot.is_null() {
                *slot = json!({});
            }
            if let (Value::Object(object), Some(shape)) = (slot, at(*index)) {
                fill(object, shape, &[], bytes, depth + 1)?;
            }
        }
        (Kind::Own(own), Wire::Bytes(bytes)) => *slot = special(*own, bytes)?,
        (kind, wire) => *slot = scalar(kind, wire)?,
    }
    Ok(())
}

/// One item of a list, or one member of a map.
fn item(ty: &'static Type, wire: &Wire<'_>, depth: usize) -> Result<Value, Unreadable> {
    let mut value = Value::Null;
    match (&ty.kind, wire) {
        // A list has no message of its own: inside another one it is the first field of one.
        (Kind::List(_), Wire::Bytes(bytes)) => each(bytes, |number, wire| match number {
            1 => add(&mut value, ty, &wire, depth + 1),
            _ => Ok(()),
        })?,
        _ => add(&mut value, ty, wire, depth)?,
    }
    Ok(value)
}

/// A member of a map whose value was left out.
fn empty(ty: &Type) -> Value {
    match ty.kind {
        Kind::Text | Kind::Bytes => "".into(),
        Kind::Flag => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::Float => 0.into(),
        Kind::Own(Own::Quantity) => "0".into(),
        _ => Value::Null,
    }
}

fn scalar(kind: &Kind, wire: &Wire<'_>) -> Result<Value, Unreadable> {
    Ok(match (kind, wire) {
        (Kind::Text, Wire::Bytes(bytes)) => utf8(bytes)?.into(),
        (Kind::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Kind::Flag, Wire::Number(number)) => (*number != 0).into(),
        (Kind::Int32 | Kind::Int64, Wire::Number(number)) => number.cast_signed().into(),
        (Kind::Float, Wire::Fixed(bits)) => json!(f64::from_bits(*bits)),
        _ => return Err(Unreadable::Malformed("proto: wrong wireType of a field")),
    })
}

/// Types that write themselves.
fn special(own: Own, bytes: &[u8]) -> Result<Value, Unreadable> {
    let (mut first, mut second, mut text) = (0, 0, None);
    each(bytes, |number, wire| {
        match (number, wire) {
            (1, Wire::Number(number)) => first = number.cast_signed(),
            (2, Wire::Number(number)) => second = number.cast_signed(),
            (1 | 3, Wire::Bytes(bytes)) => text = Some(bytes),
            _ => {}
        }
        Ok(())
    })?;
    let text_of = |text: Option<&[u8]>| text.map_or(Ok(String::new()), utf8);
    Ok(match own {
        Own::Time | Own::MicroTime if bytes.is_empty() => Value::Null,
        Own::Time | Own::MicroTime => {
            let nanoseconds = i32::try_from(second).unwrap_or(0);
            let time = Timestamp::new(first, nanoseconds)
                .map_err(|_| Unreadable::Malformed("proto: a time that is none"))?;
            super::encode::time(&time.to_string(), own).map_or(Value::Null, Value::from)
        }
        Own::Quantity => match text_of(text)?.as_str() {
            "" => "0".into(),
            quantity => quantity.into(),
        },
        Own::IntOrString if first == 0 => second.into(),
        Own::IntOrString => text_of(text)?.into(),
        Own::Any => match text {
            Some(json) => serde_json::from_slice(json)
                .map_err(|_| Unreadable::Malformed("proto: what is not JSON in a raw field"))?,
            None => Value::Null,
        },
        Own::SchemaOrArray | Own::SchemaOrBool | Own::SchemaOrTexts => {
            return Err(Unreadable::Kind("a schema".into()));
        }
    })
}

fn utf8(bytes: &[u8]) -> Result<String, Unreadable> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| Unreadable::Malformed("proto: a string that is not UTF-8"))
}

/// What a field holds.
enum Wire<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// Calls back for each field of a message.
fn each<'a>(
    mut bytes: &'a [u8],
    mut field: impl FnMut(u32, Wire<'a>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 {
            return Err(Unreadable::Malformed("proto: illegal tag of a field"));
        }
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => Wire::Fixed(u64::from_le_bytes(*take::<8>(&mut bytes)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| CUT)?;
                let (inside, rest) = bytes.split_at_checked(length).ok_or(CUT)?;
                bytes = rest;
                Wire::Bytes(inside)
            }
            5 => Wire::Fixed(u32::from_le_bytes(*take::<4>(&mut bytes)?).into()),
            _ => return Err(Unreadable::Malformed("proto: illegal wireType")),
        };
        field(number, wire)?;
    }
    Ok(())
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Unreadable> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(CUT)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = *take::<1>(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Unreadable::Malformed("proto: integer overflow"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, inside) in fields {
            bytes.push(number << 3 | 2);
            bytes.push(u8::try_from(inside.len()).unwrap());
            bytes.extend(inside);
        }
        bytes
    }

    fn envelope(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
        let meta = message(&[(1, api_version.into()), (2, kind.into())]);
        [MAGIC, &message(&[(1, meta), (2, raw), (3, vec![]), (4, vec![])])].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let metadata = message(&[(1, "app".into()), (2, vec![]), (3, "demo".into()), (8, vec![])]);
        let entry = |key: &str, value: &str| message(&[(1, key.into()), (2, value.into())]);
        let raw = message(&[
            (1, metadata),
            (2, entry("a", "1")),
            (2, entry("b", "")),
            (3, entry("c", "\u{1}")),
        ]);
        let object = read(&envelope("v1", "ConfigMap", raw)).unwrap();
        assert_eq!(object["apiVersion"], "v1");
        assert_eq!(object["metadata"]["name"], "app");
        assert_eq!(object["metadata"]["namespace"], "demo");
        assert_eq!(object["metadata"].get("generateName"), None);
        assert_eq!(object["data"], json!({"a": "1", "b": ""}));
        assert_eq!(object["binaryData"], json!({"c": "AQ=="}));
    }

    #[test]
    fn fields_of_a_parent_in_json_are_put_there() {
        // A volume {name, secret {secretName, items [{key, path, mode}]}} of a pod.
        let item =
            [message(&[(1, "k".into()), (2, "p".into())]), vec![3 << 3, 0x80, 0x02]].concat();
        let secret = message(&[(1, "s".into()), (2, item)]);
        let volume = message(&[(1, "v".into()), (2, message(&[(6, secret)]))]);
        let raw = message(&[(2, message(&[(1, volume)]))]);
        let pod = read(&envelope("v1", "Pod", raw)).unwrap();
        let expected = json!([{"name": "v", "secret": {
            "secretName": "s", "items": [{"key": "k", "path": "p", "mode": 256}]}}]);
        assert_eq!(pod["spec"]["volumes"], expected);
    }

    #[test]
    fn lists_in_maps_and_options_of_deletions_are_read() {
        let extra = message(&[(1, "k".into()), (2, message(&[(1, "x".into()), (1, "y".into())]))]);
        let raw = message(&[(2, message(&[(3, "me".into()), (5, extra)]))]);
        let review = envelope("authorization.k8s.io/v1", "SubjectAccessReview", raw);
        let review = read(&review).unwrap();
        assert_eq!(review["spec"]["user"], "me");
        assert_eq!(review["spec"]["extra"], json!({"k": ["x", "y"]}));
        let raw = [vec![1 << 3, 5], message(&[(4, "Background".into())])].concat();
        let options = read(&envelope("v1", "DeleteOptions", raw)).unwrap();
        assert_eq!(options["gracePeriodSeconds"], 5);
        assert_eq!(options["propagationPolicy"], "Background");
    }

    #[test]
    fn what_is_none_is_refused() {
        assert!(matches!(read(b"{}"), Err(Unreadable::Malformed(_))));
        assert!(matches!(read(b"k8s\0\x0a\xff"), Err(Unreadable::Malformed(_))));
        let unknown = read(&envelope("example.org/v1", "Widget", vec![]));
        assert_eq!(unknown, Err(Unreadable::Kind("Widget of example.org/v1".into())));
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(raw in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3_usize) {
            let kind = ["Pod", "Service", "Event"][kind];
            let mut body = envelope("v1", kind, vec![]);
            let _garbage = read(&[body.as_slice(), &raw].concat());
            body.truncate(body.len() - 6);
            if let Ok(length) = u8::try_from(raw.len())
                && length < 128
            {
                body.extend([2 << 3 | 2, length]);
                body.extend(raw);
                let _garbage = read(&body);
            }
        }
    }
}
