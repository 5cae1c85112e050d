//! Values of Kubernetes' own types inside our custom resources.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A core/v1 value that is checked by the schema of `K` and otherwise copied through untouched.
///
/// Parsing it into `K` would refuse or reword what an API server accepts (a quantity written as a
/// number, a field of a newer Kubernetes), and the controller has no business with its inside.
pub struct Core<K> {
    value: Value,
    kind: PhantomData<fn() -> K>,
}

impl<K> Core<K> {
    /// The string at a top-level key, such as the `name` of a volume.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value.get(key)?.as_str()
    }

    /// The JSON itself.
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl<K> From<Value> for Core<K> {
    fn from(value: Value) -> Self {
        Self { value, kind: PhantomData }
    }
}

impl<K> Deref for Core<K> {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl<K> Clone for Core<K> {
    fn clone(&self) -> Self {
        Self::from(self.value.clone())
    }
}

impl<K> PartialEq for Core<K> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<K> fmt::Debug for Core<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<K> Serialize for Core<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, K> Deserialize<'de> for Core<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Every core type that appears here is an object; anything else is a bad manifest.
        Map::deserialize(deserializer).map(|map| Self::from(Value::Object(map)))
    }
}

impl<K: JsonSchema> JsonSchema for Core<K> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        K::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        core_schema::<K>(generator)
    }
}

/// The schema of a core type without its documentation, which would make our definitions several
/// times larger than their content.
pub(super) fn core_schema<K: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut value = K::json_schema(generator).to_value();
    strip_descriptions(&mut value);
    Schema::try_from(value).unwrap_or_default()
}

fn strip_descriptions(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("description");
    }
    super::schema::each_subschema(schema, &mut strip_descriptions);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ResourceRequirements;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_keep_their_wording() {
        let value = json!({"requests": {"cpu": 1, "memory": "1024Ki"}, "fromTheFuture": true});
        let core: Core<ResourceRequirements> = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&core).unwrap(), value);
    }

    #[test]
    fn only_objects_are_taken() {
        assert!(serde_json::from_value::<Core<ResourceRequirements>>(json!("1")).is_err());
    }
}
