//! The store through its public face: durability, damage, full disks, concurrency, history.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod damage;
mod durability;
mod full;
mod history;
mod kit;
mod model;
