//! The program: reads the command line and hands over to one file in `commands`.
//!
//! Nothing but commands, configuration, listeners and wiring lives in this crate; every capability
//! is a crate of its own. Start reading at [`commands`], then `wiring` for what `up` and `serve` put
//! together.

mod cli;
mod commands;
mod config;
mod endpoints;
mod failure;
mod hooks;
mod images;
mod kube_api;
mod output;
mod permissions;
mod remote;
mod seed;
mod settings;
mod signals;
mod ui;
mod wiring;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The parent of every pod process: it must stay small, so it starts before anything else.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "pod-shim") {
        return embedded::node::shim::main();
    }
    commands::run()
}
