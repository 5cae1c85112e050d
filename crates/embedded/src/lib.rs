//! embedded

pub mod node;
