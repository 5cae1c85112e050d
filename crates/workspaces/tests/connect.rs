//! The connect path over real connections: a real listener, a real program behind it, real clients.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "connect/access.rs"]
mod access;
#[path = "connect/identified.rs"]
mod identified;
#[path = "connect/kit.rs"]
mod kit;
#[path = "connect/live.rs"]
mod live;
#[path = "connect/streams.rs"]
mod streams;
#[path = "connect/waiting.rs"]
mod waiting;
