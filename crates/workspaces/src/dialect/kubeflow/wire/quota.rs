//! What a namespace may use, and what it does.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceQuota, apimachinery::pkg::api::resource::Quantity};
use schemars::JsonSchema;
use serde::Serialize;

/// A quota of a namespace.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct QuotaItem<'a> {
    name: &'a str,
    /// What it is about; everything when absent.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes: &'a [String],
    #[schemars(with = "BTreeMap<String, String>")]
    hard: BTreeMap<&'a str, &'a str>,
    #[schemars(with = "BTreeMap<String, String>")]
    used: BTreeMap<&'a str, &'a str>,
}

impl<'a> From<&'a ResourceQuota> for QuotaItem<'a> {
    fn from(quota: &'a ResourceQuota) -> Self {
        let (spec, status) = (quota.spec.as_ref(), quota.status.as_ref());
        let hard = spec.and_then(|spec| spec.hard.as_ref());
        let used = status.and_then(|status| status.used.as_ref());
        let scopes = spec.and_then(|spec| spec.scopes.as_deref());
        Self {
            name: quota.metadata.name.as_deref().unwrap_or_default(),
            scopes: scopes.unwrap_or_default(),
            hard: texts(hard),
            used: texts(used),
        }
    }
}

fn texts(amounts: Option<&BTreeMap<String, Quantity>>) -> BTreeMap<&str, &str> {
    let amounts = amounts.into_iter().flatten();
    amounts.map(|(resource, amount)| (resource.as_str(), amount.0.as_str())).collect()
}
