//! Bodies of this contract, one file per noun. What is read is strict and owned; what is only
//! written borrows from the objects it shows.

pub(crate) mod claim;
pub(crate) mod culling;
pub(crate) mod details;
pub(crate) mod event;
pub(crate) mod explanation;
pub(crate) mod kind;
pub(crate) mod kind_edit;
pub(crate) mod list_values;
pub(crate) mod option;
pub(crate) mod option_list;
pub(crate) mod quota;
pub(crate) mod resources;
pub(crate) mod secret;
pub(crate) mod storage_class;
pub(crate) mod workspace;
pub(crate) mod workspace_list;
pub(crate) mod workspace_old;

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{Asset, AssetErrorType, AssetStatus, annotation};

/// Reads `null` like an absent field.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Changes with every change of an object's spec: what a client sends back to show which version
/// it has edited.
pub(crate) fn revision(metadata: &ObjectMeta) -> String {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let generation = metadata.generation.unwrap_or_default();
    hex(&Sha256::digest(format!("{uid}:{name}:{generation}")))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// Who made and changed an object, and when; every key is always there.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Audit<'a> {
    created_at: Option<&'a Time>,
    created_by: Option<&'a str>,
    updated_at: Option<&'a str>,
    updated_by: Option<&'a str>,
    deleted_at: Option<&'a Time>,
}

impl<'a> From<&'a ObjectMeta> for Audit<'a> {
    fn from(metadata: &'a ObjectMeta) -> Self {
        let annotation =
            |key| metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        Self {
            created_at: metadata.creation_timestamp.as_ref(),
            created_by: annotation(annotation::CREATED_BY),
            updated_at: annotation(annotation::UPDATED_AT)
                .filter(|text| text.parse::<Timestamp>().is_ok()),
            updated_by: annotation(annotation::UPDATED_BY),
            deleted_at: metadata.deletion_timestamp.as_ref(),
        }
    }
}

/// Where a client finds a picture.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ImageRef<'a> {
    pub(crate) url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'static str>,
}

impl<'a> ImageRef<'a> {
    /// A picture at a known address.
    pub(crate) fn at(url: &'a str) -> Self {
        Self { url: Cow::Borrowed(url), error: None }
    }

    /// The picture of a kind as 2025-07 shows it: at one address, whatever the kind says.
    pub(crate) fn of_old(kind: &str, which: &str) -> Self {
        let url = format!("/workspaces/backend/api/v1/workspacekinds/{kind}/assets/{which}");
        Self { url: Cow::Owned(url), error: None }
    }

    /// The picture of a kind; `which` is `icon` or `logo`, `prefix` goes before our own paths.
    pub(crate) fn of(
        prefix: &str,
        kind: &str,
        which: &str,
        asset: &'a Asset,
        status: Option<&AssetStatus>,
    ) -> Self {
        if let Some(url) = &asset.url {
            return Self::at(url);
        }
        let prefix = prefix.trim_end_matches('/');
        let mut url = format!("{prefix}/api/v1/workspacekinds/{kind}/assets/{which}");
        if let Some(hash) = status.and_then(|status| status.sha256.as_deref()) {
            url.push_str("?sha256=");
            url.push_str(hash);
        }
        let failure = status.and_then(|status| status.config_map.as_ref());
        let error = failure.map(|failure| match failure.error_type {
            Some(AssetErrorType::NotFound) => "CONFIGMAP_MISSING",
            Some(AssetErrorType::KeyNotFound) => "CONFIGMAP_KEY_MISSING",
            Some(AssetErrorType::Other) => "CONFIGMAP_OTHER",
            None => "CONFIGMAP_UNKNOWN",
        });
        Self { url: Cow::Owned(url), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_is_the_hash_of_uid_name_and_generation() {
        let metadata = ObjectMeta {
            uid: Some("u".into()),
            name: Some("n".into()),
            generation: Some(3),
            ..ObjectMeta::default()
        };
        assert_eq!(
            revision(&metadata),
            "ef31fbfb80e8da34ddc7851c447cb96e0c87d44cafc8994387ddae3e081245a8"
        );
    }

    #[test]
    fn an_unreadable_time_of_change_is_unknown() {
        let annotations = [
            (annotation::UPDATED_AT.to_owned(), "yesterday".to_owned()),
            (annotation::UPDATED_BY.to_owned(), "ann".to_owned()),
        ];
        let metadata =
            ObjectMeta { annotations: Some(annotations.into()), ..ObjectMeta::default() };
        assert_eq!(
            serde_json::to_string(&Audit::from(&metadata)).unwrap(),
            r#"{"createdAt":null,"createdBy":null,"updatedAt":null,"updatedBy":"ann","deletedAt":null}"#
        );
    }

    #[test]
    fn a_picture_in_a_config_map_is_served_by_us() {
        let asset = Asset { url: None, config_map: None };
        let status = AssetStatus { sha256: Some("ab".into()), config_map: None };
        let image = ImageRef::of("/workspaces/", "lab", "icon", &asset, Some(&status));
        assert_eq!(image.url, "/workspaces/api/v1/workspacekinds/lab/assets/icon?sha256=ab");
        assert_eq!(image.error, None);
    }
}
