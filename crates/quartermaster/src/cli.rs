//! The command line. Every flag has an environment variable; a flag wins over it, both win over
//! the configuration file.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Ready workspaces on Kubernetes, or on this machine alone.
///
/// `quartermaster up` is all it takes on one machine: no cluster, no other program.
#[derive(Debug, Parser)]
#[command(name = "quartermaster", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to log: a level or a filter such as `info,embedded=debug`
    #[arg(long, global = true, env = "RUST_LOG", hide_env_values = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: workspaces, their API and a page to use them
    Up(Up),
    /// Print a fresh start URL of the running server, which signs a browser in
    Open(DataDir),
    /// Check a configuration file and report all its errors
    Check(Check),
    /// Print the custom resource definitions as YAML
    Crds,
    /// Serve a small file browser for one directory
    Files(Files),
    /// Stand in for one other program, with its flags and defaults
    #[command(subcommand)]
    As(As),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print this reference as Markdown
    #[command(hide = true)]
    Reference,
    /// Parent of one pod process; started by the node only
    #[command(hide = true)]
    PodShim,
}

/// Programs that can be replaced.
#[derive(Debug, Subcommand)]
pub(crate) enum As {
    /// The webhook receiver flux-recv 0.6; `--help` shows its flags
    #[command(disable_help_flag = true)]
    FluxRecv {
        /// Its own flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        args: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// Where everything is kept [default: $XDG_DATA_HOME/quartermaster or
    /// ~/.local/share/quartermaster]
    #[arg(long, value_name = "DIR", env = "QUARTERMASTER_DATA_DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Address of the page and the API [default: 127.0.0.1:4000]; port 0 takes free ports for
    /// all listeners
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_LISTEN", hide_env_values = true)]
    pub(crate) listen: Option<SocketAddr>,
    /// Address that workspaces are opened at [default: port 4004]
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_APPS_LISTEN", hide_env_values = true)]
    pub(crate) apps_listen: Option<SocketAddr>,
    /// Address of /livez and /readyz [default: port 4002]
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_OPS_LISTEN", hide_env_values = true)]
    pub(crate) ops_listen: Option<SocketAddr>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "QUARTERMASTER_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Who may use it: holders of this data directory's token, or everybody who can connect
    #[arg(long, value_enum, env = "QUARTERMASTER_AUTH", hide_env_values = true)]
    pub(crate) auth: Option<Auth>,
}

/// Who may use the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Auth {
    /// Whoever holds the token of the data directory
    Local,
    /// Everybody who can connect: only for a machine of your own
    None,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "QUARTERMASTER_CONFIG", hide_env_values = true)]
    pub(crate) config: PathBuf,
}

/// A workspace sets these by environment variables. The secret that callers must send as
/// `Authorization: Bearer` comes from QUARTERMASTER_CONNECT_TOKEN only.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The directory to serve
    #[arg(long, value_name = "DIR", env = "QUARTERMASTER_FILES_ROOT", hide_env_values = true)]
    pub(crate) root: PathBuf,
    /// Address to listen at
    #[arg(
        long,
        value_name = "ADDR",
        env = "QUARTERMASTER_FILES_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:8080"
    )]
    pub(crate) listen: SocketAddr,
    /// Path that everything is served under
    #[arg(
        long,
        value_name = "PATH",
        env = "QUARTERMASTER_FILES_BASE_PATH",
        hide_env_values = true,
        default_value = "/"
    )]
    pub(crate) base_path: String,
}
