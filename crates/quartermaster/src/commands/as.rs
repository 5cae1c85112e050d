//! `quartermaster as NAME`: one other program, with its own flags, words and exit codes.

use std::{ffi::OsString, process::ExitCode};

use crate::{cli::As, failure::Failure};

pub(crate) fn run(program: As, log: Option<&str>) -> ExitCode {
    match program {
        As::WorkspacesBackend(flags) => ended(super::workspaces_backend::run(*flags, log)),
        As::WorkspacesController(flags) => ended(super::workspaces_controller::run(*flags, log)),
        As::FluxRecv { args } => flux_recv(args, log),
    }
}

/// The arguments of flux-recv, if that is what a command line begins with. It knows neither flags
/// nor variables of ours, so nobody else reads them.
pub(crate) fn flux_recv_args() -> Option<Vec<OsString>> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == "as" && args.next()? == "flux-recv").then(|| args.collect())
}

/// Says what the original says: what was refused, and what was read again.
pub(crate) fn flux_recv(args: Vec<OsString>, log: Option<&str>) -> ExitCode {
    let logs = match log {
        Some(log) => super::log(Some(log)),
        None => {
            super::log_events();
            Ok(())
        }
    };
    let ended = logs
        .and_then(|()| super::block_on(async { Ok(hooks::dialect::flux_recv::run(args).await) }));
    ended.unwrap_or_else(|failure| failure.report())
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
