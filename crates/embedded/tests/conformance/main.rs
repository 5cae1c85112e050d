//! What a Kubernetes API server must do, asked only through `kube::Client`.
//!
//! [`kit::client`] decides which server answers, so the same cases hold the embedded API to a real
//! one. Every case works in a namespace of its own and leaves other objects alone.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod access;
mod changes;
mod costs;
mod coverage;
mod crud;
mod definitions;
mod deletion;
mod embedded;
mod errors;
mod garbage;
mod kit;
mod limits;
mod lists;
mod namespaces;
mod patches;
mod quota;
mod reviews;
mod roles;
mod services;
mod subresources;
mod tables;
mod watches;
mod wire;
