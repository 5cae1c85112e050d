//! Objects as JSON, and what they are known by.

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    namespace: Box<str>,
    name: Box<str>,
}

impl Key {
    /// The key of an object; no namespace for cluster-wide ones.
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        Self { namespace: namespace.unwrap_or_default().into(), name: name.into() }
    }

    /// The key that metadata gives.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default())
    }

    /// Its namespace; none for cluster-wide objects.
    pub fn namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(&*self.namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace() {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// An object of any kind as the JSON it came as, so that nothing is lost between read and write.
///
/// `metadata.managedFields` is not even read: it can be as large as the rest, nobody here asks who
/// wrote which field, and an API server keeps its own when none come back.
#[derive(Debug, Clone)]
pub struct Object {
    /// Only what addresses the object; everything else is in the JSON.
    meta: ObjectMeta,
    value: Value,
}

impl Object {
    /// The JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The JSON, to keep.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// The string at a JSON pointer; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// What it is known by.
    pub fn key(&self) -> Key {
        Key::of(&self.meta)
    }

    /// Its unique id; empty before it is created.
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// The uid of its controlling owner.
    pub fn controller_uid(&self) -> Option<&str> {
        let owners = self.value.pointer("/metadata/ownerReferences")?.as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        owner.get("uid")?.as_str()
    }
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        let text = |key| {
            value
                .get("metadata")
                .and_then(|m| m.get(key))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Self { meta, value }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Level::Object.deserialize(deserializer)?;
        if !map.contains_key("metadata") {
            return Err(D::Error::missing_field("metadata"));
        }
        Ok(Value::Object(map).into())
    }
}

/// Which fields are read: those of an object, or of its metadata.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Metadata,
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Object { "an object" } else { "metadata" })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = match (self, name.as_str()) {
                (Self::Metadata, "managedFields") => {
                    access.next_value::<IgnoredAny>()?;
                    continue;
                }
                (Self::Object, "metadata") => {
                    Value::Object(access.next_value_seed(Self::Metadata)?)
                }
                _ => access.next_value()?,
            };
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

impl Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_whole_but_for_managed_fields() {
        let text = r#"{"kind": "X", "metadata": {"name": "a", "managedFields": [{"manager": "m"}],
            "labels": {"managedFields": "kept"}}, "spec": {"metadata": {"managedFields": 1}}}"#;
        let mut whole: Value = serde_json::from_str(text).unwrap();
        let object: Object = serde_json::from_str(text).unwrap();
        assert_eq!(object.key(), Key::new(None, "a"));
        whole["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert_eq!(*object.value(), whole);
        for bad in ["[]", "{}", r#"{"metadata": null}"#, r#"{"metadata": "x"}"#] {
            assert!(serde_json::from_str::<Object>(bad).is_err(), "{bad}");
        }
    }
}
