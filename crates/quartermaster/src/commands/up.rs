//! `quartermaster up`: everything on this machine.

use crate::{
    cli::{self, Auth},
    config::Config,
    failure::Failure,
    output,
    settings::Settings,
    signals::Signals,
    wiring::Server,
};

pub(crate) fn run(options: cli::Up, log: Option<&str>) -> Result<(), Failure> {
    let file = match &options.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    super::log(log.or(file.log.as_deref()))?;
    let settings = Settings::resolve(options, file)?;
    super::block_on(async {
        let mut signals = Signals::new()?;
        let (auth, data_dir) = (settings.auth, settings.data_dir.display().to_string());
        let server = Server::start(settings).await?;
        greet(&server, auth, &data_dir)?;
        signals.next().await;
        output::note("\nStopping the workspaces. Ctrl-C again to hurry.");
        server.stop(signals).await;
        Ok(())
    })
}

/// All that a newcomer has to know.
fn greet(server: &Server, auth: Auth, data_dir: &str) -> Result<(), Failure> {
    let url = server.start_url()?;
    let (title, remark) = match auth {
        Auth::Local => (
            "Open this in your browser:",
            "It works once and for ten minutes; `quartermaster open` prints a new one.",
        ),
        Auth::None => (
            "Open this in your browser:",
            "WARNING: authentication is off. Whoever reaches these ports may run programs as you.",
        ),
    };
    output::note(&format!(
        "Quartermaster is running.\n\n  {title}\n\n    {url}\n\n  {remark}\n\n  Data   {data_dir}\n  \
         Stop   Ctrl-C; workspaces stop with it and start again with the next `quartermaster up`\n"
    ));
    Ok(())
}
