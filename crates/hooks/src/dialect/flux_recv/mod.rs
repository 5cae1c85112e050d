//! flux-recv 0.6: its flags, its file, its words (contract §1). `quartermaster as flux-recv` is
//! this.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use self::{
    args::{Args, Asked},
    live::{Live, Loaded},
};
use crate::{admin::Admin, listener, receive::Receiver};

mod args;
mod config;
mod fold;
mod live;
mod load;
mod names;

/// Runs until told to stop. `args` are the arguments after the program's name.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let stderr = &mut io::stderr();
    let args = match args::read(args) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Help) => {
            let _ = stderr.write_all(args::USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            let _ = write!(stderr, "{wrong}\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match start(&args, stderr).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(stderr, "{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn start(args: &Args, stderr: &mut impl Write) -> Result<(), String> {
    let file = PathBuf::from(&args.config);
    let (loaded, files) = live::load(&file, stderr);
    let Loaded { settings, mut table, targets } = loaded?;
    let journal = if table.keeps() { Some(live::open_journal(&settings, stderr)?) } else { None };
    table.journal = journal.clone();
    let receiver = Receiver::new(table, settings.limits.receive());
    let socket = TcpListener::bind(args.address())
        .await
        .map_err(|error| format!("cannot listen on {:?}: {error}", args.listen))?;
    let admin = admin(args, &receiver).await?;
    let stop = stop_signal().map_err(|error| format!("cannot wait for signals: {error}"))?;
    if let Some((socket, admin)) = admin {
        tokio::spawn(listener::serve(socket, listener::Limits::default(), admin, stop.clone()));
    }
    let couriers = journal.as_ref().map(|journal| journal.couriers(targets));
    let live = Live { file, files, receiver: Arc::clone(&receiver), journal, couriers };
    let following = tokio::spawn(live.follow(stop.clone()));
    listener::serve(socket, settings.limits.listener(), Arc::clone(&receiver), stop).await;
    receiver.finished().await;
    match following.await {
        Ok(live) => live.end().await,
        Err(error) => tracing::error!(%error, "the configuration was not followed to the end"),
    }
    Ok(())
}

/// The operators' listener, if one is wanted.
async fn admin(
    args: &Args,
    receiver: &Arc<Receiver>,
) -> Result<Option<(TcpListener, Arc<Admin>)>, String> {
    let Some(address) = &args.admin_listen else { return Ok(None) };
    let token = match &args.admin_token_path {
        None => None,
        Some(path) => {
            let bytes = std::fs::read(path)
                .map_err(|error| format!("cannot read the admin token: {error}"))?;
            let token = bytes.trim_ascii().to_vec();
            if token.is_empty() {
                return Err("the admin token is empty".to_owned());
            }
            Some(token)
        }
    };
    let socket = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address:?}: {error}"))?;
    Ok(Some((socket, Admin::new(Arc::clone(receiver), token))))
}

/// Turns true at SIGTERM or SIGINT.
fn stop_signal() -> io::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody listens any more: then it has stopped already.
        let _ = sender.send(true);
    });
    Ok(receiver)
}
