//! `quartermaster completions SHELL`.

use clap::CommandFactory;

use crate::{cli::Cli, failure::Failure, output};

pub(crate) fn run(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "quartermaster", &mut script);
    output::data(&String::from_utf8_lossy(&script));
    Ok(())
}
