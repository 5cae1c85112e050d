//! `quartermaster rbac`: what a program must be allowed to do, ready for `kubectl apply`.

use cluster::client::{self, Target};
use hooks::model::Hook;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::{Api, api::ListParams};
use workspaces::controller;

use crate::{
    cli::{self, ClusterChoice, Grantee},
    config::Config,
    failure::Failure,
    output,
    permissions::Needed,
    settings::Settings,
    wiring::webhooks::Choice,
};

pub(crate) fn run(options: cli::Rbac) -> Result<(), Failure> {
    let file = Config::load_optional(options.config.as_deref())?;
    let mut more = match &options.hooks_of {
        None => Vec::new(),
        Some(ClusterChoice::Elsewhere(target)) => super::block_on(targets(target))?,
        Some(ClusterChoice::Embedded(_)) => {
            return Err(Failure::usage("a cluster of our own asks for no rights")
                .hint("--hooks-of is `kubeconfig`, `kubeconfig:CONTEXT` or `in-cluster`"));
        }
    };
    if !options.bind.is_empty() {
        more.push(workspaces::permissions::bind_roles(&options.bind));
    }
    let (needed, name) = match options.program {
        Grantee::WorkspacesController => {
            let (plain, made) = (controller::Options::default(), Choice::Own);
            (Needed::by_controller(&plain, true, Some(&made)), "workspaces-controller")
        }
        Grantee::Serve => {
            let settings = Settings::serve(cli::Serve::default(), file)?;
            (Needed::by(&settings).with(more), "quartermaster")
        }
    };
    output::data(&needed.manifests(name, &options.namespace, &options.service_account)?);
    Ok(())
}

/// What the targets of the hooks in a cluster need.
async fn targets(target: &Target) -> Result<Vec<PolicyRule>, Failure> {
    let connected = client::connect(target, None).await.map_err(|error| {
        let hint = error.hint();
        Failure::new(error.to_string()).hint(hint)
    })?;
    let hooks = Api::<Hook>::all(connected.client).list(&ListParams::default()).await;
    let hooks = match hooks {
        Ok(hooks) => hooks.items,
        // Nobody can have made any.
        Err(error) if cluster::error::is_not_found(&error) => Vec::new(),
        Err(error) => return Err(Failure::new(format!("cannot list the hooks: {error}"))),
    };
    Ok(hooks::permissions::of_targets(&hooks))
}
