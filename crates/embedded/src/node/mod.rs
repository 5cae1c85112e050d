//! The node of the one-machine cluster.
mod expand;
mod images;
pub use images::{ImageEntry, ImageTable, ImageTableError};
mod logfile;
mod mounts;
mod process;
mod runtime;
pub mod shim;
