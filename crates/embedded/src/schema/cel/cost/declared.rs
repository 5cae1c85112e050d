//! A schema as expressions see it: types, and the largest size that each value can have.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// The largest request.
pub(super) const REQUEST_BYTES: u64 = 3 << 20;
/// Quotes or brackets around nothing.
const EMPTY_BYTES: u64 = 2;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Number,
    String,
    Bytes,
    /// A time or a duration.
    Time,
    List,
    Map,
    Object,
    /// Known only when there is a value.
    Dynamic,
}

impl Type {
    /// Whether all values of the type are of one size.
    pub(super) fn is_scalar(self) -> bool {
        matches!(self, Self::Bool | Self::Number | Self::Time)
    }
}

/// A level of a schema.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) ty: Type,
    /// The most bytes, items or entries that a value can have.
    pub(super) most: u64,
    /// The fewest bytes that a value takes in a request.
    pub(super) least_bytes: u64,
    pub(super) fields: BTreeMap<String, Self>,
    /// Of the items of a list, of the values of a map.
    pub(super) element: Option<Box<Self>>,
}

impl Declared {
    fn plain(ty: Type, least_bytes: u64, most: u64) -> Self {
        Self { ty, most, least_bytes, fields: BTreeMap::new(), element: None }
    }

    /// None if expressions do not see values of the schema.
    pub(super) fn of(props: &JSONSchemaProps, is_root: bool) -> Option<Self> {
        let longest = || match props.max_length {
            Some(length) => u64::try_from(length).unwrap_or(0).saturating_mul(4),
            None => REQUEST_BYTES - EMPTY_BYTES,
        };
        if props.x_kubernetes_int_or_string == Some(true) {
            return Some(Self::plain(Type::Dynamic, 1, longest()));
        }
        let bound = |most: i64| u64::try_from(most).unwrap_or(0);
        let ty = match is_root {
            true => "object",
            false => props.type_.as_deref()?,
        };
        Some(match ty {
            "array" => {
                let Some(JSONSchemaPropsOrArray::Schema(items)) = &props.items else { return None };
                let element = Self::of(items, items.x_kubernetes_embedded_resource == Some(true))?;
                let fit = (REQUEST_BYTES - EMPTY_BYTES) / (element.least_bytes + 1);
                let most = props.max_items.map_or(fit, bound);
                Self { element: Some(Box::new(element)), ..Self::plain(Type::List, 2, most) }
            }
            "object" => match &props.additional_properties {
                Some(JSONSchemaPropsOrBool::Schema(values)) => {
                    let embedded = values.x_kubernetes_embedded_resource == Some(true);
                    let element = Self::of(values, embedded)?;
                    // A key, its quotes, a colon and a comma beside each value.
                    let fit = (REQUEST_BYTES - EMPTY_BYTES) / (element.least_bytes + 6);
                    let most = props.max_properties.map_or(fit, bound);
                    Self { element: Some(Box::new(element)), ..Self::plain(Type::Map, 2, most) }
                }
                _ => Self::object(props, is_root),
            },
            "string" => match props.format.as_deref() {
                Some("byte") => {
                    let most = props.max_length.map_or(REQUEST_BYTES - EMPTY_BYTES, bound);
                    Self::plain(Type::Bytes, EMPTY_BYTES, most)
                }
                Some("duration") => Self::plain(Type::Time, 3, 32),
                Some("date") => Self::plain(Type::Time, 12, 12),
                Some("date-time") => Self::plain(Type::Time, 21, 32),
                _ => {
                    let values = props.enum_.as_deref().unwrap_or_default().iter();
                    let values = values.filter_map(|value| Some(value.0.as_str()?.len()));
                    let most = match (props.max_length, values.max()) {
                        (None, Some(most)) => u64::try_from(most).unwrap_or(u64::MAX),
                        _ => longest(),
                    };
                    Self::plain(Type::String, EMPTY_BYTES, most)
                }
            },
            "boolean" => Self::plain(Type::Bool, 4, 0),
            "number" | "integer" => Self::plain(Type::Number, 1, 0),
            _ => return None,
        })
    }

    fn object(props: &JSONSchemaProps, is_root: bool) -> Self {
        let mut object = Self::plain(Type::Object, EMPTY_BYTES, 0);
        let required = props.required.as_deref().unwrap_or_default();
        for (name, property) in props.properties.iter().flatten() {
            let embedded = property.x_kubernetes_embedded_resource == Some(true);
            let Some(field) = Self::of(property, embedded) else { continue };
            if required.contains(name) && property.default.is_none() {
                let name = u64::try_from(name.len()).unwrap_or(u64::MAX);
                let more = name.saturating_add(field.least_bytes).saturating_add(4);
                object.least_bytes = object.least_bytes.saturating_add(more);
            }
            object.fields.insert(name.clone(), field);
        }
        if is_root {
            let text = || Self::plain(Type::String, EMPTY_BYTES, REQUEST_BYTES - EMPTY_BYTES);
            let mut metadata = Self::plain(Type::Object, EMPTY_BYTES, 0);
            for name in ["generateName", "name"] {
                let known = object
                    .fields
                    .get_mut("metadata")
                    .and_then(|metadata| metadata.fields.remove(name));
                metadata.fields.insert(name.into(), known.unwrap_or_else(text));
            }
            object.fields.insert("metadata".into(), metadata);
            for name in ["apiVersion", "kind"] {
                object.fields.entry(name.into()).or_insert_with(text);
            }
        }
        object
    }
}
