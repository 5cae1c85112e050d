//! The admission listener: where API servers ask whether writes of workspaces and kinds are accepted.

use std::{path::PathBuf, sync::Arc};

use cluster::admission::{
    self, Reviews,
    configuration::{Configuration, Reached},
    keeper::{self, Certificates, Keeper},
};
use kube::Client;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use web::{
    Error, Head, Kind,
    listener::{self, Drain, Limits, Listener, Stack},
    metrics::Requests,
};
use workspaces::{
    Caches,
    admission::{CONFIGURATION, SERVICE, WEBHOOKS},
};

use crate::{failure::Failure, settings};

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// We make it.
    Own,
    /// Somebody else keeps it in this Secret.
    Secret(String),
    /// Somebody else keeps it in this directory.
    Directory(PathBuf),
}

/// How API servers reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a Service of this name.
    Service(String),
    /// At this address.
    Url(String),
}

/// What it runs with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) way: Way,
    pub(crate) certificates: Choice,
    /// Whether the cluster's configuration is made if it is missing.
    pub(crate) install: bool,
    pub(crate) http2: bool,
}

impl From<&settings::Admission> for Options {
    fn from(wanted: &settings::Admission) -> Self {
        let options = wanted.options.clone();
        let way = match (options.url, options.service) {
            (Some(url), _) => Way::Url(url),
            (None, service) => Way::Service(service.unwrap_or_else(|| SERVICE.to_owned())),
        };
        let certificates = match (options.certificate_dir, options.certificate_secret) {
            (Some(directory), _) => Choice::Directory(directory),
            (None, Some(secret)) => Choice::Secret(secret),
            (None, None) => Choice::Own,
        };
        Self { way, certificates, install: wanted.install, http2: true }
    }
}

impl Options {
    /// For a program in this namespace.
    fn keeper(self, namespace: &str) -> keeper::Options {
        let namespace = namespace.to_owned();
        let certificates = match self.certificates {
            Choice::Directory(directory) => Certificates::Directory(directory),
            Choice::Secret(name) => Certificates::Secret { namespace: namespace.clone(), name },
            Choice::Own => Certificates::Own { namespace: namespace.clone() },
        };
        let reached = match self.way {
            Way::Service(name) => Reached::Service { namespace, name },
            Way::Url(url) => Reached::Url(url),
        };
        keeper::Options {
            certificates,
            names: reached.names(),
            configuration: Some(Configuration {
                name: CONFIGURATION,
                webhooks: WEBHOOKS,
                reached,
                create: self.install,
            }),
            http2: self.http2,
            now: jiff::Timestamp::now,
        }
    }
}

/// The running listener, and what keeps its certificate good.
pub(crate) struct Webhooks {
    keeping: JoinHandle<()>,
    stop: CancellationToken,
}

/// Takes the address, if it is wanted.
pub(super) async fn bind(
    wanted: Option<&settings::Admission>,
) -> Result<Option<Listener>, Failure> {
    let Some(wanted) = wanted else { return Ok(None) };
    let bound = listener::bind(wanted.listen).await;
    bound.map(Some).map_err(|error| {
        Failure::new(error.to_string()).hint("choose another with --admission-listen ADDR")
    })
}

impl Webhooks {
    /// Answers from now on, and tells API servers so.
    pub(crate) async fn start(
        listener: Listener,
        options: Options,
        namespace: &str,
        (client, caches, drain): (&Client, &Caches, &Drain),
        (requests, reviews): (&Requests, &Reviews),
    ) -> Result<Self, Failure> {
        let keeper = Keeper::new(client, options.keeper(namespace)).await.map_err(Failure::of)?;
        let rules = workspaces::admission::Webhooks::new(client.clone(), caches.clone());
        let rules = Arc::new(rules);
        let router = WEBHOOKS.iter().fold(axum::Router::new(), |router, webhook| {
            router.merge(admission::router(webhook, Arc::clone(&rules), reviews))
        });
        let router = Stack::new("admission", admission::render)
            .body_limit(admission::MAX_BYTES)
            .answer_within(admission::DEADLINE)
            .counted(requests)
            .wrap(router.fallback(nothing));
        let serving =
            listener.with_tls(keeper.tls()).serve(router, Limits::default(), drain.clone());
        tokio::spawn(serving);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keeper.run(stop.clone()));
        Ok(Self { keeping, stop })
    }

    /// Ends what keeps the certificate; the listener ends with its drain.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.keeping.await {
            tracing::error!(%error, "the keeper of the admission certificate broke");
        }
    }
}

async fn nothing(request: axum::extract::Request) -> axum::response::Response {
    let (parts, _) = request.into_parts();
    let error = Error::new(Kind::NotFound, "there is no webhook at this path");
    admission::render(&error, &Head::of(&parts))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("quartermaster", include_str!("../../../../deploy/manifests/webhooks.yaml"))]
    #[case(
        "kubeflow-workspaces",
        include_str!("../../../../deploy/manifests/workspaces-controller/webhooks.yaml")
    )]
    fn the_manifest_says_what_the_program_keeps(#[case] namespace: &str, #[case] file: &str) {
        let manifest: serde_json::Value = serde_saphyr::from_str(file).unwrap();
        let options = Options {
            way: Way::Service(SERVICE.to_owned()),
            certificates: Choice::Own,
            install: false,
            http2: true,
        };
        let kept = options.keeper(namespace).configuration.unwrap();
        assert_eq!(manifest, kept.manifest());
    }
}
