//! `quartermaster as NAME`: one other program, with its own flags, words and exit codes.

use std::process::ExitCode;

use crate::{cli::As, failure::Failure};

pub(crate) fn run(program: As, log: Option<&str>) -> ExitCode {
    match program {
        As::WorkspacesBackend(flags) => ended(super::workspaces_backend::run(*flags, log)),
        As::WorkspacesController(flags) => ended(super::workspaces_controller::run(*flags, log)),
        As::FluxRecv { args } => {
            let started = super::log(log).and_then(|()| {
                super::block_on(async { Ok(hooks::dialect::flux_recv::run(args).await) })
            });
            started.unwrap_or_else(|failure| failure.report())
        }
    }
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
