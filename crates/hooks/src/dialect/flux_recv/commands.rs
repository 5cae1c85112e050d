//! What helps to set endpoints up (contract §3.10): look at a file, try an endpoint, make a new one.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    args,
    live::{self, Around, Loaded},
    load::label,
};
use crate::{
    client,
    decide::digest,
    model::Inbound,
    receive::{Endpoint, now, preview},
    sources::{self, Options, sample},
};

/// What is shown for `--help` and after mistakes.
pub(super) const USAGE: &str = "\
Usage of flux-recv check:
      --config string   path to config file (default \"fluxrecv.yaml\")
Usage of flux-recv send:
      --config string     path to config file (default \"fluxrecv.yaml\")
      --endpoint string   name or number of the endpoint (default \"0\")
      --event string      event to send (default: what the source sends mostly)
      --payload string    file with the body to send (default: a sample)
      --url string        where the receiver is (default \"http://localhost:8080\")
      --dry-run           do not send: say what would be told
Usage of flux-recv endpoint new:
      --source string          who sends
      --key string             file to make for the key (default: SOURCE.key beside the config file)
      --registry-host string   registryHost of the endpoint
      --config string          path to config file (default \"fluxrecv.yaml\")
      --url string             where the receiver is (default \"http://localhost:8080\")
";

/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// As much of an answer is shown.
const MAX_ANSWER: usize = 64 * 1024;

/// Which command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Check,
    Send,
    New,
}

impl Command {
    /// The command that arguments begin with, and how many of them name it.
    pub(super) fn of(args: &[String]) -> Option<(Self, usize)> {
        match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["check", ..] => Some((Self::Check, 1)),
            ["send", ..] => Some((Self::Send, 1)),
            ["endpoint", "new", ..] => Some((Self::New, 2)),
            _ => None,
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Check => &["config"],
            Self::Send => &["config", "endpoint", "event", "payload", "url"],
            Self::New => &["source", "key", "registry-host", "config", "url"],
        }
    }

    /// Reads its flags; those without a value have an empty one.
    pub(super) fn read(self, words: &[String]) -> Result<Flags, String> {
        let mut flags = HashMap::new();
        let mut rest = words.iter();
        while let Some(arg) = rest.next() {
            let Some(flag) = arg.strip_prefix("--") else {
                return Err(format!("unknown argument: {arg}"));
            };
            let (name, value) = args::parts(flag);
            if name == "dry-run" && self == Self::Send && value.is_none() {
                flags.insert(name.to_owned(), String::new());
                continue;
            }
            if !self.flags().contains(&name) {
                return Err(format!("unknown flag: --{name}"));
            }
            let value = args::of(name, value, rest.by_ref().cloned())?;
            flags.insert(name.to_owned(), value);
        }
        Ok(Flags(flags))
    }

    /// Does it; says whether all is well.
    pub(super) async fn run(self, flags: &Flags, out: &mut impl Write) -> Result<bool, String> {
        match self {
            Self::Check => check(flags, out).await.map_err(said),
            Self::Send => send(flags, out).await,
            Self::New => new(flags, out).map(|()| true),
        }
    }
}

/// The flags of a command.
#[derive(Debug)]
pub(super) struct Flags(HashMap<String, String>);

impl Flags {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn config(&self) -> &Path {
        Path::new(self.get("config").unwrap_or("fluxrecv.yaml"))
    }

    fn url(&self) -> &str {
        self.get("url").unwrap_or("http://localhost:8080").trim_end_matches('/')
    }
}

fn said(error: io::Error) -> String {
    format!("cannot write: {error}")
}

async fn check(flags: &Flags, out: &mut impl Write) -> io::Result<bool> {
    let mut text = Vec::new();
    let mut problems = Vec::new();
    let loaded = live::check(flags.config(), &mut text, &mut problems).await;
    for line in String::from_utf8_lossy(&text).lines() {
        // A path is as good as its secret.
        match line.split_once("/hook/") {
            Some((before, digest)) => {
                let digest = digest.get(..8).unwrap_or(digest);
                writeln!(out, "{before}/hook/{digest}…")?;
            }
            None => writeln!(out, "{line}")?,
        }
    }
    problems.extend(loaded.err());
    for problem in &problems {
        writeln!(out, "error: {problem}")?;
    }
    Ok(problems.is_empty())
}

async fn send(flags: &Flags, out: &mut impl Write) -> Result<bool, String> {
    let (loaded, _) = live::load(flags.config(), &Around::default(), &mut io::sink()).await;
    let (endpoint, path) = choose(&loaded?, flags.get("endpoint").unwrap_or("0"))?;
    let payload = flags.get("payload").map(|file| {
        fs::read_to_string(file).map_err(|error| format!("cannot read {file:?}: {error}"))
    });
    let (headers, body) =
        sample::request(&endpoint, flags.get("event"), payload.transpose()?, now())?;
    let write = |out: &mut dyn Write, text: String| writeln!(out, "{text}").map_err(said);
    write(out, format!("POST {}{path}", flags.url()))?;
    for (name, value) in &headers {
        write(out, format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))?;
    }
    write(out, format!("\n{body}\n"))?;
    let sent = Bytes::from(body);
    let request = Inbound { headers: &headers, body: &sent, now: now() };
    let would = preview(&endpoint, &request, &sent).await;
    let mut good = would.is_ok();
    if flags.get("dry-run").is_none() {
        let url = format!("{}{path}", flags.url());
        let url = url.parse().map_err(|error| format!("cannot use {url:?}: {error}"))?;
        let built = client::builder_for(&url, PATIENCE).build();
        let client = built.map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        let answer = client.post(url).headers(headers.clone()).body(sent.clone()).send().await;
        let answer = answer.map_err(|error| format!("no answer: {}", error.without_url()))?;
        good &= answer.status().is_success();
        write(out, format!("{}", answer.status()))?;
        let body = client::body(answer, MAX_ANSWER).await;
        let body = body.map_err(|_| "the answer cannot be read".to_owned())?;
        write(out, format!("{}", String::from_utf8_lossy(&body).trim_end().escape_debug()))?;
    }
    match would {
        Ok(told) if told.is_empty() => write(out, "nobody is told".to_owned())?,
        Ok(told) => {
            for (target, subject) in told {
                write(out, format!("tells {target}: {}", subject.escape_debug()))?;
            }
        }
        Err(why) => write(out, format!("refused: {why}"))?,
    }
    Ok(good)
}

/// The endpoint of this name, or of this number in the file, and its path.
fn choose(loaded: &Loaded, wanted: &str) -> Result<(Arc<Endpoint>, String), String> {
    let numbered = wanted.parse().ok().and_then(|number: usize| {
        let entry = loaded.settings.endpoints.get(number)?;
        Some(entry.name.clone().unwrap_or_else(|| label(number, &entry.source)))
    });
    let mut all = loaded.table.endpoints().into_iter();
    let found = all
        .find(|(endpoint, _)| endpoint.name == wanted || numbered.as_ref() == Some(&endpoint.name));
    let (endpoint, paths) = found.ok_or_else(|| format!("there is no endpoint \"{wanted}\""))?;
    let path = paths.into_iter().next().ok_or("the endpoint has no path")?;
    Ok((endpoint, path))
}

fn new(flags: &Flags, out: &mut impl Write) -> Result<(), String> {
    let source = flags.get("source").ok_or("which source? --source S")?;
    let known = sources::named(source, &Options::default());
    let known = known.ok_or_else(|| format!("unknown source \"{source}\""))?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| format!("no random bytes: {error}"))?;
    let key = match known.name() {
        "StandardWebhooks" => format!("whsec_{}", STANDARD.encode(secret)),
        _ => digest::hex(&secret),
    };
    let directory = flags.config().parent().map(Path::to_path_buf).unwrap_or_default();
    let file = match flags.get("key") {
        Some(file) => PathBuf::from(file),
        None => directory.join(format!("{}.key", source.to_ascii_lowercase())),
    };
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    made.and_then(|mut made| made.write_all(key.as_bytes()).and_then(|()| made.sync_all()))
        .map_err(|error| format!("cannot make {file:?}: {error}"))?;
    let host = flags.get("registry-host").unwrap_or_default();
    let path = format!("/hook/{}", digest::endpoint(key.as_bytes(), host));
    let named = file.strip_prefix(&directory).unwrap_or(&file).display();
    let registry = match host {
        "" => String::new(),
        host => format!(", registryHost: {host:?}"),
    };
    let url = flags.url();
    let advice = sample::advice(&*known);
    write!(
        out,
        "key: {}\npath: {path}\nURL: {url}{path}\n\nIn the config file:\n\nendpoints:\n\
         - {{source: {source}, keyPath: {named}{registry}}}\n\nAt the sender:\n\n\
         - URL: {url}{path}\n{advice}",
        file.display()
    )
    .map_err(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(command: Command, args: &[&str]) -> Result<Flags, String> {
        command.read(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_whole_words_are_commands() {
        let of = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            Command::of(&args)
        };
        assert_eq!(of(&["check", "--config=x"]), Some((Command::Check, 1)));
        assert_eq!(of(&["endpoint", "new"]), Some((Command::New, 2)));
        for other in [&["endpoint"][..], &["--config", "check"], &["x", "check"], &[]] {
            assert_eq!(of(other), None);
        }
    }

    #[test]
    fn flags_are_those_of_the_command() {
        let read = flags(Command::Send, &["--dry-run", "--endpoint", "a", "--url=http://h/"]);
        let read = read.unwrap();
        assert_eq!((read.get("dry-run"), read.get("endpoint")), (Some(""), Some("a")));
        assert_eq!(read.url(), "http://h");
        assert_eq!(flags(Command::Check, &["--url=x"]).unwrap_err(), "unknown flag: --url");
        assert!(flags(Command::Check, &["--config"]).is_err());
        assert!(flags(Command::Check, &["x"]).is_err());
    }

    #[test]
    fn a_new_endpoint_has_a_key_that_nobody_else_reads() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let config = format!("--config={}", directory.path().join("f.yaml").display());
        for source in sources::ALL {
            let mut out = Vec::new();
            let read = flags(Command::New, &["--source", source, &config]).unwrap();
            new(&read, &mut out).unwrap();
            let file = directory.path().join(format!("{}.key", source.to_ascii_lowercase()));
            let key = fs::read(&file).unwrap();
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let text = String::from_utf8(out).unwrap();
            let url = format!("URL: http://localhost:8080/hook/{}", digest::endpoint(&key, ""));
            assert!(text.contains(&url), "{text}");
            assert!(!text.contains(std::str::from_utf8(&key).unwrap()), "{text}");
            // It never takes the place of another.
            assert!(new(&read, &mut Vec::new()).is_err());
        }
    }
}
