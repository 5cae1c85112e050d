//! Extractors for the head of a request. Each rejects in this dialect's words.
//!
//! Handlers list them in the contract's order of checks: [`Caller`] first, then the path, then
//! [`Query`], then a body (see [`super::body`]).

use std::{borrow::Cow, mem::take};

use axum::extract::FromRequestParts;

use http::request::Parts;
use percent_encoding::percent_decode_str;
use web::{Cause, Error, Identity, Kind};

use super::{error::Problem, route::Names};
use crate::decide::names::{check_label, check_subdomain, invalid};

/// Who calls. Taken first by every handler, so that nobody unknown learns anything.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Identity);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.remove::<Identity>() {
            Some(identity) => Ok(Self(identity)),
            None => Err(Error::new(Kind::Unauthenticated, "the request has no identity").into()),
        }
    }
}

/// `{namespace}` in the path.
#[derive(Debug)]
pub(crate) struct InNamespace(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for InNamespace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let names = parts.extensions.get_or_insert_default();
        let (namespace, causes) = namespace(names)?;
        if causes.is_empty() { Ok(Self(namespace)) } else { Err(Problem::path(causes)) }
    }
}

/// `{name}` in the path: an object without a namespace.
#[derive(Debug)]
pub(crate) struct Named(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let names = parts.extensions.get_or_insert_default();
        let (name, causes) = name(names)?;
        if causes.is_empty() { Ok(Self(name)) } else { Err(Problem::path(causes)) }
    }
}

/// `{namespace}/{name}` in the path.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Object {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let names = parts.extensions.get_or_insert_default();
        let (namespace, mut causes) = namespace(names)?;
        let (name, more) = name(names)?;
        causes.extend(more);
        if causes.is_empty() { Ok(Self { namespace, name }) } else { Err(Problem::path(causes)) }
    }
}

fn namespace(names: &mut Names) -> Result<(String, Vec<Cause>), Problem> {
    let value = decoded(take(&mut names.namespace))?;
    let causes = check_label("namespace", &value);
    Ok((value, causes))
}

fn name(names: &mut Names) -> Result<(String, Vec<Cause>), Problem> {
    let value = decoded(take(&mut names.name))?;
    let causes = check_subdomain("name", &value);
    Ok((value, causes))
}

fn decoded(value: String) -> Result<String, Problem> {
    match percent_decode_str(&value).decode_utf8() {
        Ok(Cow::Borrowed(_)) => Ok(value),
        Ok(Cow::Owned(decoded)) => Ok(decoded),
        Err(_) => {
            let message = "Invalid value: the path is not valid UTF-8";
            Err(Problem::path(vec![Cause::internal("FieldValueInvalid", "", message)]))
        }
    }
}

/// The query string. An empty value counts as absent, the first of several wins, unknown names
/// are ignored.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        serde_urlencoded::from_str(text)
            .map(Self)
            .map_err(|error| Problem::malformed(format!("error parsing query: {error}")))
    }
}

impl Query {
    /// The value of a parameter, if it has one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        (!found.1.is_empty()).then_some(found.1.as_str())
    }

    /// A namespace, if the parameter has a value.
    pub(crate) fn namespace(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let causes = check_label(name, value);
        if causes.is_empty() { Ok(Some(value)) } else { Err(Problem::query(causes)) }
    }

    /// Whether a flag is set; not without a value.
    pub(crate) fn boolean(&self, name: &str) -> Result<bool, Problem> {
        let mut causes = Vec::new();
        let value = self.parse(name, "must be a boolean", boolean, &mut causes);
        if causes.is_empty() { Ok(value.unwrap_or(false)) } else { Err(Problem::query(causes)) }
    }

    /// Whether a write is only asked about.
    pub(crate) fn dry_run(&self) -> Result<bool, Problem> {
        let read = |text: &str| if text == "All" { Some(true) } else { boolean(text) };
        let mut causes = Vec::new();
        let value = self.parse("dryRun", "must be All or a boolean", read, &mut causes);
        if causes.is_empty() { Ok(value.unwrap_or(false)) } else { Err(Problem::query(causes)) }
    }

    /// A flag among parameters whose faults are all told at once.
    pub(crate) fn flag(&self, name: &str, causes: &mut Vec<Cause>) -> bool {
        self.parse(name, "must be a boolean", boolean, causes).unwrap_or(false)
    }

    /// A value that some rule reads; what it cannot read becomes a cause.
    pub(crate) fn parse<T>(
        &self,
        name: &str,
        rule: &str,
        read: impl FnOnce(&str) -> Option<T>,
        causes: &mut Vec<Cause>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let read = read(value);
        if read.is_none() {
            causes.push(invalid(name, value, rule));
        }
        read
    }
}

/// The words that Go reads as a boolean.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
