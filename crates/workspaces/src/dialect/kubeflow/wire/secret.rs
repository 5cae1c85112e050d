//! Secrets: which keys there are, never what they hold.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;
use web::Cause;

use super::{super::body::Validate, Audit, or_default};
use crate::{
    decide::{self, request::is_true},
    model::{GROUP, Workspace, label},
};

/// What a user asks for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecretCreate {
    #[serde(deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "or_default", rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) immutable: bool,
    #[schemars(with = "BTreeMap<String, Key>")]
    pub(crate) contents: Contents,
}

impl Validate for SecretCreate {
    fn validate(&self) -> Vec<Cause> {
        let mut causes = decide::secret::name(&self.name);
        causes.extend(self.contents.check());
        causes
    }
}

/// What a user makes of a Secret.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecretUpdate {
    #[serde(deserialize_with = "or_default", rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) immutable: bool,
    #[schemars(with = "BTreeMap<String, Key>")]
    pub(crate) contents: Contents,
}

impl Validate for SecretUpdate {
    fn validate(&self) -> Vec<Cause> {
        self.contents.check()
    }
}

/// One key of a Secret in a request.
#[derive(JsonSchema)]
#[schemars(rename = "SecretKey")]
#[expect(dead_code, reason = "only its schema is used: values are read without being shown")]
struct Key {
    /// The value, in standard base64 with padding. Without it, the key keeps the value it has.
    #[schemars(extend("format" = "byte"))]
    base64: Option<String>,
}

/// Keys, and the values that are given for them.
///
/// Reading it never words an error with a value in it.
#[derive(Default)]
pub(crate) struct Contents(BTreeMap<String, Given>);

/// What is given for a key.
enum Given {
    /// Nothing.
    Nothing,
    /// A value.
    Value(ByteString),
    /// Something that is no base64.
    Unreadable,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Contents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = match Value::deserialize(deserializer)? {
            Value::Null => return Ok(Self::default()),
            Value::Object(keys) => keys,
            _ => return Err(D::Error::custom("expected an object with a key for each value")),
        };
        let read = |(key, value)| {
            let given = Given::read(value).map_err(|why| format!("{key:?}: {why}"))?;
            Ok((key, given))
        };
        keys.into_iter()
            .map(read)
            .collect::<Result<_, String>>()
            .map(Self)
            .map_err(D::Error::custom)
    }
}

impl Given {
    fn read(value: Value) -> Result<Self, String> {
        let mut fields = match value {
            Value::Null => return Ok(Self::Nothing),
            Value::Object(fields) => fields,
            _ => return Err("expected an object with the field \"base64\"".to_owned()),
        };
        let value = fields.remove("base64");
        if let Some(field) = fields.keys().next() {
            return Err(format!("unknown field {field:?}, expected \"base64\""));
        }
        match value {
            None | Some(Value::Null) => Ok(Self::Nothing),
            Some(Value::String(text)) => Ok(STANDARD
                .decode(text)
                .map_or(Self::Unreadable, |bytes| Self::Value(ByteString(bytes)))),
            Some(_) => Err("expected a string as \"base64\"".to_owned()),
        }
    }
}

impl Contents {
    fn check(&self) -> Vec<Cause> {
        let readable = |given: &Given| !matches!(given, Given::Unreadable);
        decide::secret::contents(self.0.iter().map(|(key, given)| (key.as_str(), readable(given))))
    }

    /// The data of the Secret. A key without a value keeps the one that it has, if it has one.
    pub(crate) fn data(
        &self,
        mut old: BTreeMap<String, ByteString>,
    ) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        for (key, given) in &self.0 {
            let value = match given {
                Given::Value(value) => Some(value.clone()),
                Given::Nothing | Given::Unreadable => old.remove(key),
            };
            data.extend(value.map(|value| (key.clone(), value)));
        }
        data
    }
}

/// A Secret by itself, or as it was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SecretView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
    immutable: bool,
    contents: BTreeMap<&'a str, Withheld>,
}

/// What is shown of a value: nothing.
#[derive(Debug, Serialize, JsonSchema)]
struct Withheld {}

impl<'a> SecretView<'a> {
    /// The answer to who made it.
    pub(crate) fn named(secret: &'a Secret) -> Self {
        Self { name: secret.metadata.name.as_deref(), ..Self::from(secret) }
    }
}

impl<'a> From<&'a Secret> for SecretView<'a> {
    fn from(secret: &'a Secret) -> Self {
        let keys = secret.data.iter().flat_map(BTreeMap::keys);
        Self {
            name: None,
            kind: secret.type_.as_deref().unwrap_or_default(),
            immutable: secret.immutable.unwrap_or_default(),
            contents: keys.map(|key| (key.as_str(), Withheld {})).collect(),
        }
    }
}

/// An item of the list of Secrets.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretListItem<'a> {
    name: &'a str,
    can_update: bool,
    can_mount: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mount<'a>>,
    audit: Audit<'a>,
}

/// Who mounts a Secret.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "SecretUser")]
pub(crate) struct Mount<'a> {
    group: &'a str,
    kind: &'a str,
    name: &'a str,
}

impl<'a> From<&'a Workspace> for Mount<'a> {
    fn from(workspace: &'a Workspace) -> Self {
        let name = workspace.metadata.name.as_deref().unwrap_or_default();
        Self { group: GROUP, kind: "Workspace", name }
    }
}

impl<'a> SecretListItem<'a> {
    pub(crate) fn new(metadata: &'a ObjectMeta, mounts: Vec<Mount<'a>>) -> Self {
        let labels = metadata.labels.as_ref();
        Self {
            name: metadata.name.as_deref().unwrap_or_default(),
            can_update: is_true(labels, label::CAN_UPDATE),
            can_mount: is_true(labels, label::CAN_MOUNT),
            mounts,
            audit: metadata.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<SecretUpdate, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn no_error_and_no_debug_text_has_a_value_in_it() {
        for json in [
            r#"{"contents":"hunter2"}"#,
            r#"{"contents":["hunter2"]}"#,
            r#"{"contents":{"a":"hunter2"}}"#,
            r#"{"contents":{"a":{"base64":["hunter2"]}}}"#,
            r#"{"contents":{"a":{"base64":{"hunter2":1}}}}"#,
        ] {
            let error = read(json).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for value in ["hunter2", "aHVudGVyMg==", "hunter2="] {
            let json = format!(r#"{{"contents":{{"a":{{"base64":{value:?}}}}}}}"#);
            let update = read(&json).unwrap();
            let text = format!("{update:?} {:?}", update.validate());
            assert!(!text.contains("hunter2") && !text.contains(value), "{text}");
        }
    }

    #[test]
    fn a_key_without_a_value_keeps_its_own() {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let old = [("keep", "1"), ("change", "2"), ("drop", "3")];
        let old = old.map(|(key, text)| (key.to_owned(), bytes(text))).into();
        let json = r#"{"contents":{"keep":{},"change":{"base64":"NA=="},"new":{"base64":""},
            "nothing":null}}"#;
        let data = read(json).unwrap().contents.data(old);
        let expected = [("change", "4"), ("keep", "1"), ("new", "")];
        let expected: BTreeMap<_, _> =
            expected.map(|(key, text)| (key.to_owned(), bytes(text))).into();
        assert_eq!(data, expected);
    }
}
