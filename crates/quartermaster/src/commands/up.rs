//! `quartermaster up`: everything on this machine.

use std::path::Path;

use crate::{
    cli,
    config::Config,
    failure::Failure,
    output,
    settings::{Identity, Settings},
    signals::Signals,
    wiring::Server,
};

pub(crate) fn run(options: cli::Up, log: Option<&str>) -> Result<(), Failure> {
    let file = Config::load_optional(options.config.as_deref())?;
    super::log(log.or(file.log.as_deref()))?;
    let settings = Settings::up(options, file)?;
    super::block_on(async {
        let mut signals = Signals::new()?;
        let server = Server::start(settings).await?;
        greet(&server)?;
        signals.next().await;
        output::note("\nStopping the workspaces. Ctrl-C again to hurry.");
        server.stop(signals).await;
        Ok(())
    })
}

/// All that a newcomer has to know.
fn greet(server: &Server) -> Result<(), Failure> {
    let settings = server.settings();
    let url = server.start_url()?.unwrap_or_else(|| server.endpoints().api.clone());
    let remark = match settings.identity {
        Identity::Open => {
            "WARNING: authentication is off. Whoever reaches these ports may run programs as you."
        }
        _ => "It works once and for ten minutes; `quartermaster open` prints a new one.",
    };
    let data_dir = settings.data_dir.as_deref().unwrap_or(Path::new("")).display();
    output::note(&format!(
        "Quartermaster is running.\n\n  Open this in your browser:\n\n    {url}\n\n  {remark}\n\n  \
         Data   {data_dir}\n  \
         Stop   Ctrl-C; workspaces stop with it and start again with the next `quartermaster up`\n"
    ));
    Ok(())
}
