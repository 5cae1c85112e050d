//! `quartermaster as NAME`: one other program, with its own flags, words and exit codes.

use std::process::ExitCode;

use crate::cli::As;

pub(crate) fn run(program: As, log: Option<&str>) -> ExitCode {
    let As::FluxRecv { args } = program;
    let started = super::log(log)
        .and_then(|()| super::block_on(async { Ok(hooks::dialect::flux_recv::run(args).await) }));
    started.unwrap_or_else(|failure| failure.report())
}
