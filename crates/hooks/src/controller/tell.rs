//! The targets of a `Hook`: what each needs, and what fits together.

use std::{sync::Arc, time::Duration};

use kube::Client;

use super::build::{Builder, Paced, Reason, invalid};
use crate::{
    journal::Pace,
    limits::Rate,
    model::{HookTarget, ResourceRef, Span, TargetAction, TargetKind},
    targets::{
        ArgoCd, ArgoCdSettings, Datasets, Filtered, FluxV1, Guard, Http, HttpSettings, Log, Relay,
        RelaySettings, Target,
        cluster::{self, Action, Auto, Cluster, Pushed},
    },
};

/// How long events about datasets wait for others, if the hook does not say.
const DEBOUNCE: Duration = Duration::from_secs(30);
/// The longest that they may.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(3600);
/// The longest that controllers are waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long controllers are waited for.
pub(crate) fn waited(wished: Span) -> Duration {
    wished.0.min(LONGEST_WAIT)
}

impl Builder<'_> {
    pub(super) fn targets(&self) -> Result<Paced, Reason> {
        let mut made: Paced = Vec::new();
        for wanted in &self.hook.spec.targets {
            let name = wanted.name.as_deref().unwrap_or(wanted.kind.word());
            let full = format!("{}/{name}", self.name());
            if made.iter().any(|(target, _)| target.name() == full) {
                return Err(invalid(format!("two targets have the name {name}")));
            }
            let target = self.target(&full, wanted);
            let target = target.map_err(|message| invalid(format!("target {name}: {message}")))?;
            let target = match &wanted.filter {
                Some(filter) => Arc::new(Filtered::new(target, filter.clone())),
                None => target,
            };
            let mut pace = Pace::default();
            pace.concurrency = wanted
                .max_concurrency
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(pace.concurrency);
            let whole = wanted.wait_handled.map(|wait| waited(wait) + pace.timeout);
            pace.timeout = pace
                .timeout
                .max(wanted.timeout.or(whole.map(Span)).map_or(Duration::ZERO, |span| span.0));
            if let Some(rate) = wanted.rate {
                pace.rate = Rate { per_second: f64::from(rate), burst: f64::from(rate) };
            }
            made.push((target, pace));
        }
        Ok(made)
    }

    fn target(&self, name: &str, wanted: &HookTarget) -> Result<Arc<dyn Target>, String> {
        let secret = wanted.secret_ref.as_ref();
        let secret = secret.map(|key| self.secrets.sent(&key.name, &key.key)).transpose();
        let secret = secret.map_err(|reason| reason.message)?;
        let url = || wanted.url.clone().ok_or("url is missing".to_owned());
        Ok(match wanted.kind {
            TargetKind::FluxV1 => {
                let token = secret.map(String::from_utf8).transpose();
                let token = token.map_err(|_| "the token is no text".to_owned())?;
                let guard = Guard::new(self.options.allow.clone());
                let guard = guard.without_tls(self.options.allow_http);
                let target = FluxV1::guarded(name, &url()?, token.as_deref(), guard)?;
                Arc::new(target.within(wanted.timeout.map(|span| span.0)))
            }
            TargetKind::Http => Arc::new(Http::new(
                name,
                HttpSettings {
                    url: url()?,
                    allow_http: self.options.allow_http,
                    allow: self.options.allow.clone(),
                    secret,
                    timeout: wanted.timeout.map_or(Duration::from_secs(10), |span| span.0),
                },
            )?),
            TargetKind::Relay => {
                let guard = Guard::new(self.options.allow.clone());
                let guard = guard.without_tls(self.options.allow_http);
                let timeout = wanted.timeout.map_or(Duration::from_secs(10), |span| span.0);
                let (urls, forward_auth) = (vec![url()?], wanted.forward_auth);
                Arc::new(Relay::new(name, RelaySettings { urls, guard, forward_auth, timeout })?)
            }
            TargetKind::Log => Arc::new(Log::new(name)),
            TargetKind::ArgoCd if wanted.url.is_some() => {
                let guard = Guard::new(self.options.allow.clone());
                let token = secret.ok_or("secretRef is missing: the token of Argo CD")?;
                argo_cd(name, wanted, token, guard.without_tls(self.options.allow_http))?
            }
            TargetKind::DatasetRefresh
            | TargetKind::FluxV2
            | TargetKind::ArgoCd
            | TargetKind::Workspace
            | TargetKind::Kubernetes => {
                let namespace = self.hook.metadata.namespace.clone().unwrap_or_default();
                Place { client: self.client.clone(), namespace }.target(name, wanted)?
            }
        })
    }
}

