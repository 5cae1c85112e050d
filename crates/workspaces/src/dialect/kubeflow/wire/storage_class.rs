//! Storage classes as users see them.

use k8s_openapi::{api::storage::v1::StorageClass, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    decide::request::is_true,
    model::{annotation, label},
};

/// Kubernetes' own mark.
const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// An item of the list of storage classes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageClassItem<'a> {
    #[serde(flatten)]
    name: StorageClassName<'a>,
    can_use: bool,
    /// Whether claims that name no class get this one.
    is_default: bool,
    provisioner: &'a str,
    allow_volume_expansion: bool,
    volume_binding_mode: &'a str,
}

/// How a storage class is called, for machines and for humans.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageClassName<'a> {
    name: &'a str,
    display_name: &'a str,
    description: &'a str,
}

impl<'a> From<&'a StorageClass> for StorageClassItem<'a> {
    fn from(class: &'a StorageClass) -> Self {
        let labels = class.metadata.labels.as_ref();
        Self {
            name: class.into(),
            can_use: is_true(labels, label::CAN_USE),
            is_default: is_true(class.metadata.annotations.as_ref(), IS_DEFAULT),
            provisioner: &class.provisioner,
            allow_volume_expansion: class.allow_volume_expansion.unwrap_or_default(),
            volume_binding_mode: class.volume_binding_mode.as_deref().unwrap_or("Immediate"),
        }
    }
}

impl<'a> From<&'a StorageClass> for StorageClassName<'a> {
    fn from(class: &'a StorageClass) -> Self {
        Self {
            name: class.metadata.name.as_deref().unwrap_or_default(),
            display_name: text(&class.metadata, annotation::DISPLAY_NAME),
            description: text(&class.metadata, annotation::DESCRIPTION),
        }
    }
}

fn text<'a>(metadata: &'a ObjectMeta, key: &str) -> &'a str {
    let annotations = metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(key)).map_or("", String::as_str)
}
