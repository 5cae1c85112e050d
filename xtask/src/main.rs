//! `cargo xtask …`: everything that is more than one cargo command.

mod bench;
mod e2e;
mod generate;
mod shell;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Test, measure and generate")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all tests there are; what cannot run here is listed at the end
    Test,
    /// Run the tests that need JupyterLab, a browser or much time, installing what is missing
    E2e {
        /// Only these test targets: story, replicas, rights, outage, same, jupyter, browser, crash
        only: Vec<String>,
    },
    /// Measure start, memory, the store and lists; writes bench/report.md and bench/report.json
    Bench {
        /// Fewer objects and shorter runs, to see that it works
        #[arg(long)]
        quick: bool,
    },
    /// Write what is generated: deploy/crds, deploy/manifests/rbac.yaml and docs/cli.md
    Generate {
        /// Only say whether it is up to date
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Test => test::run(),
        Task::E2e { only } => e2e::run_alone(&only),
        Task::Bench { quick } => bench::run(quick),
        Task::Generate { check } => generate::run(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
