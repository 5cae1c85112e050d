//! The command line, read as the original's flag library does.

use std::{ffi::OsString, path::PathBuf};

use super::live::{Around, Reach};
use crate::certificates::Files;

/// What is shown for `--help` and after mistakes.
pub(super) const USAGE: &str = "\
Usage of flux-recv:
      --config string   path to config file (default \"fluxrecv.yaml\")
      --listen string   address to listen on (default \":8080\")
      --admin-listen string       address of /healthz, /readyz, /metrics and the admin API, or \"none\" (default \"127.0.0.1:8081\", if it is free)
      --admin-token-path string   file with the bearer token of the admin API
      --path-prefix string        what goes before /hook/ in all paths, where an ingress leaves it in
      --public-url string         where senders reach it, to show full URLs
      --tls-cert string           file with the certificates of the listener; without one it speaks no TLS
      --tls-key string            file with their private key
      --tls-client-ca string      file with the authorities of certificates that senders may have
Commands: check, send, endpoint new; each with --help
";

/// Where operators ask, if nobody says so.
pub(super) const ADMIN_LISTEN: &str = "127.0.0.1:8081";

/// The flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) config: String,
    pub(super) listen: String,
    pub(super) admin_listen: Option<String>,
    pub(super) admin_token_path: Option<String>,
    pub(super) path_prefix: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) tls_cert: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) tls_client_ca: Option<String>,
}

impl Args {
    /// The files for TLS, if it is wanted.
    pub(super) fn tls(&self) -> Result<Option<Files>, String> {
        match (&self.tls_cert, &self.tls_key, &self.tls_client_ca) {
            (None, None, None) => Ok(None),
            (Some(cert), Some(key), ca) => {
                let authorities = ca.as_ref().map(PathBuf::from);
                Ok(Some(Files { certificates: cert.into(), key: key.into(), authorities }))
            }
            (None, None, Some(_)) => Err("--tls-client-ca needs --tls-cert".to_owned()),
            _ => Err("--tls-cert and --tls-key belong together".to_owned()),
        }
    }

    /// The token of operators, if they have one.
    pub(super) fn admin_token(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = &self.admin_token_path else { return Ok(None) };
        let bytes =
            std::fs::read(path).map_err(|error| format!("cannot read the admin token: {error}"))?;
        let token = bytes.trim_ascii().to_vec();
        if token.is_empty() { Err("the admin token is empty".to_owned()) } else { Ok(Some(token)) }
    }

    /// What goes before all paths, and what is shown before them.
    pub(super) fn around(&self) -> Result<Around, String> {
        let trimmed = |text: &Option<String>| {
            text.as_deref().unwrap_or_default().trim_end_matches('/').to_owned()
        };
        let (prefix, url) = (trimmed(&self.path_prefix), trimmed(&self.public_url));
        if !prefix.is_empty() && !is_path(&prefix) {
            return Err(format!("--path-prefix {prefix:?} is no path"));
        }
        if !url.is_empty() && !is_url(&url) {
            return Err(format!("--public-url {url:?} is no URL"));
        }
        Ok(Around { prefix, url, cluster: Reach::Real })
    }

    /// The address to listen on. Without a host: all addresses, of both families where the machine
    /// has both.
    pub(super) fn address(&self) -> String {
        match self.listen.strip_prefix(':') {
            Some(port) if std::path::Path::new("/proc/net/if_inet6").exists() => {
                format!("[::]:{port}")
            }
            Some(port) => format!("0.0.0.0:{port}"),
            None => self.listen.clone(),
        }
    }
}

/// Whether this is a path that nobody writes in another way.
fn is_path(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(good);
    text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}

/// Whether paths can follow this.
fn is_url(text: &str) -> bool {
    let read = text.parse::<http::Uri>().ok().filter(|_| !text.contains(['?', '#']));
    read.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")))
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Run(Box<Args>),
    Help,
}

