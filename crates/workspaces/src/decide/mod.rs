//! The rules of acceptance: pure functions from what is there and what is asked to a verdict.

pub mod activity;
pub mod admission;
pub mod claim;
pub mod filter;
pub mod kind;
pub mod names;
pub mod naming;
pub mod options;
pub mod pin;
pub mod quantity;
pub mod quota;
pub mod request;
pub mod secret;
pub mod selector;
pub mod state;
pub mod template;
pub mod workspace;
