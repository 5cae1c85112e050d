//! `quartermaster rbac`: what `serve` must be allowed to do, ready for `kubectl apply`.

use crate::{
    cli, config::Config, failure::Failure, output, permissions::Needed, settings::Settings,
};

pub(crate) fn run(options: cli::Rbac) -> Result<(), Failure> {
    let file = Config::load_optional(options.config.as_deref())?;
    let settings = Settings::serve(cli::Serve::default(), file)?;
    let manifests =
        Needed::by(&settings).manifests(&options.namespace, &options.service_account)?;
    output::data(&manifests);
    Ok(())
}
