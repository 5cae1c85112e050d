//! `Hook`: one endpoint as an object of the cluster. Secrets are in Secrets of its namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;
use crate::{
    decide::{
        cel::Expression,
        filter::{Filter, Patterns},
        replay::Policy,
        signature::Algorithm,
    },
    sources::{Hmac, SignatureMode, TokenMode},
};

/// Where webhooks of one sender come in and what becomes of them.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "quartermaster.io",
    version = "v1alpha1",
    kind = "Hook",
    namespaced,
    status = "HookStatus",
    derive = "PartialEq",
    doc = "Hook is an endpoint for the webhooks of one sender: its secret, its filter, its targets.",
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Accepted", type_ = "integer", json_path = ".status.deliveries.accepted"),
    printcolumn(name = "Path", type_ = "string", json_path = ".status.webhookPath", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[expect(clippy::duplicated_attributes, reason = "columns have types")]
#[serde(rename_all = "camelCase")]
pub struct HookSpec {
    /// Who sends: `GitHub`, `GitLab`, `MinIO`, … Names are case-sensitive.
    #[schemars(length(min = 1, max = 64))]
    pub source: String,
    /// The secret shared with the sender. Its bytes make the path, and verify what the source can
    /// verify.
    pub secret_ref: SecretKey,
    /// Earlier secrets, which count until the sender has the new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub previous_secret_refs: Vec<PreviousSecret>,
    /// A further path, `/hook/` and 8 to 128 characters, that stays when the secret changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^/hook/[A-Za-z0-9._~-]{8,128}$"))]
    pub path: Option<String>,
    /// The host that image names are put together with, for senders that leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub registry_host: Option<String>,
    /// What is special about the source here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<HookOptions>,
    /// Addresses that may call, `10.0.0.0/8`; all if there are none.
    #[serde(default, rename = "allowCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub allow_cidrs: Vec<String>,
    /// What a request must bring beside what its source asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HookAuth>,
    /// Whether a source that cannot prove who it is may do without `auth`: its URL is then the
    /// only secret.
    #[serde(default, skip_serializing_if = "is_false")]
    pub insecure: bool,
    /// Which events are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Who is told.
    #[schemars(length(min = 1, max = 16))]
    pub targets: Vec<HookTarget>,
    /// When the sender is answered, and what repeats mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<HookDelivery>,
    /// Limits of this endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<HookLimits>,
    /// Whether senders are told to come again later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
    /// Whether events are kept while it is suspended instead of being refused: the targets are told
    /// when the suspension ends.
    #[serde(default, skip_serializing_if = "is_false")]
    pub buffer: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A key of a Secret in the namespace of the hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[serde(default = "token", skip_serializing_if = "is_token")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn token() -> String {
    "token".to_owned()
}

fn is_token(key: &str) -> bool {
    key == "token"
}

/// A secret that is on its way out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviousSecret {
    /// Which.
    #[serde(flatten)]
    pub secret: SecretKey,
    /// When it stops to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub not_after: Option<Timestamp>,
}

/// What is special about a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HookOptions {
    /// The weakest signature that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_algorithm: Option<Algorithm>,
    /// Whether a signature that may be left out is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureMode>,
    /// The token of a second signature, by the Standard Webhooks rule (GitLab).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret_ref: Option<SecretKey>,
    /// Event names beyond the source's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// How a generic signature is written (GenericHMAC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hmac>,
    /// Topics that notifications may be of (SNS).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub topics: Vec<String>,
    /// Whether subscriptions to these topics are confirmed (SNS).
    #[serde(skip_serializing_if = "is_false")]
    pub auto_confirm: bool,
    /// Issuers whose tokens pass (GenericOIDC).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub issuers: Vec<Issuer>,
    /// Whether deletions of branches are dropped.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_deletes: bool,
    /// Whether unwanted events are answered with 200 instead of 400.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_unwanted: bool,
    /// Origins that may send, for senders of CloudEvents that ask before; `*` is any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed_origins: Vec<String>,
    /// Whether the sender's header holds a signature or the secret itself (Artifactory).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_mode: Option<TokenMode>,
    /// The host of ssh URLs (AzureDevOps); `ssh.` and the host of the https URL without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub azure_host: Option<String>,
    /// The token that every record must carry as its opaque data (CephRGW); who asks for it needs no
    /// `auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque_secret_ref: Option<SecretKey>,
    /// Whether refusals that senders would not understand keep their honest status.
    #[serde(skip_serializing_if = "is_false")]
    pub strict_status: bool,
    /// The audience that tokens of Google's push service must name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The service account of Google's push service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl HookOptions {
    /// The Secrets that it names.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretKey> {
        self.signing_secret_ref.iter().chain(&self.opaque_secret_ref)
    }
}

