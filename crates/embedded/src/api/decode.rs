//! From the body of a request to an object: media types, syntax, types, unknown and repeated fields.

use bytes::Bytes;
use http::{header, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    kinds::{Resource, api_version},
    metadata::{self, Object},
    status::Status,
    syntax,
};
use crate::schema::{
    Cause,
    shape::{self, Decoded, Shape, Unreadable, protobuf},
};

/// How much of an unreadable body is shown.
const SUMMARY: usize = 30;
const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What a body must hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    custom: bool,
}

impl<'a> Wanted<'a> {
    /// A built-in kind that is no resource of its own, of version `v1`.
    pub(crate) fn built_in(group: &'a str, kind: &'a str) -> Self {
        Self { group, version: "v1", kind, custom: false }
    }

    fn api_version(self) -> String {
        api_version(self.group, self.version)
    }
}

impl<'a> From<&'a Resource> for Wanted<'a> {
    fn from(resource: &'a Resource) -> Self {
        let Resource { group, version, kind, custom, .. } = resource;
        Self { group, version, kind, custom: custom.is_some() }
    }
}

/// An object that was sent, and what is doubtful about it.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) object: Object,
    pub(crate) doubts: Vec<String>,
}

impl From<Object> for Input {
    fn from(object: Object) -> Self {
        Self { object, doubts: Vec::new() }
    }
}

pub(crate) fn media_type(parts: &Parts) -> &str {
    let value = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// The JSON of a body, and doubts that only its own notation can raise.
fn to_json(parts: &Parts, body: &Bytes) -> Result<(Bytes, Vec<String>), Problem> {
    match media_type(parts) {
        "" | "application/json" => Ok((lossless(body), Vec::new())),
        "application/yaml" => yaml(body),
        "application/vnd.kubernetes.protobuf" => {
            from_protobuf(body).map(|json| (json, Vec::new())).map_err(Problem::Status)
        }
        _ => Err(Problem::Status(unsupported())),
    }
}

/// Go's clients write built-in kinds so.
fn from_protobuf(body: &Bytes) -> Result<Bytes, Status> {
    match protobuf::read(body) {
        Ok(object) => Ok(object.to_string().into()),
        Err(error @ protobuf::Unreadable::Kind(_)) => {
            Err(Status::not_implemented(format!("{error}; send application/json")))
        }
        Err(error @ protobuf::Unreadable::Malformed(_)) => {
            Err(Status::bad_request(error.to_string()))
        }
    }
}

fn unsupported() -> Status {
    Status::unsupported_media_type(format!(
        "the body of the request was in an unknown format - accepted media types include: {ACCEPTED}"
    ))
}

/// Go replaces what is not UTF-8.
fn lossless(body: &Bytes) -> Bytes {
    match std::str::from_utf8(body) {
        Ok(_) => body.clone(),
        Err(_) => String::from_utf8_lossy(body).into_owned().into(),
    }
}

fn yaml(body: &Bytes) -> Result<(Bytes, Vec<String>), Problem> {
    let read = |repeated| {
        let options = serde_saphyr::options! {
            duplicate_keys: repeated,
            budget: serde_saphyr::budget! { max_nodes: 100_000, max_aliases: 1_000, max_anchors: 1_000 },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
            with_snippet: false,
        };
        serde_saphyr::from_slice_with_options::<Value>(body, options)
    };
    let mut doubts = Vec::new();
    let mut value = read(serde_saphyr::DuplicateKeyPolicy::Error);
    if let Err(error) = &value
        && let serde_saphyr::Error::DuplicateMappingKey { key, location } = error.without_snippet()
    {
        let (line, key) = (location.line(), key.as_deref().unwrap_or_default());
        doubts.push(format!("yaml: unmarshal errors: line {line}: key {key:?} already set in map"));
        value = read(serde_saphyr::DuplicateKeyPolicy::LastWins);
    }
    match value {
        Ok(value) => Ok((value.to_string().into(), doubts)),
        Err(error) => Err(Problem::Syntax(format!("yaml: {}", error.without_snippet()))),
    }
}

/// Why a body is no object of its resource.
enum Problem {
    Status(Status),
    /// It has not even a kind.
    Syntax(String),
    /// It is meant as a kind and a version, but does not fit.
    Type {
        kind: String,
        version: String,
        problem: String,
    },
}

impl Problem {
    fn into_status(self, wanted: Wanted<'_>, body: &[u8]) -> Status {
        let wanted = wanted.kind;
        Status::bad_request(match self {
            Self::Status(status) => return status,
            Self::Syntax(problem) => format!(
                "the object provided is unrecognized (must be of type {wanted}): {problem} ({})",
                summary(body)
            ),
            Self::Type { kind, version, problem } => {
                format!("{kind} in version {version:?} cannot be handled as a {wanted}: {problem}")
            }
        })
    }
}

/// The start of a body: as text if it may be JSON, else in hexadecimal.
fn summary(body: &[u8]) -> String {
    let start = body.get(..SUMMARY).unwrap_or(body);
    let more = if body.len() > SUMMARY { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => {
            let hex: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

/// Reads the object of a create or replace.
pub(crate) fn body<'a>(
    parts: &Parts,
    body: &Bytes,
    wanted: impl Into<Wanted<'a>>,
) -> Result<Input, Status> {
    let wanted = wanted.into();
    let read = || {
        let (json, mut doubts) = to_json(parts, body)?;
        let mut input = object(&json, wanted)?;
        doubts.append(&mut input.doubts);
        Ok(Input { doubts, ..input })
    };
    read().map_err(|problem: Problem| problem.into_status(wanted, body))
}

/// Reads the options of a deletion; what is wrong with them is no fault of the client's for Go.
pub(crate) fn options(parts: &Parts, body: &Bytes) -> Result<Value, Status> {
    let Some(shape) = shape::named("meta/v1.DeleteOptions") else { return Ok(Value::Null) };
    let unreadable = |problem| match problem {
        Problem::Status(status) => status,
        Problem::Syntax(problem) | Problem::Type { problem, .. } => Status::unknown(problem),
    };
    let (body, _) = to_json(parts, body).map_err(unreadable)?;
    let (kind, api_version) = type_meta(&body).map_err(unreadable)?;
    if !matches!(kind.as_str(), "" | "DeleteOptions") {
        let version = if api_version.is_empty() { "meta.k8s.io/v1" } else { &api_version };
        return Err(Status::unknown(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:110\""
        )));
    }
    from_json(&body, |input| shape::read(shape, input)).map(|read| read.value).map_err(|error| {
        Status::unknown(match error {
            Unreadable::Type(problem) => problem,
            Unreadable::Syntax(error) => error.to_string(),
        })
    })
}

/// Reads what a patch made of an object.
pub(crate) fn patched<'a>(patched: &Value, wanted: impl Into<Wanted<'a>>) -> Result<Input, Status> {
    object(patched.to_string().as_bytes(), wanted.into()).map_err(|problem| {
        let problem = match problem {
            Problem::Status(status) => return status,
            Problem::Syntax(problem) | Problem::Type { problem, .. } => problem,
        };
        invalid_patch(patched, &problem)
    })
}

/// 422 of a patch whose result cannot be used.
pub(crate) fn invalid_patch(patched: &Value, problem: &str) -> Status {
    let shown = Value::String(crate::schema::compact_json(patched));
    Status::invalid("", "", "", vec![Cause::invalid("patch", &shown, problem)])
}

fn object(json: &[u8], wanted: Wanted<'_>) -> Result<Input, Problem> {
    if wanted.custom { custom(json, wanted) } else { built_in(json, wanted) }
}

fn from_json<T>(
    json: &[u8],
    read: impl FnOnce(
        &mut serde_json::Deserializer<serde_json::de::SliceRead<'_>>,
    ) -> Result<T, Unreadable>,
) -> Result<T, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = read(&mut deserializer)?;
    deserializer.end().map_err(Unreadable::Syntax)?;
    Ok(value)
}

