//! What somebody has chosen so far, when they ask which options are left.

use schemars::JsonSchema;
use serde::Deserialize;
use web::Cause;

use super::{super::body::Validate, or_default};
use crate::decide;

/// The body of the request for options.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ListValues {
    #[serde(deserialize_with = "or_default")]
    context: ListContext,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ListContext {
    namespace: Option<NamespaceRef>,
    image_config: Option<OptionRef>,
    pod_config: Option<OptionRef>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NamespaceRef {
    #[serde(deserialize_with = "or_default")]
    name: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct OptionRef {
    #[serde(deserialize_with = "or_default")]
    id: String,
}

impl ListValues {
    /// The namespace, if one is named.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.context.namespace.as_ref().map(|namespace| namespace.name.as_str())
    }

    /// The id of the image, if one is chosen.
    pub(crate) fn image(&self) -> Option<&str> {
        self.context.image_config.as_ref().map(|image| image.id.as_str())
    }

    /// The id of the pod option, if one is chosen.
    pub(crate) fn pod(&self) -> Option<&str> {
        self.context.pod_config.as_ref().map(|pod| pod.id.as_str())
    }
}

impl Validate for ListValues {
    fn validate(&self) -> Vec<Cause> {
        decide::request::option_context(self.namespace(), self.image(), self.pod())
    }
}
