//! Storage classes as users see them.

use k8s_openapi::{api::storage::v1::StorageClass, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    decide::request::is_true,
    model::{annotation, label},
};

/// An item of the list of storage classes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageClassItem<'a> {
    #[serde(flatten)]
    name: StorageClassName<'a>,
    can_use: bool,
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
        Self { name: class.into(), can_use: is_true(labels, label::CAN_USE) }
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
