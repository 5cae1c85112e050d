//! The command line. Every flag has an environment variable; a flag wins over it, both win over
//! the configuration file.

mod backend;
mod controller;
mod go;

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use workspaces::decide::names::{check_label, check_subdomain};

pub(crate) use self::{
    backend::WorkspacesBackend,
    controller::{Bind, Own, Place, WorkspacesController},
};

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
    /// Serve a Kubernetes cluster: workspaces run as its pods
    Serve(Serve),
    /// Print a fresh start URL of the running server, which signs a browser in
    Open(DataDir),
    /// Check a configuration file and report all its errors
    Check(Check),
    /// Print the custom resource definitions as YAML
    Crds,
    /// Print the rights that a program needs in a cluster, as RBAC manifests
    Rbac(Rbac),
    /// Serve a small file browser for one directory
    Files(Files),
    /// Webhooks of a running server: their URLs, what came in, make it again
    #[command(subcommand)]
    Hooks(HooksCommand),
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
    /// The backend of Kubeflow Workspaces: its REST API, on a cluster that is there
    WorkspacesBackend(Box<WorkspacesBackend>),
    /// The controller of Kubeflow Workspaces, with its admission webhooks
    WorkspacesController(Box<WorkspacesController>),
    /// The webhook receiver flux-recv 0.6; `--help` shows its flags
    // It knows none of ours, not even those that all others have.
    #[command(
        disable_help_flag = true,
        override_usage = "quartermaster as flux-recv [FLAGS]...",
        help_template = "{about}\n\n{usage-heading} {usage}\n\nArguments:\n{positionals}"
    )]
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

/// What is done with the webhooks of a running server.
#[derive(Debug, Subcommand)]
pub(crate) enum HooksCommand {
    /// Print where senders must send to
    Url(UrlOf),
    /// List what came in, newest first, or show one delivery
    Deliveries(DeliveriesOf),
    /// Tell the targets again
    Redeliver(RedeliverOf),
    /// Send a sample through a hook; its targets are told
    Test(TestOf),
}

/// Which server: the one of a data directory, or the one at a URL.
#[derive(Debug, Args)]
pub(crate) struct ServerOf {
    #[command(flatten)]
    pub(crate) data_dir: DataDir,
    /// Address of the API of a server elsewhere
    #[arg(long, value_name = "URL", env = "QUARTERMASTER_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// Token that the server knows you by
    #[arg(long, value_name = "TOKEN", env = "QUARTERMASTER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For both
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct UrlOf {
    /// Only this hook: its namespace, a slash, its name
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerOf,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct DeliveriesOf {
    /// Show this delivery with all that is known about it
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerOf,
    /// Only those of this hook: its namespace, a slash, its name
    #[arg(long, value_name = "NAME")]
    pub(crate) hook: Option<String>,
    /// Only those in this state: delivered, queued, retrying, dead, rejected, duplicate, ignored,
    /// filtered, filter_error
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Only those from this time on, such as 2025-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only those before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only those about this repository, image or bucket
    #[arg(long)]
    pub(crate) repo: Option<String>,
    /// Only those that mention this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// How many, at most 200
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub(crate) limit: u16,
    /// Go on where an earlier list ended
    #[arg(long, value_name = "ID")]
    pub(crate) cursor: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct RedeliverOf {
    /// This delivery; or say which by flags
    #[arg(conflicts_with_all = ["hook", "state", "since", "dry_run"])]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerOf,
    /// All of this hook: its namespace, a slash, its name
    #[arg(long, value_name = "NAME")]
    pub(crate) hook: Option<String>,
    /// All in this state [default: dead]
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// All from this time on, such as 2025-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only this target; may be given several times
    #[arg(long = "target", value_name = "NAME")]
    pub(crate) targets: Vec<String>,
    /// Also those that wait for their next attempt: make it now
    #[arg(long)]
    pub(crate) force: bool,
    /// Only print which they are
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TestOf {
    /// The hook: its namespace, a slash, its name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) server: ServerOf,
    /// The sender's name of the event, such as ping
    #[arg(long)]
    pub(crate) event: Option<String>,
    /// File with the body to send instead of a sample
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
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
    /// Address that webhooks are received at [default: port 4001]
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_HOOKS_LISTEN", hide_env_values = true)]
    pub(crate) hooks_listen: Option<SocketAddr>,
    /// Serve the Receiver objects of Flux, in the place of its notification-controller, at this
    /// address
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:9292",
        env = "QUARTERMASTER_RECEIVERS",
        hide_env_values = true
    )]
    pub(crate) receivers: Option<SocketAddr>,
    /// Address of /livez and /readyz [default: port 4002]
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_OPS_LISTEN", hide_env_values = true)]
    pub(crate) ops_listen: Option<SocketAddr>,
    /// Address of the Kubernetes API for kubectl, on this machine only [default: port 4005]
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_KUBE_LISTEN", hide_env_values = true)]
    pub(crate) kube_listen: Option<SocketAddr>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "QUARTERMASTER_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Who may use it: holders of this data directory's token, or everybody who can connect
    #[arg(long, value_enum, env = "QUARTERMASTER_AUTH", hide_env_values = true)]
    pub(crate) auth: Option<LocalAuth>,
}

/// Who may use the server of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LocalAuth {
    /// Whoever holds the token of the data directory
    Local,
    /// Everybody who can connect: only for a machine of your own
    None,
}

/// Who is the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Auth {
    /// Whoever holds the token of the data directory; this machine only
    Local,
    /// Everybody who can connect; `up` only
    #[value(skip)]
    None,
    /// Whom an authenticating proxy in front names in a header
    Header,
    /// Whom the cluster knows by the bearer token of each request
    Bearer,
}