/// Argo CD by its own API.
pub(crate) fn argo_cd(
    name: &str,
    wanted: &HookTarget,
    token: Vec<u8>,
    guard: Guard,
) -> Result<Arc<dyn Target>, String> {
    let hard = match (wanted.action, wanted.auto) {
        (_, true) => return Err("with a url the Applications are named".to_owned()),
        (None | Some(TargetAction::Normal), _) => false,
        (Some(TargetAction::Hard), _) => true,
        _ => return Err("action does not fit the type".to_owned()),
    };
    let named = |one: &ResourceRef| {
        let plain = one.kind == "Application" && one.name != "*" && one.match_labels.is_empty();
        plain.then(|| one.name.clone()).ok_or("with a url the Applications are named")
    };
    let settings = ArgoCdSettings {
        url: wanted.url.clone().unwrap_or_default(),
        guard,
        token,
        applications: wanted.resources.iter().map(named).collect::<Result<_, _>>()?,
        hard,
        timeout: wanted.timeout.map_or(Duration::from_secs(10), |span| span.0),
    };
    Ok(Arc::new(ArgoCd::new(name, settings)?))
}

/// The namespace that targets are in.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Place {
    /// A target that is objects of the namespace.
    pub(crate) fn target(
        &self,
        name: &str,
        wanted: &HookTarget,
    ) -> Result<Arc<dyn Target>, String> {
        Ok(match wanted.kind {
            TargetKind::DatasetRefresh => Arc::new(self.datasets(name, wanted)?),
            _ => Arc::new(self.cluster(name, wanted)?),
        })
    }

    /// Volumes of datasets.
    fn datasets(&self, name: &str, wanted: &HookTarget) -> Result<Datasets, String> {
        if wanted.auto || !wanted.resources.is_empty() || wanted.action.is_some() {
            return Err("volumes are found by origin or nameTemplate, and marked".to_owned());
        }
        let debounce = wanted.debounce.map_or(DEBOUNCE, |span| span.0);
        if debounce > LONGEST_DEBOUNCE {
            return Err("debounce is at most 1h".to_owned());
        }
        let template = wanted.name_template.clone();
        Datasets::new(name, self.client.clone(), &self.namespace, template, debounce)
    }

    fn cluster(&self, name: &str, wanted: &HookTarget) -> Result<Cluster, String> {
        let action = match (wanted.kind, wanted.action, &wanted.annotation) {
            (TargetKind::FluxV2, None, None) => {
                let wait = wanted.wait_handled.map(waited);
                Action::Reconcile { force: wanted.force, reset: wanted.reset, wait }
            }
            (TargetKind::ArgoCd, None | Some(TargetAction::Normal), None) => {
                Action::Refresh { hard: false }
            }
            (TargetKind::ArgoCd, Some(TargetAction::Hard), None) => Action::Refresh { hard: true },
            (TargetKind::Workspace, Some(TargetAction::Restart), None) => Action::Restart,
            (TargetKind::Workspace, Some(TargetAction::Update), None) => Action::Update,
            (TargetKind::Workspace, Some(TargetAction::Pause), None) => Action::Pause(true),
            (TargetKind::Workspace, Some(TargetAction::Start), None) => Action::Pause(false),
            (TargetKind::Kubernetes, None | Some(TargetAction::Annotate), Some(one)) => {
                Action::Annotate { key: one.key.clone(), value: one.value.clone() }
            }
            (TargetKind::Kubernetes, Some(TargetAction::Run), None) => Action::Run,
            _ => return Err("action and annotation do not fit the type".to_owned()),
        };
        let only = match (&action, wanted.kind) {
            (Action::Run, _) => Some("CronJob"),
            (_, TargetKind::Workspace) => Some("Workspace"),
            _ => None,
        };
        if let Some(only) = only.filter(|only| wanted.resources.iter().any(|r| r.kind != *only)) {
            return Err(format!("the kind of its resources is {only}"));
        }
        let auto = Auto::of(wanted.kind).filter(|_| wanted.auto);
        if wanted.auto && auto.is_none() {
            return Err("auto is for flux-v2, argocd and workspace".to_owned());
        }
        let needs_tag = action == Action::Update;
        let pushed = (needs_tag || auto == Some(Auto::Workspaces))
            .then(|| Pushed { tags: wanted.tag_filter.clone(), needs_tag });
        if pushed.is_none() && !wanted.tag_filter.is_empty() {
            return Err("tagFilter is for workspaces that are found by their image".to_owned());
        }
        let selection = cluster::selection(&self.namespace, &wanted.resources, auto)?;
        let client = self.client.clone();
        Ok(Cluster::new(name, client, &self.namespace, selection, action).when(pushed))
    }
}
