//! What one endpoint may change about its source. Absent options mean flux-recv's behaviour.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{decide::signature::Algorithm, model::Keys};

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
    /// The header that a generic signature is in.
    pub header: Option<String>,
    /// Whether unwanted events are answered with 200 instead of 400.
    pub ignore_unwanted: bool,
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
