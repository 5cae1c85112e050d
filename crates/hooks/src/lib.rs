//! Webhooks in: verify what code hosts, registries and object stores send, keep it safe, and tell
//! the targets that something changed.
//!
//! It must not depend on any other capability. Start reading at [`sources`] (one small file per
//! sender: verify, parse, events), then [`model::Event`], what every sender's words become.

pub mod decide;
pub mod model;
pub mod sources;
