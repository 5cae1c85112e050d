//! Who knows the callers, and what that means for each listener.

use std::sync::Arc;

use cluster::{
    Access,
    access::{Reviews, TokenReviews},
};
use http::Method;
use kube::Client;
use web::{
    Cors, Handler, Render,
    identity::{Door, ProxyHeaders},
    local::{Guard, Local, Token},
};
use workspaces::{connect, dialect::kubeflow};

use crate::settings::{Identity, Settings};

/// Who knows the callers.
#[derive(Clone)]
pub(super) enum Front {
    Local(Local),
    Headers(Arc<ProxyHeaders>, Cors),
    Tokens(Arc<TokenReviews>, Cors),
}

/// Whether callers are known by the token of a data directory.
pub(super) fn wants_token(settings: &Settings) -> bool {
    matches!(settings.identity, Identity::Local | Identity::Open)
}

impl Front {
    pub(super) fn new(settings: &Settings, client: &Client, token: Option<Token>) -> Self {
        let cors = || settings.cors.clone();
        match (&settings.identity, token) {
            (Identity::Local, Some(token)) => Self::Local(Local::new(token)),
            (Identity::Open, Some(token)) => Self::Local(Local::without_auth(token)),
            (Identity::Header(headers), _) => {
                Self::Headers(Arc::new(ProxyHeaders::new(headers.clone())), cors())
            }
            (Identity::Bearer(audiences), _) => {
                Self::Tokens(Arc::new(TokenReviews::new(client, audiences.clone())), cors())
            }
            // Without a directory there is no token to know anybody by.
            (Identity::Local | Identity::Open, None) => {
                Self::Tokens(Arc::new(TokenReviews::new(client, Vec::new())), cors())
            }
        }
    }

    /// The local security, where that is what knows the callers.
    pub(super) fn local(&self) -> Option<&Local> {
        match self {
            Self::Local(local) => Some(local),
            Self::Headers(..) | Self::Tokens(..) => None,
        }
    }

    /// Who decides what callers may do.
    pub(super) fn access(&self, client: &Client) -> Access {
        match self {
            Self::Local(_) => Access::Local,
            Self::Headers(..) | Self::Tokens(..) => Access::Reviewed(Reviews::new(client)),
        }
    }

    /// Which pages of other origins may use the API. None on one machine, where the owner's browser
    /// is the way in.
    pub(super) fn cors(&self) -> Cors {
        match self {
            Self::Local(_) => Cors::closed(),
            Self::Headers(_, cors) | Self::Tokens(_, cors) => cors.clone(),
        }
    }

    /// For the connect path.
    pub(super) fn connect(&self) -> connect::Front {
        match self {
            Self::Local(local) => connect::Front::Local(local.clone()),
            Self::Headers(..) | Self::Tokens(..) => connect::Front::Identified,
        }
    }

    /// Guards the API on `port`.
    pub(super) fn protect_api(
        &self,
        api: impl Into<Handler>,
        port: u16,
        render: Render,
    ) -> Handler {
        match self {
            Self::Local(local) => Guard::new(local.clone(), port, render)
                .pages(|_, path| path == "/" || path.starts_with("/workspace/connect/"))
                .public(is_public)
                .protect(api),
            other => other.door(api, render, other.cors()),
        }
    }

    /// Guards the way into workspaces. The local one does so itself, path by path.
    pub(super) fn protect_apps(&self, apps: impl Into<Handler>) -> Handler {
        match self {
            Self::Local(_) => apps.into(),
            // What runs in a workspace is reached from its own pages only.
            other => other.door(apps, connect::render, Cors::closed()),
        }
    }

    /// Guards the probes on `port`: where supervisors of a cluster ask, they are open.
    pub(super) fn protect_ops(
        &self,
        ops: impl Into<Handler>,
        port: u16,
        render: Render,
    ) -> Handler {
        match self {
            Self::Local(local) => Guard::new(local.clone(), port, render)
                .public(|_, path| path == "/livez" || path == "/readyz")
                .protect(ops),
            Self::Headers(..) | Self::Tokens(..) => ops.into(),
        }
    }

    fn door(&self, inner: impl Into<Handler>, render: Render, cors: Cors) -> Handler {
        match self {
            Self::Local(_) => inner.into(),
            Self::Headers(who, _) => {
                Door::new(Arc::clone(who), render).public(is_open).cors(cors).protect(inner)
            }
            Self::Tokens(who, _) => {
                Door::new(Arc::clone(who), render).public(is_open).cors(cors).protect(inner)
            }
        }
    }
}

/// What holds no secret: the page's own files, documents, and whether the server works.
fn is_public(method: &Method, path: &str) -> bool {
    let file = path.starts_with("/assets/") || kubeflow::OPENAPI.contains(&path);
    method.is_safe() && (path == "/api/v1/healthcheck" || file)
}

/// What is open where a cluster knows its users: also that something is not there.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    is_public(method, path) || kubeflow::is_open(method, path)
}
