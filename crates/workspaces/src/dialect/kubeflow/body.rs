//! Extractors for request bodies: media type, size, syntax, then the rules of the fields.
//!
//! Bodies are strict: a field that the contract does not know is refused with its name, so a typing
//! error never passes silently.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::Limited;
use serde::{Deserialize, de::DeserializeOwned};
use web::{Cause, Error, Kind};

use super::error::Problem;
use crate::decide::names::{INVALID, required};

/// The largest body of any route.
pub(crate) const LIMIT: usize = 4 * 1024 * 1024;

const DECODING: &str = "error decoding request body";
const JSON: [&str; 1] = ["application/json"];
pub(crate) const YAML: [&str; 4] =
    ["application/yaml", "application/json", "application/x-yaml", "text/yaml"];

/// A body that knows the rules of its own fields.
pub(crate) trait Validate {
    /// Every rule that is broken; field paths start with `data`.
    fn validate(&self) -> Vec<Cause>;
}

/// A validated `{"data": …}` body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned + Validate> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_media_type(request.headers(), &JSON)?;
        let data: T = decode_json(&read(request).await?)?;
        let causes = data.validate();
        if causes.is_empty() { Ok(Self(data)) } else { Err(Problem::body(causes)) }
    }
}

/// A Kubernetes manifest as YAML or JSON: one document, no key twice, no alias bombs.
#[derive(Debug)]
pub(crate) struct Manifest(pub(crate) serde_json::Value);

impl<S: Sync> FromRequest<S> for Manifest {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_media_type(request.headers(), &YAML)?;
        decode_yaml(&read(request).await?).map(Self)
    }
}

/// The listener limits bodies as well, and to what it likes; this limit is the contract's.
async fn read(request: Request) -> Result<Bytes, Problem> {
    let body = Limited::new(request.into_body(), LIMIT);
    Ok(web::listener::read(axum::body::Body::new(body)).await?)
}

fn check_media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let unsupported =
        |message: String| Problem::from(Error::new(Kind::UnsupportedMediaType, message));
    let broken =
        |why: &str| Problem::malformed(format!("error parsing Content-Type header: {why}"));
    let value = match headers.get(header::CONTENT_TYPE) {
        Some(value) if !value.is_empty() => value,
        _ => return Err(unsupported("Content-Type header is missing".to_owned())),
    };
    let text = value.to_str().map_err(|_| broken("not plain ASCII"))?;
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.split_once('/') {
        Some((_, "")) => return Err(broken("expected token after slash")),
        Some(_) => {
            let whole = text.trim_end_matches([';', ' ']);
            whole.parse::<mime::Mime>().map_err(|error| broken(&error.to_string()))?;
        }
        None if kind.is_empty() => return Err(broken("no media type")),
        None => {}
    }
    if accepted.contains(&kind.as_str()) {
        return Ok(());
    }
    Err(unsupported(format!("unsupported media type: {kind}, expected: {}", accepted[0])))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapper<T> {
    // Not `Option` by derive alone: `{}` and `{"data":null}` are the same thing.
    #[serde(default = "none")]
    data: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Err(empty());
    }
    let wrapper: Option<Wrapper<T>> = match typed(bytes) {
        // A typed reader refuses a key that comes twice; in this contract the last one wins. A
        // generic value has just that rule, at a price that only such bodies pay.
        Err(why) if why.contains("duplicate field") => last_wins(bytes),
        answer => answer,
    }
    .map_err(|why| Problem::malformed(format!("{DECODING}: error decoding JSON: {why}")))?;
    wrapper
        .and_then(|wrapper| wrapper.data)
        .ok_or_else(|| Problem::body(vec![required("data", "data is required")]))
}

fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| explain(&error))?;
    // A second document in the body is a mistake of the client, not something to ignore.
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

fn last_wins<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(value).map_err(|error| explain(&error))
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }
}

fn empty() -> Problem {
    Problem::malformed(format!("{DECODING}: request body was empty: EOF"))
}

fn decode_yaml(bytes: &[u8]) -> Result<serde_json::Value, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Err(empty());
    }
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        budget: serde_saphyr::budget! { max_nodes: 100_000, max_aliases: 1_000, max_anchors: 1_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    };
    serde_saphyr::from_slice_with_options(bytes, options).map_err(|error| {
        if let serde_saphyr::Error::DuplicateMappingKey { key, location } = error.without_snippet()
        {
            let key = key.as_deref().unwrap_or("?");
            let (line, column) = (location.line(), location.column());
            let message = format!("Invalid value: key {key:?} twice, line {line}, column {column}");
            return Problem::body(vec![Cause::internal(INVALID, "", message)]);
        }
        Problem::malformed(format!("{DECODING}: {error}"))
    })
}