/// An issuer of identity tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Issuer {
    /// Its URL, as tokens name it.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://"))]
    pub url: String,
    /// Whom tokens must be for.
    #[schemars(length(min = 1, max = 1024))]
    pub audience: String,
    /// What tokens must say; all must be true.
    #[schemars(length(min = 1, max = 16))]
    pub validations: Vec<Validation>,
}

/// What a token must say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    /// An expression about `claims`, in CEL.
    pub cel: Expression,
    /// What is logged if it is not true.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Extra authentication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookAuth {
    /// What kind it is of.
    #[serde(rename = "type")]
    pub kind: AuthKind,
    /// The Secret: keys `username` and `password` for `basic`, `token` for `bearer`, `value` for
    /// `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
    /// The header, for `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose tokens pass, for `oidc`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub issuers: Vec<Issuer>,
    /// Whose certificates pass, for `mtls`, by common name, DNS name, URI or e-mail address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub subjects: Vec<String>,
}

/// A Secret in the namespace of the hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How a request proves where it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthKind {
    /// By user name and password.
    Basic,
    /// By a bearer token.
    Bearer,
    /// By an identity token of an issuer.
    Oidc,
    /// By a certificate of an authority that the listener knows (`ca.crt`).
    Mtls,
    /// By a header's value.
    Header,
}

/// One target. Which fields count depends on its type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookTarget {
    /// Its name among the targets of the hook; its type, if there is only one of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: TargetKind,
    /// Where it is: the API of a Flux v1 daemon, the address of a service, or of an Argo CD that is
    /// asked instead of annotating Applications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Its secret: an API token (`flux-v1`, `argocd`), or the key that calls are signed with
    /// (`http`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKey>,
    /// How long one call may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Calls at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub max_concurrency: Option<u32>,
    /// Calls per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub rate: Option<u32>,
    /// Which objects of the namespace are told (`flux-v2`, `argocd`, `kubernetes`, `workspace`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub resources: Vec<ResourceRef>,
    /// Whether the objects are found by what they say (`flux-v2`, `argocd`, `workspace`): their URL,
    /// branch, tag or image is that of the event.
    #[serde(default, skip_serializing_if = "is_false")]
    pub auto: bool,
    /// Which tags of an image concern the workspaces that are found by it (`workspace` with `auto`
    /// or `update`); without one, that of the workspace's image.
    #[serde(default, skip_serializing_if = "Patterns::is_empty")]
    #[schemars(length(max = 64))]
    pub tag_filter: Patterns,
    /// What is done: `restart`, `update`, `pause` or `start` (`workspace`); `annotate` or `run` (`kubernetes`:
    /// a Job from the template of a CronJob); `normal` or `hard` (`argocd`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<TargetAction>,
    /// The annotation that is set (`kubernetes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<AnnotationTemplate>,
    /// The name of the volume that is marked, filled in as in `annotation` (`dataset-refresh`);
    /// without one it is those that the event's object belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub name_template: Option<String>,
    /// How long events wait for others, so that one change of a volume stands for all
    /// (`dataset-refresh`); 30 s, at most an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<Span>,
    /// Whether what the sender proves itself with is passed on as well (`relay`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub forward_auth: bool,
    /// Whether a HelmRelease is upgraded although nothing changed (`flux-v2`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Whether a HelmRelease forgets its failures (`flux-v2`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub reset: bool,
    /// How long to wait for the controllers to say that they have seen it, which only then counts as
    /// delivered (`flux-v2`); at most ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_handled: Option<Span>,
    /// Which events it is told, of those that the hook lets pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
}

