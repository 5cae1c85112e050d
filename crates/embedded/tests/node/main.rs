//! Scenarios of the node: real processes under the real API, through `kube::Client` only.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod commands;
mod kit;
mod pods;
mod sets;
