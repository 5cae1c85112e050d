//! The way to Kubernetes: watch caches, work queues, writes that respect ownership, CRD
//! installation, the server of admission webhooks, authorisation and the mapping of API errors.
//!
//! Works on any `kube::Client`, a real API server or the embedded one, and writes only with create,
//! replace, merge patch and JSON patch. It must not know any capability. Start reading at [`Cache`]
//! and [`controller`].

pub mod access;
pub mod admission;
pub mod apply;
mod cache;
pub mod client;
pub mod controller;
pub mod crds;
pub mod error;
pub mod lease;
mod object;
pub mod permissions;
mod queue;

pub use access::Access;
pub use cache::{Cache, CacheMeters, Change, Changes, Source};
pub use object::{Key, Object};
pub use queue::Queue;
