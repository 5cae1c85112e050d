//! The rules, pure: signatures, JSON reading, names of images, paths.

pub mod auth;
pub mod cel;
pub mod digest;
pub mod filter;
pub mod form;
pub mod image;
pub mod json;
pub mod replay;
pub mod retry;
pub mod signature;
pub mod standard_webhooks;
pub mod x509;
