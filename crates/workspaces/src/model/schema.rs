//! Patterns shared by the schemas, and what the derived definitions need before they are
//! installed.

use serde_json::Value;

/// A DNS subdomain (RFC 1123).
pub(super) const SUBDOMAIN: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A DNS label (RFC 1123).
pub(super) const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// An absolute path below the root.
pub(super) const PATH: &str = r"^/[^/].*$";
/// The id of a port.
pub(super) const PORT_ID: &str = r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$";
/// The name of a ClusterRole: a path segment, so neither `.` nor `..`.
pub(super) const CLUSTER_ROLE: &str = r"^([^./%][^/%]*|\.[^./%][^/%]*|\.[^/%][^/%]+)$";
/// A key of a ConfigMap.
pub(super) const CONFIG_KEY: &str = r"^[-._a-zA-Z0-9]+$";

/// Calls `visit` for every schema directly below this one.
pub(super) fn each_subschema(schema: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    let Some(object) = schema.as_object_mut() else { return };
    for key in ["properties", "patternProperties"] {
        if let Some(properties) = object.get_mut(key).and_then(Value::as_object_mut) {
            properties.values_mut().for_each(&mut *visit);
        }
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(child) = object.get_mut(key) {
            visit(child);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(children) = object.get_mut(key).and_then(Value::as_array_mut) {
            children.iter_mut().for_each(&mut *visit);
        }
    }
}

/// An enum of plain words; its schema is the list of the words.
macro_rules! text_enum {
    ($(#[$outer:meta])* pub enum $name:ident {
        $($(#[$inner:meta])* $variant:ident $(= $word:literal)?,)+
    }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$inner])* $(#[serde(rename = $word)])? $variant,)+
        }

        impl $name {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $crate::model::schema::text_enum!(@word $variant $($word)?),)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "enum": [$(Self::$variant.as_str()),+],
                })
            }
        }
    };
    (@word $variant:ident $word:literal) => { $word };
    (@word $variant:ident) => { stringify!($variant) };
}
pub(super) use text_enum;
