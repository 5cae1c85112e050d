//! flux-recv 0.6: its flags, its file, its words (contract §1). `quartermaster as flux-recv` is
//! this.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use web::listener::{Drain, Listener, bind};

use self::{
    args::{Args, Asked},
    commands::Command,
    live::{Live, Loaded},
};
use crate::{
    admin::{self, Readiness},
    certificates::print,
    decide::auth::Auth,
    listener,
    meters::Meters,
    receive::Receiver,
};

mod args;
mod commands;
mod config;
mod fold;
mod live;
mod load;
mod names;

/// How long operators may take to end, when everything else has.
const OPERATORS_GRACE: Duration = Duration::from_secs(1);

/// Reads the text of a file and gives what it warns of, or what is wrong with it. Keys and targets are
/// not looked at.
pub fn warnings(text: &str) -> Result<Vec<String>, String> {
    config::read(text).map(|(_, warnings)| warnings)
}

/// Runs until told to stop. `args` are the arguments after the program's name.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let stderr = &mut io::stderr();
    let args: Vec<OsString> = args.into_iter().collect();
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some((command, named)) = Command::of(&words) {
        return self::command(command, &words[named..]).await;
    }
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

/// Runs one of the commands that the original does not have.
async fn command(command: Command, args: &[String]) -> ExitCode {
    let stderr = &mut io::stderr();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        let _ = stderr.write_all(commands::USAGE.as_bytes());
        return ExitCode::SUCCESS;
    }
    let flags = match command.read(args) {
        Ok(flags) => flags,
        Err(wrong) => {
            let _ = write!(stderr, "{wrong}\n{}", commands::USAGE);
            return ExitCode::from(2);
        }
    };
    match command.run(&flags, &mut io::stdout()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            let _ = writeln!(stderr, "{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn start(args: &Args, stderr: &mut (impl Write + Send)) -> Result<(), String> {
    let file = PathBuf::from(&args.config);
    let around = args.around()?;
    let (loaded, files) = live::load(&file, &around, stderr).await;
    let Loaded { settings, mut table, targets, seal } = loaded?;
    let meters = Arc::<Meters>::default();
    let keeps = table.keeps();
    let journal =
        keeps.then(|| live::open_journal(&settings, seal, &meters, stderr)).transpose()?;
    table.journal = journal.clone();
    let receiver = Receiver::new(table, settings.limits.receive(), meters);
    let tls = args.tls()?.map(|files| Ok::<_, String>((files.read()?, files))).transpose()?;
    if args.tls_client_ca.is_none() && asks_for_certificates(&receiver) {
        return Err("auth of type mtls needs --tls-client-ca".to_owned());
    }
    // Before anybody can connect: whoever changes a file afterwards is seen.
    let print = print(&live::watched(&files, tls.as_ref()));
    let stop = stop_signal().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let (stale, is_stale) = watch::channel(None);
    let readiness = Readiness { ending: stop.clone(), stale: is_stale };
    let operators = operators(args, &receiver, readiness, stderr).await?;
    let socket = listener::bind(args.address())
        .await
        .map_err(|error| format!("cannot listen on {:?}: {error}", args.listen))?;
    let couriers = journal.as_ref().map(|journal| journal.couriers(targets));
    let own = tls.as_ref().map(|(tls, _)| tls.clone());
    let live = Live {
        file,
        files,
        around,
        fixed: settings.fixed().clone(),
        stale,
        receiver: Arc::clone(&receiver),
        journal,
        couriers,
        tls,
        print,
    };
    let following = tokio::spawn(live.follow(stop.clone()));
    listener::serve(socket, settings.limits.listener(), own, Arc::clone(&receiver), stop).await;
    receiver.finished().await;
    match following.await {
        Ok(live) => live.end().await,
        Err(error) => tracing::error!(%error, "the configuration was not followed to the end"),
    }
    // Until now it said that it is ending.
    operators.stop(OPERATORS_GRACE).await;
    Ok(())
}

/// Whether any endpoint takes certificates.
fn asks_for_certificates(receiver: &Receiver) -> bool {
    let mut endpoints = receiver.endpoints().into_iter();
    endpoints.any(|(endpoint, _)| matches!(endpoint.auth, Some(Auth::Mtls(_))))
}

/// Serves operators, until the end of what it returns.
async fn operators(
    args: &Args,
    receiver: &Arc<Receiver>,
    readiness: Readiness,
    stderr: &mut impl Write,
) -> Result<Drain, String> {
    let drain = Drain::new();
    if let Some(socket) = operators_socket(args, stderr).await? {
        let (token, url) = (args.admin_token()?, args.public_url.clone());
        let router = admin::listener(Arc::clone(receiver), token, url, readiness);
        tokio::spawn(socket.serve(router, web::listener::Limits::default(), drain.clone()));
    }
    Ok(drain)
}

/// Their listener, if one is wanted. Whoever did not ask for it can do without.
async fn operators_socket(
    args: &Args,
    stderr: &mut impl Write,
) -> Result<Option<Listener>, String> {
    let address = match args.admin_listen.as_deref() {
        Some("none") => return Ok(None),
        wanted => wanted.unwrap_or(args::ADMIN_LISTEN),
    };
    let no_address = |error| format!("cannot listen on {address:?}: {error}");
    let wanted = tokio::net::lookup_host(address).await.map_err(no_address)?.next();
    let wanted = wanted.ok_or_else(|| format!("cannot listen on {address:?}: no address"))?;
    match bind(wanted).await {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if args.admin_listen.is_none() => {
            let _ = writeln!(stderr, "warning: {error}: there is no /readyz and no /metrics");
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
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
