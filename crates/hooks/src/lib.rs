//! Webhooks in: verify what code hosts, registries and object stores send, keep it safe, and tell
//! the targets that something changed.
//!
//! It must not depend on any other capability. Start reading at [`sources`] (one small file per
//! sender: verify, parse, events), then [`model::Event`], what every sender's words become, then
//! [`receive`], what happens to a request.

pub mod admin;
mod certificates;
mod client;
pub mod controller;
pub mod decide;
pub mod dialect;
pub mod journal;
mod jwks;
pub mod limits;
pub mod listener;
pub mod meters;
pub mod model;
pub mod oidc;
pub mod permissions;
pub mod receive;
pub mod receivers;
pub mod server;
pub mod sources;
pub mod targets;

/// The definitions of the custom resources of this capability: the committed ones, which a test
/// holds to the types and writes anew when these have changed.
pub fn crds() -> impl Iterator<Item = serde_json::Value> {
    // The same test reads them, so none is missing.
    [include_str!("../definitions/hooks.quartermaster.io.json")]
        .into_iter()
        .map(|text| serde_json::from_str(text).unwrap_or_default())
}
