//! Custom resource definitions: derived from types, committed as JSON, installed.
//!
//! A program carries the committed text and not the derivation: schemas of pods and all that they
//! hold are a tenth of its memory to make and a hundredth to read. A test of each room holds the
//! text to the types.

use std::{fs, io, path::Path, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation,
};
use kube::{Api, Client, api::PostParams, core::ApiResource};
use serde_json::Value;

use crate::{Object, apply, error};

/// How long the API may take to serve a new definition.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Why definitions could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The API refused one.
    #[error("cannot install the definition {name}")]
    Refused {
        /// Name of the definition.
        name: String,
        /// What the API said.
        source: kube::Error,
    },
    /// Nobody installed it.
    #[error("the API does not know {name}: its definition is not installed")]
    NotServed {
        /// Name of the definition.
        name: String,
    },
    /// The API took one and does not serve it.
    #[error("the API does not serve {name}: {reason}")]
    NotEstablished {
        /// Name of the definition.
        name: String,
        /// What its conditions say.
        reason: String,
    },
}

/// A derived definition as people would write it: no titles, and optional fields are left out, not
/// null.
pub fn tidy(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let unchanged = definition.clone();
    let Ok(mut value) = serde_json::to_value(definition) else { return unchanged };
    for version in value["spec"]["versions"].as_array_mut().into_iter().flatten() {
        tidy_schema(&mut version["schema"]["openAPIV3Schema"]);
    }
    serde_json::from_value(value).unwrap_or(unchanged)
}

fn tidy_schema(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("nullable");
    object.remove("title");
    if let Some(words) = object.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    for (key, child) in object {
        match (key.as_str(), child) {
            ("properties" | "patternProperties", Value::Object(children)) => {
                children.values_mut().for_each(tidy_schema);
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(children)) => {
                children.iter_mut().for_each(tidy_schema);
            }
            ("items" | "additionalProperties" | "not", child) => tidy_schema(child),
            _ => {}
        }
    }
}

/// Writes a derived definition to its file in `directory`, named `PLURAL.GROUP.json`, unless that
/// is what it says already. `true` if it had to. For `cargo xtask generate` and the tests behind it.
pub fn commit(directory: &Path, definition: &CustomResourceDefinition) -> io::Result<bool> {
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    let file = directory.join(name).with_added_extension("json");
    // By way of a value: its keys are sorted, whatever the order in the types.
    let text = format!("{}\n", serde_json::to_value(definition)?);
    if fs::read_to_string(&file).is_ok_and(|committed| committed == text) {
        return Ok(false);
    }
    fs::write(file, text)?;
    Ok(true)
}

/// Creates or updates the definitions and waits until the API serves them. Those that are as
/// wanted are not written.
///
/// They are handled as JSON, and read one after the other: a schema takes ten times the memory of
/// its text, a typed one a hundred times.
pub async fn install(
    client: &Client,
    definitions: impl IntoIterator<Item = Value>,
) -> Result<(), InstallError> {
    let api: Api<Object> =
        Api::all_with(client.clone(), &ApiResource::erase::<CustomResourceDefinition>(&()));
    let mut names = Vec::new();
    for wanted in definitions {
        let name = name(&wanted);
        let refused = |source| InstallError::Refused { name: name.clone(), source };
        put(&api, &name, wanted.into()).await.map_err(refused)?;
        names.push(name);
    }
    for name in names {
        established(&api, &name).await?;
    }
    Ok(())
}

/// Whether the API serves the definitions already. Asks what everybody may ask, which is not the
/// definitions themselves.
pub async fn served(
    client: &Client,
    definitions: impl IntoIterator<Item = Value>,
) -> Result<(), InstallError> {
    for wanted in definitions {
        let name = name(&wanted);
        let missing = || InstallError::NotServed { name: name.clone() };
        let spec = &wanted["spec"];
        let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
        for version in versions.iter().filter(|version| version["served"] == true) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let group = format!("{}/{}", text(&spec["group"]), text(&version["name"]));
            let listed = client.list_api_group_resources(&group).await;
            let listed = listed.map_err(|source| match error::is_not_found(&source) {
                true => missing(),
                false => InstallError::Refused { name: name.clone(), source },
            })?;
            if !listed.resources.iter().any(|known| known.name == spec["names"]["plural"]) {
                return Err(missing());
            }
        }
    }
    Ok(())
}

fn name(definition: &Value) -> String {
    definition["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

async fn put(api: &Api<Object>, name: &str, wanted: Object) -> Result<(), kube::Error> {
    loop {
        let written = match api.get_opt(name).await? {
            None => api.create(&PostParams::default(), &wanted).await.map(drop),
            Some(live) if is_as_wanted(live.value(), wanted.value()) => return Ok(()),
            Some(live) => {
                let mut live = live.into_value();
                live["spec"] = wanted.value()["spec"].clone();
                api.replace(name, &PostParams::default(), &live.into()).await.map(drop)
            }
        };
        match written {
            // Somebody else installs it too: look again.
            Err(error) if error::is_conflict(&error) || error::is_already_exists(&error) => {}
            written => return written,
        }
    }
}

fn is_as_wanted(live: &Value, wanted: &Value) -> bool {
    // Fields that vanished from a schema matter, defaults that the API fills in elsewhere do not.
    let schemas = |crd: &Value| -> Vec<Value> {
        let versions = crd["spec"]["versions"].as_array();
        versions.into_iter().flatten().map(|version| version["schema"].clone()).collect()
    };
    let (live_schemas, wanted_schemas) = (schemas(live), schemas(wanted));
    (live_schemas == wanted_schemas || normal(live_schemas) == normal(wanted_schemas))
        && apply::covers(&live["spec"], &wanted["spec"])
}

/// Schemas as their type writes them: an API server may word a number differently.
fn normal(schemas: Vec<Value>) -> Vec<Option<CustomResourceValidation>> {
    schemas.into_iter().map(|schema| serde_json::from_value(schema).ok()).collect()
}

async fn established(api: &Api<Object>, name: &str) -> Result<(), InstallError> {
    let deadline = tokio::time::Instant::now() + ESTABLISHED_WITHIN;
    loop {
        let found = api
            .get_opt(name)
            .await
            .map_err(|source| InstallError::Refused { name: name.to_owned(), source })?;
        let reason = match found.as_ref().map(|crd| not_established(crd.value())) {
            Some(None) => return Ok(()),
            Some(Some(reason)) => reason,
            None => "it was deleted".to_owned(),
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(InstallError::NotEstablished { name: name.to_owned(), reason });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn not_established(crd: &Value) -> Option<String> {
    let conditions = crd["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    if conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True") {
        return None;
    }
    let refused = conditions.iter().find(|c| c["status"] == "False");
    let text = refused.and_then(|c| c["message"].as_str().or_else(|| c["reason"].as_str()));
    Some(text.unwrap_or("it is not established yet").to_owned())
}