impl From<LocalAuth> for Auth {
    fn from(auth: LocalAuth) -> Self {
        match auth {
            LocalAuth::Local => Self::Local,
            LocalAuth::None => Self::None,
        }
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "QUARTERMASTER_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Which cluster: `in-cluster`, `kubeconfig[:CONTEXT]` or `embedded:DIR` [default: that of the
    /// pod we run in, else that of the kubeconfig]
    #[arg(long, value_name = "CLUSTER", env = "QUARTERMASTER_CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Option<ClusterChoice>,
    /// Address of the page and the API [default: 0.0.0.0:4000; 127.0.0.1:4000 with `--auth local`];
    /// port 0 takes free ports for all listeners
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_LISTEN", hide_env_values = true)]
    pub(crate) listen: Option<SocketAddr>,
    /// Address that workspaces are opened at [default: port 4004]
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_APPS_LISTEN", hide_env_values = true)]
    pub(crate) apps_listen: Option<SocketAddr>,
    /// Address that webhooks are received at [default: not received]; their journal is kept
    /// in the data directory
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_HOOKS_LISTEN", hide_env_values = true)]
    pub(crate) hooks_listen: Option<SocketAddr>,
    /// Serve the Receiver objects of Flux, in the place of its notification-controller, at this
    /// address
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0.0.0.0:9292",
        env = "QUARTERMASTER_RECEIVERS",
        hide_env_values = true
    )]
    pub(crate) receivers: Option<SocketAddr>,
    /// Receivers may ask objects of their own namespace only
    #[arg(long)]
    pub(crate) no_cross_namespace_refs: bool,
    /// Address of /livez and /readyz [default: port 4002]
    #[arg(long, value_name = "ADDR", env = "QUARTERMASTER_OPS_LISTEN", hide_env_values = true)]
    pub(crate) ops_listen: Option<SocketAddr>,
    /// Address that API servers ask at whether objects are accepted [default: none]
    #[arg(
        long,
        value_name = "ADDR",
        env = "QUARTERMASTER_ADMISSION_LISTEN",
        hide_env_values = true
    )]
    pub(crate) admission_listen: Option<SocketAddr>,
    /// Who is the caller [default: header]
    #[arg(long, value_enum, env = "QUARTERMASTER_AUTH", hide_env_values = true)]
    pub(crate) auth: Option<Auth>,
    /// Where endpoints.json is written, and where `--auth local` keeps its token [default: nowhere;
    /// `serve` below the data directory of `up` with `--auth local`]
    #[arg(long, value_name = "DIR", env = "QUARTERMASTER_DATA_DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Whether the custom resource definitions are installed and kept current [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        env = "QUARTERMASTER_INSTALL_DEFINITIONS",
        hide_env_values = true
    )]
    pub(crate) install_definitions: Option<bool>,
    /// Also install the sample kinds that `up` has
    #[arg(long)]
    pub(crate) install_samples: bool,
}

/// Which cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClusterChoice {
    /// One of our own in a data directory.
    Embedded(PathBuf),
    /// One that is there already.
    Elsewhere(cluster::client::Target),
}

impl FromStr for ClusterChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use cluster::client::Target;
        match text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest))) {
            ("embedded", Some(dir)) if !dir.is_empty() => Ok(Self::Embedded(dir.into())),
            ("kubeconfig", None) => Ok(Self::Elsewhere(Target::Kubeconfig(None))),
            ("kubeconfig", Some(context)) if !context.is_empty() => {
                Ok(Self::Elsewhere(Target::Kubeconfig(Some(context.to_owned()))))
            }
            ("in-cluster", None) => Ok(Self::Elsewhere(Target::InCluster)),
            _ => Err("expected in-cluster, kubeconfig, kubeconfig:CONTEXT or embedded:DIR".into()),
        }
    }
}

/// A program that needs rights in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grantee {
    Serve,
    // With a lease and certificates of its own.
    WorkspacesController,
}

#[derive(Debug, Args)]
pub(crate) struct Rbac {
    /// Which program
    #[arg(long = "for", value_enum, value_name = "PROGRAM", default_value = "serve")]
    pub(crate) program: Grantee,
    /// The namespace that it runs in
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "quartermaster",
        value_parser = namespace_name
    )]
    pub(crate) namespace: String,
    /// The service account that it runs as
    #[arg(
        long,
        value_name = "NAME",
        default_value = "quartermaster",
        value_parser = service_account_name
    )]
    pub(crate) service_account: String,
    /// Configuration file: what it switches off needs no rights
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Also what the targets of all hooks in this cluster need: `in-cluster` or
    /// `kubeconfig[:CONTEXT]`
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) hooks_of: Option<ClusterChoice>,
    /// A ClusterRole that kinds may give their workspaces; may be repeated
    #[arg(long = "bind", value_name = "CLUSTERROLE", value_parser = cluster_role_name)]
    pub(crate) bind: Vec<String>,
}

fn namespace_name(text: &str) -> Result<String, String> {
    named(text, check_label("", text))
}

fn service_account_name(text: &str) -> Result<String, String> {
    named(text, check_subdomain("", text))
}

/// Takes a name with which nothing is wrong.
fn named(text: &str, problems: Vec<web::Cause>) -> Result<String, String> {
    match problems.into_iter().next() {
        Some(problem) => Err(problem.message),
        None => Ok(text.to_owned()),
    }
}

/// Names of roles are segments of paths, and no more than that.
fn cluster_role_name(text: &str) -> Result<String, String> {
    if matches!(text, "" | "." | "..") || text.contains(['/', '%']) || text.len() > 253 {
        return Err("the name of a ClusterRole is neither empty nor . nor .., has no / and no %, \
                    and at most 253 bytes"
            .to_owned());
    }
    Ok(text.to_owned())
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
