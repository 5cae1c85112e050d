//! `quartermaster as workspaces-backend`: the REST API of Kubeflow Workspaces and nothing else, with
//! the flags, variables and defaults of the original.

use std::time::Duration;

use cluster::client::Target;
use web::identity::{HeaderSettings, Trusted};
use workspaces::dialect::kubeflow::{Options, Swagger};

use crate::{
    cli::{ClusterChoice, WorkspacesBackend},
    failure::Failure,
    output,
    signals::Signals,
    wiring::backend::{Backend, Settings},
};

/// How long open requests may go on after a stop.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn run(flags: WorkspacesBackend, log: Option<&str>) -> Result<(), Failure> {
    super::log(log)?;
    let settings = settings(flags)?;
    super::block_on(async {
        let mut signals = Signals::new()?;
        let open = settings.identity.is_none();
        let backend = tokio::select! {
            backend = Backend::start(settings) => backend?,
            // A cluster that never answers must not hold up a stop.
            () = signals.next() => return Ok(()),
        };
        output::note(&format!("Serving {} at {}", backend.cluster(), backend.url()));
        if open {
            output::note("WARNING: authentication is off. Whoever reaches this port may do all.");
        }
        backend.stop(GRACE, signals).await;
        Ok(())
    })
}

fn settings(flags: WorkspacesBackend) -> Result<Settings, Failure> {
    let pace = flags.pace();
    let WorkspacesBackend {
        port,
        userid_header,
        userid_prefix,
        groups_header,
        proxy_url_prefix,
        swagger_enabled,
        swagger_host,
        swagger_base_path,
        swagger_scheme,
        own,
        ..
    } = flags;
    if userid_header == groups_header {
        return Err(Failure::usage("one header cannot name both the user and the groups")
            .hint("--userid-header and --groups-header are two names"));
    }
    if own.disable_auth && !own.insecure_disable_auth {
        return Err(Failure::usage("DISABLE_AUTH alone does not switch authentication off")
            .hint("say --insecure-disable-auth as well, on a machine of your own; or unset it"));
    }
    let target = match own.cluster {
        None => Target::Auto,
        Some(ClusterChoice::Elsewhere(target)) => target,
        Some(ClusterChoice::Embedded(dir)) => {
            let file = dir.join("kubeconfig");
            return Err(Failure::usage("a cluster of our own is served by `quartermaster up`")
                .hint(format!("while that runs, use KUBECONFIG={}", file.display())));
        }
    };
    let options = Options {
        proxy_url_prefix,
        strict_pause_body: own.strict_pause_body,
        default_profile: own.api_profile,
        require_can_mount: own.require_can_mount,
        user_header: userid_header.as_str().to_owned(),
        swagger: swagger_enabled.then_some(Swagger {
            host: swagger_host,
            base_path: swagger_base_path,
            scheme: swagger_scheme,
        }),
    };
    let identity = HeaderSettings {
        user: userid_header,
        groups: groups_header,
        user_prefix: userid_prefix,
        groups_separator: own.groups_separator,
        trusted: own.trusted_peers.unwrap_or_else(Trusted::everybody),
    };
    Ok(Settings {
        target,
        pace,
        port,
        identity: (!own.insecure_disable_auth).then_some(identity),
        cors: own.allowed_origins.unwrap_or_else(web::Cors::readable),
        options,
    })
}
