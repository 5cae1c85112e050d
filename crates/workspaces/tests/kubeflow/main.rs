//! The Kubeflow dialect from outside: the production router on an embedded cluster.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod actions;
mod along;
mod assets;
mod bad_input;
mod claims;
mod coverage;
mod document;
mod edits;
mod faults;
mod harm;
mod harness;
mod hostile;
mod insight;
mod kinds;
mod lists;
mod logs;
mod noun_faults;
mod option_values;
mod profiles;
mod queries;
mod record;
mod rights;
mod secrets;
mod story;
mod watches;
