//! flux-recv 0.6: its flags, its file, its words (contract §1). `quartermaster as flux-recv` is
//! this.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use self::args::{Args, Asked};
use crate::{
    journal::{self, Journal},
    listener,
    receive::{Receiver, Table},
};

mod args;
mod config;
mod fold;
mod load;

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
    let file = Path::new(&args.config);
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read config file {:?}: {error}", args.config))?;
    let (settings, warnings) = config::read(&text)?;
    for warning in warnings {
        let _ = writeln!(stderr, "warning: {warning}");
    }
    let mut table = Table::default();
    let directory = load::directory(file);
    let builder = load::Builder::new(&settings, &directory)?;
    for (index, entry) in settings.endpoints.iter().enumerate() {
        let built = builder.endpoint(index, entry)?;
        built.register(&mut table, stderr)?;
    }
    let journal = if table.keeps() { Some(journal(&settings, stderr)?) } else { None };
    let receiver = Receiver::new(table, settings.limits.receive(), journal.clone());
    let address = args.address();
    let socket = TcpListener::bind(&address)
        .await
        .map_err(|error| format!("cannot listen on {:?}: {error}", args.listen))?;
    let stop = stop_signal().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let couriers = journal.as_ref().map(|journal| journal.couriers(builder.targets()));
    listener::serve(socket, settings.limits.listener(), Arc::clone(&receiver), stop).await;
    receiver.finished().await;
    if let Some(couriers) = couriers {
        couriers.stop().await;
    }
    if let Some(journal) = journal {
        journal.flush().await;
    }
    Ok(())
}

/// The journal. A plain file of the original's does not ask for one, so it must not fail for want
/// of a directory.
fn journal(settings: &config::Settings, stderr: &mut impl Write) -> Result<Journal, String> {
    let options = settings.journal();
    let in_memory = journal::Options { directory: None, ..options.clone() };
    let text = |error: journal::OpenError| error.to_string();
    if options.directory.is_none() {
        let _ = writeln!(stderr, "warning: the store is in memory: it is not durable");
    }
    match Journal::open(options) {
        Err(error) if settings.delivery.is_none() => {
            let _ = writeln!(stderr, "warning: what fails is kept in memory only: {error}");
            Journal::open(in_memory).map_err(text)
        }
        opened => opened.map_err(text),
    }
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