/// Objects of the namespace of the hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRef {
    /// Group and version; may be left out for the kinds of Flux sources, Application, Workspace and
    /// CronJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name, or `*` with `matchLabels`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of the hook, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels of the objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// What is done to objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetAction {
    /// Ends pods, which start anew.
    Restart,
    /// Pins to the digest that was pushed.
    Update,
    /// Pauses.
    Pause,
    /// Starts what is paused.
    Start,
    /// Sets an annotation.
    Annotate,
    /// Runs a Job.
    Run,
    /// Looks again.
    Normal,
    /// Looks again, without caches.
    Hard,
}

/// An annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotationTemplate {
    /// Its key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Its value; `{time}`, `{id}`, `{branch}`, `{tag}`, `{after}`, `{digest}`, `{bucket}` and `{key}`
    /// are filled in, and `{raw/a/b}` from the JSON of generic events.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// The kinds of targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// A Flux v1 daemon.
    #[serde(rename = "flux-v1")]
    FluxV1,
    /// Objects of Flux v2, which reconcile.
    #[serde(rename = "flux-v2")]
    FluxV2,
    /// Applications of Argo CD, which refresh.
    #[serde(rename = "argocd")]
    ArgoCd,
    /// Workspaces.
    Workspace,
    /// Any objects.
    Kubernetes,
    /// Volumes of datasets, which are marked for a refresh.
    DatasetRefresh,
    /// Another receiver: the request as it came.
    Relay,
    /// Any service: the event as JSON, signed.
    Http,
    /// The log of the server.
    #[default]
    Log,
}

impl TargetKind {
    /// The word in files and objects.
    pub fn word(self) -> &'static str {
        match self {
            Self::FluxV1 => "flux-v1",
            Self::FluxV2 => "flux-v2",
            Self::ArgoCd => "argocd",
            Self::Workspace => "workspace",
            Self::Kubernetes => "kubernetes",
            Self::DatasetRefresh => "dataset-refresh",
            Self::Relay => "relay",
            Self::Http => "http",
            Self::Log => "log",
        }
    }
}

/// When the sender is answered, and what repeats mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HookDelivery {
    /// Once the event is on disk, or after the targets were told once.
    pub ack: Ack,
    /// What repeats mean; `reject` if a target has side effects, else `suppress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Policy>,
    /// How long a repeat is taken for the sender's own retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_window: Option<Span>,
    /// How long a repeat is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_retention: Option<Span>,
    /// The name of the target that is told only of what the others could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub dead_letter_target: Option<String>,
    /// How long the sender waits for the targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_timeout: Option<Span>,
}

/// When the sender is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Once the event is on disk.
    #[default]
    Stored,
    /// After the targets were told once.
    Downstream,
}

/// Limits of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HookLimits {
    /// Bytes of a body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 104_857_600))]
    pub max_body_bytes: Option<u32>,
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub per_second: Option<u32>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}

/// How a hook is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// The generation that the rest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the sender must send to, below the public address. Whoever may read it may send, if
    /// the source cannot sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_path: Option<String>,
    /// What came in since the server started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<HookDeliveries>,
    /// `Ready`, with the reason if it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookDeliveries {
    /// Requests answered with success.
    pub accepted: u64,
    /// Requests answered with anything else.
    pub refused: u64,
    /// When the last accepted one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_accepted: Option<Timestamp>,
}