/// What Go looks for in a body first.
const TYPE_META: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

fn first(json: &[u8]) -> Option<&u8> {
    json.iter().find(|c| !c.is_ascii_whitespace())
}

/// Go's words for a body that is not JSON.
fn not_json(json: &[u8], error: &serde_json::Error) -> Problem {
    let problem = syntax::problem(json).unwrap_or_else(|| match first(json) {
        // Too deep for us, but not for Go, which says what it wants instead.
        Some(b'[') => format!("json: cannot unmarshal array into Go value of type {TYPE_META}"),
        _ => error.to_string(),
    });
    Problem::Syntax(format!("couldn't get version/kind; json parse error: {problem}"))
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct TypeMeta {
    api_version: Value,
    kind: Value,
}

/// Kind and API version of a body, empty where it does not say.
fn type_meta(json: &[u8]) -> Result<(String, String), Problem> {
    let refuse = |found: &Value, place: &str, wanted: &str| {
        let found = metadata::type_name(found);
        Problem::Syntax(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go {place} of type {wanted}"
        ))
    };
    let meta: TypeMeta = match first(json) {
        Some(b'{') => serde_json::from_slice(json).map_err(|error| not_json(json, &error))?,
        _ => match serde_json::from_slice::<Value>(json) {
            Ok(Value::Null) => TypeMeta::default(),
            Ok(whole) => return Err(refuse(&whole, "value", TYPE_META)),
            Err(error) => return Err(not_json(json, &error)),
        },
    };
    let text = |value: Value, name: &str| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        other => Err(refuse(&other, &format!("struct field .{name}"), "string")),
    };
    Ok((text(meta.kind, "kind")?, text(meta.api_version, "apiVersion")?))
}

