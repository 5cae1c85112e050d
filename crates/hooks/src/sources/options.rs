//! What one endpoint may change about its source. Absent options mean flux-recv's behaviour.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{decide::signature::Algorithm, model::Keys, oidc::Oidc};

/// Whether a sender that may sign must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureMode {
    /// A signature that is there must be right; none is fine.
    #[default]
    Auto,
    /// There must be one.
    Require,
    /// Not looked at.
    Off,
}

/// What a sender's header holds that it proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenMode {
    /// A signature made with the secret.
    #[default]
    Signature,
    /// The secret itself.
    Plain,
}

/// The options of one endpoint.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The host that image names are put together with.
    pub registry_host: String,
    /// Identity checks of Google's push service.
    pub google: Option<Google>,
    /// The weakest signature that passes.
    pub minimum: Algorithm,
    /// Whether an optional signature is needed.
    pub signature: SignatureMode,
    /// Whether deletions of branches are dropped.
    pub ignore_deletes: bool,
    /// Event names beyond the source's own.
    pub events: Vec<String>,
    /// Whether refusals that flux-recv answers with 200 get their honest status.
    pub strict_status: bool,
    /// Secrets of a second signature, by the Standard Webhooks rule.
    pub signing: Option<Keys>,
    /// How a generic signature is written.
    pub hmac: Hmac,
    /// Topics that notifications may be of.
    pub topics: Vec<String>,
    /// Whether subscriptions to these topics are confirmed.
    pub auto_confirm: bool,
    /// Issuers whose tokens pass.
    pub oidc: Option<Arc<Oidc>>,
    /// Whether unwanted events are answered with 200 instead of 400.
    pub ignore_unwanted: bool,
    /// Origins that may send, for senders that ask before; `*` is any.
    pub allowed_origins: Vec<String>,
    /// Whether Artifactory signs or sends the secret.
    pub token_mode: TokenMode,
    /// The host of Azure's ssh URLs; `ssh.` and the host of the https URL if nothing is said.
    pub azure_host: Option<String>,
    /// What the records of Ceph must carry as their opaque data.
    pub opaque_token: Option<Keys>,
}

/// How a generic signature is written (contract §3.6, `GenericHMAC`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hmac {
    /// The header that it is in; `X-Signature` if nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The algorithm, if the signature does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// How its bytes are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// What goes before it; the algorithm and `=` if nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What separates several signatures, of which any must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// What is signed: a text with `{body}`, `{timestamp}` and `{id}`; the body if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_content: Option<String>,
    /// The header of the time, in Unix seconds; needed if the time is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// The header of the id; needed if the id is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// How many seconds the signed time may be off; 300 if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<u32>,
}

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal digits, of either case.
    #[default]
    Hex,
    /// Base64.
    Base64,
    /// Base64 as URLs have it.
    Base64Url,
}

/// How tokens of Google's push service are checked.
#[derive(Debug, Clone, Default)]
pub struct Google {
    /// The audience that the token must name.
    pub audience: String,
    /// The service account that must have made it.
    pub email: Option<String>,
    /// Where its keys are published.
    pub jwks_url: Option<String>,
    /// Who may have issued it.
    pub issuers: Vec<String>,
    /// A service that checks tokens, asked instead of checking here.
    pub token_info_url: Option<String>,
}
