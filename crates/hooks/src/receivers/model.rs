//! `Receiver` of Flux's notification-controller, as far as it is read and written here. Its
//! definition is Flux's; objects that other versions wrote must not fail to be read, so nothing is
//! required and words stay words until they are looked at.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::model::SecretName;

/// Whose webhooks come in and which objects they are for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "notification.toolkit.fluxcd.io",
    version = "v1",
    kind = "Receiver",
    namespaced,
    status = "ReceiverStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct ReceiverSpec {
    /// Who sends.
    #[serde(rename = "type")]
    pub kind: String,
    /// How often the token is read anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Which events count, in any case; all if there are none.
    pub events: Vec<String>,
    /// Which objects are asked to reconcile.
    pub resources: Vec<ReceiverResource>,
    /// An expression about the request and each object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_filter: Option<String>,
    /// The Secret with the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
    /// Issuers of identity tokens.
    pub oidc_providers: Vec<OidcProvider>,
    /// Whether senders are told to come again later.
    pub suspend: bool,
}

/// Objects that are asked to reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReceiverResource {
    /// Group and version; may be left out for sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind.
    pub kind: String,
    /// Name, or `*` with `matchLabels`.
    pub name: String,
    /// By default that of the receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels of the objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// An expression as [`ReceiverSpec::resource_filter`], which must be true as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// An issuer of identity tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OidcProvider {
    /// Its URL, as tokens name it.
    #[serde(rename = "issuerURL")]
    pub issuer_url: String,
    /// Whom tokens must be for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Names for values.
    pub variables: Vec<OidcVariable>,
    /// What tokens must say.
    pub validations: Vec<OidcValidation>,
}

/// A name for a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OidcVariable {
    /// The name: `vars.<name>`.
    pub name: String,
    /// The value.
    pub expression: String,
}

/// What a token must say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OidcValidation {
    /// An expression that must be true.
    pub expression: String,
    /// What is logged if it is not.
    pub message: String,
}

/// How a receiver is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReceiverStatus {
    /// The generation that the rest is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the sender must send to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_path: Option<String>,
    /// `Ready`, and `Reconciling` or `Stalled`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The request to reconcile that was seen last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
