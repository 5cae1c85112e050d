//! The Kubeflow dialect from outside: the production router on an embedded cluster.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bad_input;
mod coverage;
mod faults;
mod harness;
mod lists;
mod logs;
mod story;
