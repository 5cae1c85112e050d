//! The command line, read as the original's flag library does.

use std::{ffi::OsString, path::PathBuf};

use crate::certificates::Files;

/// What is shown for `--help` and after mistakes.
pub(super) const USAGE: &str = "\
Usage of flux-recv:
      --config string   path to config file (default \"fluxrecv.yaml\")
      --listen string   address to listen on (default \":8080\")
      --admin-listen string       address of /healthz, /readyz, /metrics and the admin API (default: none)
      --admin-token-path string   file with the bearer token of the admin API
      --tls-cert string           file with the certificates of the listener; without one it speaks no TLS
      --tls-key string            file with their private key
      --tls-client-ca string      file with the authorities of certificates that senders may have
Commands: check, send, endpoint new; each with --help
";

/// The flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) config: String,
    pub(super) listen: String,
    pub(super) admin_listen: Option<String>,
    pub(super) admin_token_path: Option<String>,
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

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Run(Args),
    Help,
}

/// Reads the arguments after the program's name. Positional ones are ignored.
pub(super) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let mut read = Args {
        config: "fluxrecv.yaml".to_owned(),
        listen: ":8080".to_owned(),
        admin_listen: None,
        admin_token_path: None,
        tls_cert: None,
        tls_key: None,
        tls_client_ca: None,
    };
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
            "tls-cert" => read.tls_cert.insert(String::new()),
            "tls-key" => read.tls_key.insert(String::new()),
            "tls-client-ca" => read.tls_client_ca.insert(String::new()),
            "help" => return Ok(Asked::Help),
            _ => return Err(format!("unknown flag: --{name}")),
        };
        *place = of(name, value, &mut args)?;
    }
    Ok(Asked::Run(read))
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
        Ok(Asked::Run(Args {
            config: config.into(),
            listen: listen.into(),
            admin_listen: None,
            admin_token_path: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
        }))
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
        assert_eq!(asked(&["-x"]), Err("unknown shorthand flag: 'x' in -x".into()));
    }
}
