//! Stopping and starting single parts from inside: one line to a socket, one line back.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::mpsc::Sender,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{parts::Layout, supervise::Event};

/// Names the folder of the cluster around.
pub(super) const FOLDER: &str = "QUARTERMASTER_TESTENV";

const SOCKET: &str = "control";
const LONGEST_LINE: u64 = 256;

/// `VERB PART`, and who asks.
pub(super) struct Request {
    pub(super) verb: String,
    pub(super) part: String,
    from: UnixStream,
}

impl Request {
    pub(super) fn answer(mut self, result: Result<(), String>) {
        let line = result.map_or_else(|error| format!("error: {error}"), |()| "ok".to_owned());
        // Whoever asked may be gone.
        let _gone = self.from.write_all(line.as_bytes());
    }
}

/// Takes requests until the process ends.
pub(super) fn serve(layout: &Layout, events: Sender<Event>) -> Result<()> {
    let socket = layout.dir.join(SOCKET);
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _unset = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let mut line = String::new();
            let read = BufReader::new((&stream).take(LONGEST_LINE)).read_line(&mut line);
            let Some((verb, part)) = read.ok().and_then(|_| line.trim_end().split_once(' ')) else {
                continue;
            };
            let (verb, part) = (verb.to_owned(), part.to_owned());
            if events.send(Event::Asked(Request { verb, part, from: stream })).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Asks the supervisor of the cluster around, and waits until it is done.
pub(super) fn ask(verb: &str, part: &str) -> Result<()> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        bail!("{FOLDER} is not set: this works inside `cargo xtask cluster run` or `shell`");
    };
    let socket = Path::new(&folder).join(SOCKET);
    let stream = UnixStream::connect(&socket);
    let mut stream =
        stream.with_context(|| format!("no cluster answers at {}", socket.display()))?;
    stream.write_all(format!("{verb} {part}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.strip_prefix("error: ") {
        Some(error) => bail!("{error}"),
        None if answer == "ok" => Ok(()),
        None => bail!("the cluster ended"),
    }
}
