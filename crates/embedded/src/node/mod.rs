//! The node of the one-machine cluster.
mod expand;
mod images;
mod logfile;
mod mounts;
mod process;
mod runtime;
pub mod shim;
