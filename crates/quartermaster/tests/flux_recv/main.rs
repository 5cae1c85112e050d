//! `quartermaster as flux-recv` as strangers meet it: the built program, a socket, a recording
//! downstream.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod commands;
mod contract;
mod durable;
mod extended;
mod hostile;
mod kit;
mod process;
mod sources;
mod tls;
mod tokens;