/// Reads the arguments after the program's name. Positional ones are ignored.
pub(super) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let mut read =
        Args { config: "fluxrecv.yaml".to_owned(), listen: ":8080".to_owned(), ..Args::default() };
    let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        if arg == "--" {
            break;
        }
        let Some(flag) = arg.strip_prefix("--") else {
            match arg.strip_prefix('-') {
                Some("h") => return Ok(Asked::Help),
                Some(short) if !short.is_empty() => {
                    let first: String = short.chars().take(1).collect();
                    return Err(format!("unknown shorthand flag: '{first}' in {arg}"));
                }
                Some(_) | None => continue,
            }
        };
        let (name, value) = parts(flag);
        let place = match name {
            "config" => &mut read.config,
            "listen" => &mut read.listen,
            "admin-listen" => read.admin_listen.insert(String::new()),
            "admin-token-path" => read.admin_token_path.insert(String::new()),
            "path-prefix" => read.path_prefix.insert(String::new()),
            "public-url" => read.public_url.insert(String::new()),
            "tls-cert" => read.tls_cert.insert(String::new()),
            "tls-key" => read.tls_key.insert(String::new()),
            "tls-client-ca" => read.tls_client_ca.insert(String::new()),
            "help" => return Ok(Asked::Help),
            _ => return Err(format!("unknown flag: --{name}")),
        };
        *place = of(name, value, &mut args)?;
    }
    Ok(Asked::Run(Box::new(read)))
}

/// Name and value of a flag without its dashes.
pub(super) fn parts(flag: &str) -> (&str, Option<String>) {
    match flag.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (flag, None),
    }
}

/// The value of a flag, which may be the argument after it.
pub(super) fn of(
    name: &str,
    value: Option<String>,
    mut rest: impl Iterator<Item = String>,
) -> Result<String, String> {
    value.or_else(|| rest.next()).ok_or_else(|| format!("flag needs an argument: --{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> Result<Asked, String> {
        read(args.iter().map(OsString::from))
    }

    fn run(config: &str, listen: &str) -> Result<Asked, String> {
        let (config, listen) = (config.to_owned(), listen.to_owned());
        Ok(Asked::Run(Box::new(Args { config, listen, ..Args::default() })))
    }

    #[test]
    fn flags_are_read_as_the_original_does() {
        assert_eq!(asked(&[]), run("fluxrecv.yaml", ":8080"));
        assert_eq!(asked(&["--config=a", "x", "--listen", ":1"]), run("a", ":1"));
        assert_eq!(asked(&["--config", "--listen", "--", "--bad"]), run("--listen", ":8080"));
        assert_eq!(asked(&["--config="]), run("", ":8080"));
        assert_eq!(asked(&["--help", "--bad"]), Ok(Asked::Help));
        assert_eq!(asked(&["--bad=1"]), Err("unknown flag: --bad".into()));
        assert_eq!(asked(&["--config"]), Err("flag needs an argument: --config".into()));
        assert_eq!(asked(&["--log=x"]), Err("unknown flag: --log".into()));
        assert_eq!(asked(&["-x"]), Err("unknown shorthand flag: 'x' in -x".into()));
    }

    #[test]
    fn what_goes_before_paths_is_checked() {
        let around = |prefix: &str, url: &str| {
            let (path_prefix, public_url) = (Some(prefix.to_owned()), Some(url.to_owned()));
            let around = Args { path_prefix, public_url, ..Args::default() }.around();
            around.map(|around| (around.prefix, around.url))
        };
        let both = |prefix: &str, url: &str| Ok((prefix.to_owned(), url.to_owned()));
        assert_eq!(around("", ""), both("", ""));
        assert_eq!(around("/", "https://h/"), both("", "https://h"));
        assert_eq!(around("/in/hooks/", "http://h:1/a"), both("/in/hooks", "http://h:1/a"));
        for bad in ["in", "//in", "/in?x", "/a/../b", "/a b"] {
            assert!(around(bad, "").is_err(), "{bad}");
        }
        for bad in ["h", "ftp://h", "https://h?x", "https://h#x", "/path"] {
            assert!(around("", bad).is_err(), "{bad}");
        }
    }
}
