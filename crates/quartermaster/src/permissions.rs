//! The rights that `serve` needs: put together from what its parts need. Asked about at the start, and
//! printed as manifests by `quartermaster
//! rbac`; and those of its parts that run by themselves.

use cluster::permissions::{self, Missing, Rule};
use k8s_openapi::{
    api::rbac::v1::{
        ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Client;
use workspaces::controller;

use crate::{
    failure::Failure,
    output,
    settings::{Admission, Identity, Settings},
    wiring::webhooks::Choice,
};

const DEFINITIONS: Rule =
    Rule::new("apiextensions.k8s.io", &["customresourcedefinitions"], &["get"]);
const NEW_DEFINITIONS: Rule =
    Rule::new("apiextensions.k8s.io", &["customresourcedefinitions"], &["create", "update"])
        .or_else("definitions that are missing or old must be installed by somebody else");
const WEBHOOKS: Rule = Rule::new(
    "admissionregistration.k8s.io",
    &["validatingwebhookconfigurations"],
    &["get", "update"],
)
.named(&[workspaces::admission::CONFIGURATION])
.or_else("somebody else must tell API servers where admission is asked for, and whom to trust");
const NEW_WEBHOOKS: Rule =
    Rule::new("admissionregistration.k8s.io", &["validatingwebhookconfigurations"], &["create"])
        .or_else("a webhook configuration that is missing must be installed by somebody else");
const CERTIFICATES: Rule =
    Rule::new("", &["secrets"], &["get", "update"]).named(&[cluster::admission::keeper::SECRET]);
const NEW_CERTIFICATES: Rule = Rule::new("", &["secrets"], &["create"]);
const FOREIGN_CERTIFICATES: Rule = Rule::new("", &["secrets"], &["get"]);
const ACCESS: Rule = Rule::new("authorization.k8s.io", &["subjectaccessreviews"], &["create"]);
const TOKENS: Rule = Rule::new("authentication.k8s.io", &["tokenreviews"], &["create"]);
const SAMPLES: Rule = Rule::new("", &["configmaps"], &["get", "create", "update"]);
const LEASE: Rule = Rule::new("coordination.k8s.io", &["leases"], &["get", "create", "update"]);

/// What is needed everywhere, and what in the namespace of the lease only.
pub(crate) struct Needed {
    cluster: Vec<Rule>,
    own_namespace: Vec<Rule>,
    /// What objects of the cluster make necessary, and what is granted by name.
    more: Vec<PolicyRule>,
}

impl Needed {
    /// What these settings need.
    pub(crate) fn by(settings: &Settings) -> Self {
        let mut cluster = workspaces::permissions::SERVING.to_vec();
        let mut own_namespace = Vec::new();
        if settings.definitions {
            cluster.extend([DEFINITIONS, NEW_DEFINITIONS]);
        }
        if settings.controller {
            cluster.extend(workspaces::permissions::CONTROLLER);
            cluster.extend(workspaces::permissions::CONNECT_SECRETS);
            own_namespace.push(LEASE);
        }
        if let Some(Admission { install, options, .. }) = &settings.admission {
            cluster.push(WEBHOOKS);
            if *install {
                cluster.push(NEW_WEBHOOKS);
            }
            match (&options.certificate_dir, &options.certificate_secret) {
                (Some(_), _) => {}
                (None, Some(_)) => own_namespace.push(FOREIGN_CERTIFICATES),
                (None, None) => own_namespace.extend([CERTIFICATES, NEW_CERTIFICATES]),
            }
        }
        if settings.hooks.is_some() {
            cluster.extend(hooks::permissions::SERVING);
        }
        if settings.receivers.is_some() {
            cluster.extend(hooks::permissions::RECEIVERS);
        }
        if settings.samples {
            own_namespace.push(SAMPLES);
        }
        match settings.identity {
            Identity::Local | Identity::Open => {}
            Identity::Header(_) => cluster.push(ACCESS),
            Identity::Bearer(_) => cluster.extend([ACCESS, TOKENS]),
        }
        Self { cluster, own_namespace, more: Vec::new() }
    }

    /// The same and these rules.
    #[must_use]
    pub(crate) fn with(self, more: Vec<PolicyRule>) -> Self {
        Self { more, ..self }
    }

    /// What the API of workspaces needs by itself.
    pub(crate) fn by_backend(reviewed: bool) -> Self {
        let mut cluster = workspaces::permissions::SERVING.to_vec();
        if reviewed {
            cluster.push(ACCESS);
        }
        Self { cluster, own_namespace: Vec::new(), more: Vec::new() }
    }

    /// What the controller of workspaces needs by itself: no more than the original, or it can be done
    /// without.
    pub(crate) fn by_controller(
        options: &controller::Options,
        leader_elect: bool,
        certificates: Option<&Choice>,
    ) -> Self {
        let mut cluster = workspaces::permissions::CONTROLLER.to_vec();
        cluster.extend(workspaces::permissions::BIND_ANY_ROLE);
        let mut own_namespace = Vec::new();
        if options.istio.is_some() {
            cluster.extend(workspaces::permissions::ISTIO);
        }
        if options.gateway_api.is_some() {
            cluster.extend(workspaces::permissions::GATEWAY_API);
        }
        if leader_elect {
            own_namespace.push(LEASE);
        }
        if let Some(certificates) = certificates {
            cluster.extend([WEBHOOKS, NEW_WEBHOOKS]);
            match certificates {
                Choice::Directory(_) => {}
                Choice::Secret(_) => own_namespace.push(FOREIGN_CERTIFICATES),
                Choice::Own => own_namespace.extend([CERTIFICATES, NEW_CERTIFICATES]),
            }
        }
        Self { cluster, own_namespace, more: Vec::new() }
    }

    /// Asks the cluster about all of it. Fails with everything that is missing; what can be done
    /// without is told.
    pub(crate) async fn check(&self, client: &Client, namespace: &str) -> Result<(), Failure> {
        let failed = |error: kube::Error| {
            Failure::new(format!("cannot ask the cluster what is allowed: {error}"))
        };
        let mut missing =
            permissions::missing(client, &self.cluster, None).await.map_err(failed)?;
        let own = permissions::missing(client, &self.own_namespace, Some(namespace));
        missing.extend(own.await.map_err(failed)?);
        let (optional, required): (Vec<Missing>, Vec<Missing>) =
            missing.into_iter().partition(|missing| missing.optional.is_some());
        for missing in optional {
            let loss = missing.optional.unwrap_or_default();
            output::note(&format!("warning: not allowed to {missing}: {loss}"));
        }
        if required.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = required.iter().map(|missing| format!("  {missing}")).collect();
        Err(Failure::new(format!(
            "this user may not do everything that is needed. Missing permissions:\n{}",
            list.join("\n")
        ))
        .hint("`quartermaster rbac` prints the roles to apply"))
    }

    /// The roles of this name and their bindings for a service account.
    pub(crate) fn manifests(
        &self,
        name: &str,
        namespace: &str,
        account: &str,
    ) -> Result<String, Failure> {
        let meta = |name: &str, namespace: Option<&str>| ObjectMeta {
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ObjectMeta::default()
        };
        let role_ref = |kind: &str| RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let subjects = Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        }]);
        let cluster_role = ClusterRole {
            metadata: meta(name, None),
            rules: Some([permissions::policy_rules(&self.cluster), self.more.clone()].concat()),
            ..ClusterRole::default()
        };
        let cluster_binding = ClusterRoleBinding {
            metadata: meta(name, None),
            role_ref: role_ref("ClusterRole"),
            subjects: subjects.clone(),
        };
        let role = Role {
            metadata: meta(name, Some(namespace)),
            rules: Some(permissions::policy_rules(&self.own_namespace)),
        };
        let binding = RoleBinding {
            metadata: meta(name, Some(namespace)),
            role_ref: role_ref("Role"),
            subjects,
        };
        let documents = [
            serde_saphyr::to_string(&cluster_role),
            serde_saphyr::to_string(&cluster_binding),
            serde_saphyr::to_string(&role),
            serde_saphyr::to_string(&binding),
        ];
        documents.into_iter().try_fold(String::new(), |text, document| match document {
            Ok(document) => Ok(format!("{text}---\n{document}")),
            Err(error) => Err(Failure::new(format!("cannot print a role: {error}"))),
        })
    }
}
