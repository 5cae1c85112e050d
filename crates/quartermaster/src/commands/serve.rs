//! `quartermaster serve`: workspaces in a cluster that is there.

use crate::{
    cli, config::Config, failure::Failure, output, settings::Settings, signals::Signals,
    wiring::Server,
};

pub(crate) fn run(options: cli::Serve, log: Option<&str>) -> Result<(), Failure> {
    let file = Config::load_optional(options.config.as_deref())?;
    super::log(log.or(file.log.as_deref()))?;
    let settings = Settings::serve(options, file)?;
    super::block_on(async {
        let mut signals = Signals::new()?;
        let server = tokio::select! {
            server = Server::start(settings) => server?,
            // A cluster that never answers must not hold up a stop.
            () = signals.next() => return Ok(()),
        };
        greet(&server)?;
        signals.next().await;
        output::note("Stopping; workspaces go on.");
        server.stop(signals).await;
        Ok(())
    })
}

fn greet(server: &Server) -> Result<(), Failure> {
    let endpoints = server.endpoints();
    let sign_in = match server.start_url()? {
        Some(url) => format!("\n  Open     {url}"),
        None => String::new(),
    };
    output::note(&format!(
        "Quartermaster serves {}.\n\n  API      {}\n  Apps     {}\n  Probes   {}/readyz{sign_in}\n",
        server.describe(),
        endpoints.api,
        endpoints.apps,
        endpoints.ops,
    ));
    Ok(())
}
