//! What each operation takes and gives, said where its route is: the served documents and the tests
//! that go through all routes are made from this.

use std::collections::BTreeSet;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::body::YAML;

/// Writes down the schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One operation in the words of its users.
#[derive(Debug, Clone)]
pub(crate) struct Doc {
    /// Unique; generated clients name their functions by it.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    /// Whether it answers without an identity.
    pub(crate) open: bool,
    pub(crate) query: Vec<Parameter>,
    pub(crate) body: Option<Body>,
    pub(crate) answers: Vec<Answer>,
    /// Whether `If-None-Match` is honoured, and `ETag` sent.
    pub(crate) tagged: bool,
    /// Whether `If-Match` is honoured.
    pub(crate) matched: bool,
    failures: Vec<u16>,
}

/// A query parameter.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) value: Value,
}

/// What a query parameter may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    /// RFC 1123 label.
    Label,
    /// RFC 3339.
    Time,
    /// A positive integer, up to this one.
    Integer(i64),
    Boolean,
    /// Anything.
    Text,
}

/// A request body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    /// The first is the one that refusals name.
    pub(crate) media_types: &'static [&'static str],
    pub(crate) schema: SchemaOf,
    /// Whether it is `{"data": …}`.
    pub(crate) wrapped: bool,
}

/// An answer that is no failure.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content: Content,
    /// Whether it says where the new thing is.
    pub(crate) located: bool,
}

/// What an answer holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Nothing,
    /// `{"data": …}` in one of these shapes.
    Data(Vec<SchemaOf>),
    /// JSON without an envelope.
    Bare(SchemaOf),
    /// Text of another media type.
    Text(&'static str),
}

impl Doc {
    /// An operation that wants an identity.
    pub(crate) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            open: false,
            query: Vec::new(),
            body: None,
            answers: Vec::new(),
            tagged: false,
            matched: false,
            failures: Vec::new(),
        }
    }

    /// It answers without an identity.
    pub(crate) fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// A query parameter.
    pub(crate) fn query(mut self, name: &'static str, value: Value, about: &'static str) -> Self {
        self.query.push(Parameter { name, about, value });
        self
    }

    /// A body `{"data": …}`.
    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.body = Some(Body { media_types: &["application/json"], schema, wrapped: true });
        self
    }

    /// A Kubernetes manifest as body.
    pub(crate) fn manifest<T: JsonSchema>(mut self) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.body = Some(Body { media_types: &YAML, schema, wrapped: false });
        self
    }

    /// 200 with `{"data": …}`.
    pub(crate) fn ok<T: JsonSchema>(self) -> Self {
        self.data::<T>(200, false)
    }

    /// 201 with `{"data": …}` and `Location`.
    pub(crate) fn created<T: JsonSchema>(self) -> Self {
        self.data::<T>(201, true)
    }

    /// 202 with `{"data": …}`.
    pub(crate) fn accepted<T: JsonSchema>(self) -> Self {
        self.data::<T>(202, false)
    }

    /// 204.
    pub(crate) fn gone(self) -> Self {
        self.answer(204, Content::Nothing)
    }

    /// 200 with text of another media type.
    pub(crate) fn text(self, media_type: &'static str) -> Self {
        self.answer(200, Content::Text(media_type))
    }

    /// JSON without an envelope.
    pub(crate) fn bare<T: JsonSchema>(self, status: u16) -> Self {
        self.answer(status, Content::Bare(SchemaGenerator::subschema_for::<T>))
    }

    /// It also fails with these, besides what follows from all the rest.
    pub(crate) fn fails(mut self, statuses: &[u16]) -> Self {
        self.failures.extend_from_slice(statuses);
        self
    }

    /// It sends `ETag` and honours `If-None-Match`.
    pub(crate) fn tagged(mut self) -> Self {
        self.tagged = true;
        self.answer(304, Content::Nothing)
    }

    /// It honours `If-Match`.
    pub(crate) fn matched(mut self) -> Self {
        self.matched = true;
        self
    }

    /// The answer with `{"data": …}` has this shape as well.
    pub(crate) fn or<T: JsonSchema>(mut self) -> Self {
        if let Some(Content::Data(shapes)) = self.answers.last_mut().map(|last| &mut last.content) {
            shapes.push(SchemaGenerator::subschema_for::<T>);
        }
        self
    }

    fn data<T: JsonSchema>(self, status: u16, located: bool) -> Self {
        let schemas = vec![SchemaGenerator::subschema_for::<T> as SchemaOf];
        let mut doc = self.answer(status, Content::Data(schemas));
        if let Some(answer) = doc.answers.last_mut() {
            answer.located = located;
        }
        doc
    }

    fn answer(mut self, status: u16, content: Content) -> Self {
        self.answers.push(Answer { status, content, located: false });
        self
    }

    /// Every status of a failure.
    pub(crate) fn failures(&self, method: &Method, path: &str) -> BTreeSet<u16> {
        let mut all: BTreeSet<u16> = self.failures.iter().copied().collect();
        if !self.open {
            // 400 for a profile that does not exist.
            all.extend([400, 401, 403, 500, 503]);
        }
        if path.contains('{') || !self.query.is_empty() {
            all.insert(422);
        }
        if self.body.is_some() {
            all.extend([400, 413, 415, 422]);
        }
        if !method.is_safe() {
            all.insert(507);
        }
        if self.matched {
            all.insert(412);
        }
        all
    }
}
