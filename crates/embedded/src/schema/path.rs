//! Where in an object a check looks: a chain on the stack, rendered only when something is wrong.

use std::fmt::{self, Write as _};

use super::cause::NO_FIELD;

/// A place in an object, linked to the place that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    pub(crate) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    pub(crate) fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// `spec.labels[key].list[0]`, as the API server's own checks name fields.
    pub(crate) fn to_field(self) -> String {
        let mut out = String::new();
        self.write(&mut out, false);
        if out.is_empty() { NO_FIELD.to_owned() } else { out }
    }

    /// `spec.labels.key.list[0]`, as OpenAPI validation and pruning name fields.
    pub(crate) fn to_dotted(self) -> String {
        let mut out = String::new();
        self.write(&mut out, true);
        out
    }

    fn write(&self, out: &mut String, dotted: bool) {
        if let Some(parent) = self.parent {
            parent.write(out, dotted);
        }
        match self.step {
            Step::Root => {}
            Step::Key(key) if !dotted => {
                let _ = write!(out, "[{key}]");
            }
            Step::Field(name) | Step::Key(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(index) => {
                let _ = write!(out, "[{index}]");
            }
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_field())
    }
}
