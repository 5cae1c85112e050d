//! The secret that the connect proxy and the program of a workspace share.

use base64::{Engine, engine::general_purpose::STANDARD};
use cluster::{Object, apply, error};
use k8s_openapi::api::core::v1::Secret;
use kube::{api::PostParams, core::ApiResource};
use serde_json::json;

use super::Pass;
use crate::{
    controller::{children, error::StepError, objects},
    decide::naming,
};

/// Bytes of chance in a secret.
const LENGTH: usize = 32;

impl Pass<'_> {
    /// Makes the Secret if there is none; an existing one is never changed, so that what runs keeps
    /// the secret that it was started with.
    pub(super) async fn connect_secret(&self) -> Result<(), StepError> {
        let name = naming::connect_secret(self.key.name());
        let namespace = self.key.namespace();
        let Some(secrets) = self.context.children.secrets.clone() else { return Ok(()) };
        let uid = self.workspace.metadata.uid.as_deref().unwrap_or_default();
        if secrets.get(namespace, &name).is_some_and(|secret| *secret.workspace_uid == *uid) {
            return Ok(());
        }
        let resource = ApiResource::erase::<Secret>(&());
        let api = apply::api(&self.context.client, &resource, namespace.unwrap_or_default());
        match api.create(&PostParams::default(), &self.new_secret(&name)?).await {
            Ok(object) => {
                self.context.options.metrics.wrote("Secret", "create");
                let new = children::written(object, objects::SECRET_FIELDS);
                self.wrote(secrets, None, &new);
                Ok(())
            }
            Err(source) if error::is_already_exists(&source) => {
                let live = api
                    .get(&name)
                    .await
                    .map_err(|source| StepError::call("read the connect Secret", source))?;
                if live.controller_uid() == Some(uid) {
                    return Ok(());
                }
                let kind = "Secret".to_owned();
                Err(StepError::apply(apply::ApplyError::Foreign { kind, name }))
            }
            Err(source) => {
                let kind = "Secret".to_owned();
                Err(StepError::apply(apply::ApplyError::Api { kind, name, source }))
            }
        }
    }

    fn new_secret(&self, name: &str) -> Result<Object, StepError> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes)
            .map_err(|error| StepError::Refused(format!("no random numbers: {error}")))?;
        // Hexadecimal, because it goes into environments and headers as it is.
        let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": objects::metadata(self.workspace, name),
            "data": {objects::CONNECT_TOKEN_KEY: STANDARD.encode(token)},
        })
        .into())
    }
}
