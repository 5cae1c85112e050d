//! A small file browser for one directory: a page for people, JSON routes for programs.
//!
//! It is meant to run inside a workspace, behind the connect proxy, and must not depend on
//! Kubernetes or on any capability. Nothing outside the directory can be reached, whatever a path
//! or a symbolic link says. Start reading at [`router`]; [`root::Root`] holds every file operation.

mod content;
mod error;
pub mod root;
mod routes;
mod upload;

pub use routes::{Limits, Options, Token, router};
