//! The built program from outside: command line, start and stop, security, the story of a workspace.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod admission;
mod certificates;
mod cli;
mod doors;
mod hooks;
mod input;
mod kube_api;
mod pins;
mod security;
mod serve;
mod start;
mod story;

use quartermaster_e2e::Program;

/// The program of this build with an empty data directory.
fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_quartermaster"))
}

/// A text without what differs from run to run.
fn tidy(text: &str, program: &Program) -> String {
    let scratch = program.scratch().display().to_string();
    text.replace(&scratch, "[DIR]").replace(env!("CARGO_PKG_VERSION"), "[VERSION]")
}
