//! Workspaces: one user's running environment each, made from an admin's WorkspaceKind.
//!
//! Speaks Kubeflow Notebooks v2 (`dialect`), runs the objects (`controller`) and leads browsers
//! to them (`connect`); all rules of acceptance are pure functions in `decide`, which writes that
//! come by no dialect meet in `admission`. It must not know any other capability, nor what is behind
//! the `kube::Client`. Start reading at [`model`].

pub mod admission;
mod caches;
pub mod connect;
pub mod controller;
pub mod decide;
pub mod dialect;
pub mod model;
pub mod permissions;

pub use caches::Caches;
pub use model::crds;
