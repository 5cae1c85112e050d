//! Webhooks in: verify what code hosts, registries and object stores send, keep it safe, and tell
//! the targets that something changed.
//!
//! It must not depend on any other capability. Start reading at [`sources`] (one small file per
//! sender: verify, parse, events), then [`model::Event`], what every sender's words become, then
//! [`receive`], what happens to a request.

pub mod admin;
mod client;
pub mod controller;
pub mod decide;
pub mod dialect;
pub mod journal;
pub mod limits;
pub mod listener;
pub mod model;
pub mod permissions;
pub mod receive;
pub mod server;
pub mod sources;
pub mod targets;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The definitions of the custom resources of this capability.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![cluster::crds::tidy(model::Hook::crd())]
}
