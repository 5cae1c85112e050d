//! Webhooks in: verify what code hosts, registries and object stores send, keep it safe, and tell
//! the targets that something changed.
//!
//! It must not depend on any other capability. Start reading at [`sources`] (one small file per
//! sender: verify, parse, events), then [`model::Event`], what every sender's words become, then
//! [`receive`], what happens to a request.

pub mod admin;
mod client;
pub mod decide;
pub mod dialect;
pub mod journal;
pub mod limits;
pub mod listener;
pub mod model;
pub mod receive;
pub mod sources;
pub mod targets;
