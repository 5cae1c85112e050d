//! `quartermaster check -c FILE`.

use crate::{cli::Check, config::Config, failure::Failure, output};

pub(crate) fn run(options: &Check) -> Result<(), Failure> {
    Config::load(&options.config)?;
    output::note(&format!("{} is fine", options.config.display()));
    Ok(())
}
