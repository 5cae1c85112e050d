//! The rules of acceptance: pure functions from what is there and what is asked to a verdict.

pub mod kind;
pub mod names;
pub mod request;
pub mod workspace;
