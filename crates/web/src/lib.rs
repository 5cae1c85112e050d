//! What every HTTP dialect needs and no dialect should write itself: the listener stack, identity,
//! local security, tickets, errors and limits.
//!
//! It must not depend on Kubernetes or on any capability. Start reading at [`Error`] and [`Identity`],
//! then [`local`] (who may call) and [`listener`] (what every request passes through).

mod client;
mod cors;
mod error;
mod handler;
pub mod identity;
pub mod listener;
pub mod local;
mod log;
pub mod metrics;
mod page;

pub use client::{Client, Head, Render};
pub use cors::Cors;
pub use error::{Cause, Error, Kind, Origin};
pub use handler::{Answering, Handler, Pass, RouteNote};
pub use identity::{Authenticate, Identity};
pub use log::Lines;
pub use page::Page;
