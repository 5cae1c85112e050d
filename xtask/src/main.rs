//! `cargo xtask …`: everything that is more than one cargo command.

mod bench;
mod cluster;
mod e2e;
mod fuzz;
mod generate;
mod image;
mod jobs;
mod real;
mod shell;
mod suite;
mod test;
mod tools;
mod twice;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

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
    Test {
        /// Only what also runs on a real Kubernetes; writes docs/conformance.md
        #[arg(long)]
        real: bool,
        /// With --real: only tests whose names hold one of these, and no report
        #[arg(requires = "real")]
        cases: Vec<String>,
    },
    /// Run the tests that need JupyterLab, a browser or much time, installing what is missing
    E2e {
        /// Only these test targets, such as story or jupyter
        only: Vec<String>,
        /// With `serve` on a real Kubernetes and its containers, those that can
        #[arg(long)]
        real: bool,
    },
    /// Measure start, memory, the store and lists; writes bench/report.md and bench/report.json
    Bench {
        /// Fewer objects and shorter runs, to see that it works
        #[arg(long)]
        quick: bool,
    },
    /// Try what strangers may send, at random: libFuzzer, with the stable compiler
    Fuzz(fuzz::Fuzz),
    /// A real Kubernetes for one command: built from testenv/, gone when the command ends
    Cluster {
        #[command(subcommand)]
        task: cluster::Task,
    },
    /// Pack an image as a docker-archive tar, without a container engine; prints its file
    Image {
        #[arg(default_value = "quartermaster")]
        which: image::Which,
        /// Optimised, as it is delivered
        #[arg(long)]
        release: bool,
        /// Where to write it, instead of beside the program or in the cache
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Run a program of tests, and what fails once more
    #[command(hide = true)]
    Twice {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// Write what is generated: deploy/crds, deploy/manifests/rbac.yaml and docs/cli.md
    Generate {
        /// Only say whether it is up to date
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    if fuzz::is_compiler() {
        return ended(fuzz::compile());
    }
    let result = match Cli::parse().task {
        Task::Cluster { task } => {
            return cluster::run(task).unwrap_or_else(|error| {
                shell::say(&format!("error: {error:#}"));
                ExitCode::from(cluster::FAILED)
            });
        }
        Task::Image { which, release, output } => image::run(which, release, output),
        Task::Test { real: true, cases } => real::run(&cases),
        Task::Test { .. } => test::run(),
        Task::E2e { only, real } => e2e::run_alone(&only, real),
        Task::Bench { quick } => bench::run(quick),
        Task::Fuzz(fuzz) => fuzz::run(&fuzz),
        Task::Twice { program } => twice::run(&program),
        Task::Generate { check } => generate::run(check),
    };
    ended(result)
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
