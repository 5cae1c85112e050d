//! The way into a running workspace: `/workspace/connect/{namespace}/{workspace}/{port}/…`.
//!
//! Two listeners share it (DESIGN §2, §7). On `api`, [`api_router`] checks that the caller may
//! update the workspace and sends browsers to `apps` with a ticket for that one workspace. On
//! `apps`, [`apps_router`] turns the ticket into a cookie for that workspace's path and passes
//! requests on to its pod: HTTP as streams, upgrades as tunnels.
//!
//! In a cluster both listeners may stand behind a proxy that knows the caller ([`Front::Identified`]):
//! then there are no tickets and cookies, and [`shared_router`] serves both from one host.
//!
//! What it knows of the cluster comes through [`Backend`]. `path` and `headers` are pure; `proxy`
//! does the I/O; `respond` words what the workspace itself does not say.

mod api;
mod apps;
mod headers;
mod live;
mod path;
mod proxy;
mod respond;
mod stream;
mod tunnel;

use std::{collections::BTreeMap, future::Future, net::SocketAddr, time::Duration};

use http::uri::Authority;
use secrecy::SecretString;
use web::{
    Error, Identity,
    listener::Drain,
    local::{Local, Scope, SessionCookie},
};

pub use api::api_router;
pub use apps::{apps_router, shared_router};
pub(crate) use live::token;
pub use live::{Live, Secrets};
pub use path::ROOT;
pub use respond::render;

/// What the connect path needs to know about workspaces.
pub trait Backend: Send + Sync + 'static {
    /// Looks a workspace and one of its ports up. Reads memory only.
    fn find(&self, namespace: &str, workspace: &str, port: &str) -> Option<Found>;

    /// Whether somebody may connect, which takes the right to update the workspace.
    fn authorise(
        &self,
        caller: &Identity,
        namespace: &str,
        workspace: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The secret that the program in the workspace wants to see, if it has one.
    fn secret(
        &self,
        namespace: &str,
        workspace: &str,
        uid: &str,
    ) -> impl Future<Output = Result<Option<SecretString>, Error>> + Send;
}

/// A workspace that exists.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its uid: a workspace that is made anew under the same name is another one.
    pub uid: String,
    /// What is behind the port.
    pub port: Port,
}

/// What is behind a port of a workspace.
#[derive(Debug, Clone)]
pub enum Port {
    /// The current image has no such port.
    Unknown,
    /// Nobody listens yet, or any more.
    Closed(Closed),
    /// A program that is ready.
    Open(Target),
}

/// Why a workspace cannot be reached now.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The state as users know it.
    pub state: String,
    /// The state in a sentence.
    pub message: String,
    /// Whether waiting helps.
    pub outlook: Outlook,
}

/// Whether a workspace will be there without somebody doing something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// It is on its way.
    Coming,
    /// It is paused, or about to be: somebody has to start it.
    Paused,
    /// Something is wrong that may need a human.
    Broken,
}

/// Where a request goes and how it is to look there.
#[derive(Debug, Clone)]
pub struct Target {
    /// The one address of the ready pod.
    pub address: SocketAddr,
    /// Whether the program wants to see paths without the connect prefix.
    pub remove_prefix: bool,
    /// The kind's own wishes about request headers, rendered.
    pub headers: HeaderRules,
}

/// Changes to the headers of a request, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Replaces a header.
    pub set: BTreeMap<String, String>,
    /// Adds a value to a header.
    pub add: BTreeMap<String, String>,
    /// Takes a header away.
    pub remove: Vec<String>,
}

/// Limits of the proxy. Bodies have no size limit, only a pace.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time to reach the pod.
    pub connect: Duration,
    /// Time until the program starts to answer.
    pub answer: Duration,
    /// Time without a byte in either direction of a stream or tunnel.
    pub idle: Duration,
    /// Requests and tunnels at once.
    pub concurrent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(600),
            idle: Duration::from_secs(3600),
            concurrent: 2048,
        }
    }
}

/// How both sides of the connect path are set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who knows the caller.
    pub front: Front,
    /// Where the `api` listener is.
    pub api: Place,
    /// Where the `apps` listener is.
    pub apps: Place,
    /// Limits of the proxy.
    pub limits: Limits,
    /// What ends tunnels when the process stops.
    pub drain: Drain,
}

/// Who knows the caller.
#[derive(Debug, Clone)]
pub enum Front {
    /// Local security, shared with the other listeners: a token, or a cookie of its own on `apps`
    /// that a ticket from `api` makes.
    Local(Local),
    /// Something in front of both listeners: each request brings its [`Identity`].
    Identified,
}

/// Where browsers find a listener.
#[derive(Debug, Clone)]
pub enum Place {
    /// At this port of the host that they asked.
    Port(u16),
    /// At this address, without a slash at its end.
    Url(String),
}

impl Place {
    /// An address there. Without an address of its own the listener is looked for under the host
    /// name that the browser uses: another name of this machine would be another site, and cookies
    /// stay with theirs.
    fn address(&self, host: &Authority, path: &str) -> String {
        match self {
            Self::Port(port) => format!("http://{}:{port}{path}", host.host()),
            Self::Url(url) => format!("{url}{path}"),
        }
    }

    /// Its port, for the names of cookies.
    fn port(&self) -> u16 {
        match self {
            Self::Port(port) => *port,
            Self::Url(_) => 0,
        }
    }
}

/// Name of the query parameter with the ticket. Long, because the rest of the query belongs to the
/// program in the workspace.
const TICKET: &str = "quartermaster-ticket";

/// How long the way from `api` to `apps` may take.
const TICKET_LIFETIME: Duration = Duration::from_secs(60);

/// How long a browser stays signed in to a workspace.
const COOKIE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

fn scope(namespace: &str, workspace: &str, uid: &str) -> Scope {
    Scope::new("connect", &[namespace, workspace, uid])
}

fn cookie(apps_port: u16, namespace: &str, workspace: &str, uid: &str) -> SessionCookie {
    let path = format!("{}{namespace}/{workspace}/", path::ROOT);
    let scope = scope(namespace, workspace, uid);
    SessionCookie::scoped("connect", apps_port, &path, scope, COOKIE_LIFETIME)
}
