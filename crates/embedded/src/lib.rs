//! embedded

pub mod node;
pub mod schema;