fn built_in(json: &[u8], wanted: Wanted<'_>) -> Result<Input, Problem> {
    let shape = shape::of_kind(wanted.group, wanted.kind);
    let read = match shape {
        Some(shape) => from_json(json, |input| shape::read(shape, input)),
        None => from_json(json, |input| shape::any(input)),
    };
    let api_version = wanted.api_version();
    let fits = |object: &Object, name: &str, wanted: &str| {
        let found = object.get(name).and_then(Value::as_str).unwrap_or_default();
        found.is_empty() || found == wanted
    };
    let read = match read {
        Ok(Decoded { value: Value::Object(object), doubts })
            if fits(&object, "kind", wanted.kind) && fits(&object, "apiVersion", &api_version) =>
        {
            return Ok(Input { object, doubts });
        }
        Ok(Decoded { value: Value::Null, .. }) => return Ok(Input::default()),
        other => other,
    };
    let (kind, api_version) = type_meta(json)?;
    check_type(wanted, &kind, &api_version)?;
    Err(match read {
        Err(Unreadable::Syntax(error)) => not_json(json, &error),
        Err(Unreadable::Type(problem)) => Problem::Type {
            kind: wanted.kind.to_owned(),
            version: wanted.version.to_owned(),
            problem,
        },
        Ok(_) => Problem::Syntax("json: cannot unmarshal null".into()),
    })
}

/// A body of another kind or version than its path.
fn check_type(wanted: Wanted<'_>, kind: &str, api_version: &str) -> Result<(), Problem> {
    let expected = wanted.api_version();
    let given = if api_version.is_empty() { &expected } else { api_version };
    let kind = if kind.is_empty() { wanted.kind } else { kind };
    if given == expected && kind == wanted.kind {
        return Ok(());
    }
    let (group, version) = given.rsplit_once('/').unwrap_or(("", given));
    let known = version == "v1" && shape::of_kind(group, kind).is_some();
    let problem = if known {
        let own = wanted.group.split('.').next().filter(|name| !name.is_empty());
        let own = own.unwrap_or("core");
        format!("converting (v1.{kind}) to ({own}.{}): unknown conversion", wanted.kind)
    } else {
        format!(
            "no kind {kind:?} is registered for version {given:?} in scheme \"pkg/runtime/scheme.go:110\""
        )
    };
    Err(Problem::Type { kind: kind.to_owned(), version: version.to_owned(), problem })
}

fn custom(json: &[u8], wanted: Wanted<'_>) -> Result<Input, Problem> {
    let decoded = match from_json(json, |input| shape::any(input)) {
        Ok(decoded) => decoded,
        Err(Unreadable::Syntax(error)) => return Err(not_json(json, &error)),
        Err(Unreadable::Type(problem)) => return Err(Problem::Syntax(problem)),
    };
    let (kind, api_version) = type_meta(json)?;
    let Value::Object(mut object) = decoded.value else {
        return Err(Problem::Syntax("the body is no object".into()));
    };
    if kind.is_empty() {
        let shown = String::from_utf8_lossy(json);
        return Err(Problem::Syntax(format!("Object 'Kind' is missing in '{shown}'")));
    }
    let mut doubts = decoded.doubts;
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let kind_and_version =
        |problem| Problem::Type { kind: kind.clone(), version: version.to_owned(), problem };
    let meta = object.remove("metadata").unwrap_or(Value::Null);
    let (meta, more) = object_meta(&meta).map_err(kind_and_version)?;
    doubts.extend(more);
    object.insert("metadata".into(), meta);
    if api_version != wanted.api_version() {
        return Err(Problem::Status(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            wanted.api_version()
        ))));
    }
    Ok(Input { object, doubts })
}

/// The `metadata` of a custom resource, with doubts about it; the error is in Go's words.
pub(crate) fn object_meta(value: &Value) -> Result<(Value, Vec<String>), String> {
    let Some(shape) = shape::named("meta/v1.ObjectMeta") else {
        return Ok((value.clone(), Vec::new()));
    };
    object_meta_of(shape, value)
}

fn object_meta_of(shape: &'static Shape, value: &Value) -> Result<(Value, Vec<String>), String> {
    match shape::read(shape, value) {
        Ok(Decoded { mut value, doubts }) => {
            if value.is_null() {
                value = json!({});
            }
            shape::write(shape, &mut value);
            let under = |doubt: String| doubt.replacen("field \"", "field \"metadata.", 1);
            Ok((value, doubts.into_iter().map(under).collect()))
        }
        Err(Unreadable::Type(problem)) => Err(problem),
        Err(Unreadable::Syntax(error)) => Err(error.to_string()),
    }
}
