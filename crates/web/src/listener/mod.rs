//! A listener: a bound address, the stack that every request passes through, and a clean end.
//!
//! [`Stack`] wraps a router in the documented order; [`bind`] and [`Listener::serve`] speak HTTP,
//! with limits on everything from outside; [`Drain`] ends connections and tunnels within a grace.

mod body;
mod drain;
mod io;
mod ops;
mod server;
mod stack;
mod tls;

pub use body::{BodyError, read};
pub use drain::Drain;
pub use ops::{metrics_router, ops_router, probes};
pub use server::{BindError, Limits, Listener, Peer, bind};
pub use stack::Stack;
pub use tls::Tls;
