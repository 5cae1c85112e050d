//! `x-kubernetes-validations`: compiled once, evaluated for every object that is written.
//!
//! The expressions are parsed by the `cel` crate and the Kubernetes libraries come from `kube-cel`.
//! The evaluator is our own, because an API server counts the cost of an expression, reads the
//! object in place, knows optional values and words failures in its own way.

mod check;
mod compile;
mod cost;
mod eval;
mod functions;
mod operations;
mod run;
mod value;

use std::collections::HashMap;

use kube_cel::cel::common::ast::IdedExpr;
use regex::Regex;

pub(crate) use compile::{Place, attach};
pub(crate) use cost::check as check_cost;
pub(crate) use run::validate;

/// The rules of one level of a schema.
#[derive(Debug)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    program: Program,
    message: Option<Program>,
    /// The fixed message, or what is said without one.
    text: String,
    /// How the rule is named when it cannot be evaluated.
    name: String,
    reason: Option<String>,
    field_path: Option<String>,
    uses_old: bool,
    optional_old: bool,
}

#[derive(Debug)]
struct Program {
    expr: IdedExpr,
    patterns: HashMap<String, Regex>,
}

#[cfg(test)]
mod tests;
