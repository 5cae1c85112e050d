//! The `ValidatingWebhookConfiguration`: which writes API servers ask us about, where, and whom they
//! believe.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, Client, api::PostParams, core::ApiResource};
use serde_json::{Value, json};

use crate::{Object, apply::covers, error};

/// Others say by an annotation of this prefix that they put the authority in.
const INJECTED: &str = "cert-manager.io/inject-";

/// One webhook.
#[derive(Debug, Clone, Copy)]
pub struct Webhook {
    /// Its name, which refusals carry.
    pub name: &'static str,
    /// Where it is asked.
    pub path: &'static str,
    /// The group of the resource.
    pub group: &'static str,
    /// The versions that it is asked about.
    pub version: &'static str,
    /// The plural of the resource.
    pub resource: &'static str,
    /// `CREATE`, `UPDATE`, `DELETE`.
    pub operations: &'static [&'static str],
    /// `Namespaced` or `Cluster`.
    pub scope: &'static str,
}

/// How API servers reach us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// By a Service, at port 443.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// At an address, `https://HOST[:PORT]`, from outside of the cluster.
    Url(String),
}

impl Reached {
    /// The names that a certificate has to prove.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Service { namespace, name } => vec![format!("{name}.{namespace}.svc")],
            Self::Url(url) => {
                let uri: Option<http::Uri> = url.parse().ok();
                let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
                vec![host.trim_start_matches('[').trim_end_matches(']').to_owned()]
            }
        }
    }

    fn client(&self, path: &str) -> Value {
        match self {
            Self::Service { namespace, name } => json!({"service": {
                "namespace": namespace, "name": name, "path": path, "port": 443,
            }}),
            Self::Url(url) => json!({"url": format!("{}{path}", url.trim_end_matches('/'))}),
        }
    }
}

/// A configuration and what should be in it.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its name. No other is ever touched.
    pub name: &'static str,
    /// Its webhooks; those that others added stay.
    pub webhooks: &'static [Webhook],
    /// Where they are.
    pub reached: Reached,
    /// Whether it is made if it is missing.
    pub create: bool,
}

impl Configuration {
    /// The whole object, as it is without anybody else's doing and without authorities.
    pub fn manifest(&self) -> Value {
        self.over(None, None)
    }

    /// Makes the cluster's configuration like this one, with this bundle of authorities if they are
    /// ours to say. A configuration that is as wanted is not written. Whether it was.
    pub async fn apply(&self, client: &Client, bundle: Option<&str>) -> Result<bool, kube::Error> {
        let resource = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
        let api: Api<Object> = Api::all_with(client.clone(), &resource);
        let params = PostParams::default();
        let written = match api.get_opt(self.name).await? {
            None if !self.create => return Err(missing(self.name)),
            None => api.create(&params, &self.over(None, bundle).into()).await,
            Some(live) => {
                let live = live.into_value();
                let wanted = self.over(Some(&live), bundle);
                if covers(&live["webhooks"], &wanted["webhooks"]) {
                    return Ok(false);
                }
                api.replace(self.name, &params, &wanted.into()).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Another replica was faster: what is missing then is seen with the next look.
            Err(error) if error::is_conflict(&error) || error::is_already_exists(&error) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The configuration with our part as wanted and all else as it is.
    fn over(&self, live: Option<&Value>, bundle: Option<&str>) -> Value {
        let mut wanted = live.cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": self.name},
            })
        });
        let annotations = wanted["metadata"]["annotations"].as_object();
        let injected =
            annotations.is_some_and(|all| all.keys().any(|key| key.starts_with(INJECTED)));
        let bundle = bundle.filter(|_| !injected).map(|bundle| STANDARD.encode(bundle));
        let mut webhooks = wanted["webhooks"].as_array().cloned().unwrap_or_default();
        for webhook in self.webhooks {
            let there = webhooks.iter().position(|live| live["name"] == webhook.name);
            let index = there.unwrap_or_else(|| {
                webhooks.push(json!({}));
                webhooks.len() - 1
            });
            let Some(live) = webhooks.get_mut(index) else { continue };
            let mut client = self.reached.client(webhook.path);
            match &bundle {
                Some(bundle) => client["caBundle"] = json!(bundle),
                None => client["caBundle"] = live["clientConfig"]["caBundle"].clone(),
            }
            if client["caBundle"].is_null() {
                client.as_object_mut().and_then(|client| client.remove("caBundle"));
            }
            let fields = json!({
                "name": webhook.name,
                "clientConfig": client,
                "rules": [{
                    "apiGroups": [webhook.group],
                    "apiVersions": [webhook.version],
                    "operations": webhook.operations,
                    "resources": [webhook.resource],
                    "scope": webhook.scope,
                }],
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "sideEffects": "None",
                "timeoutSeconds": 10,
                "admissionReviewVersions": ["v1"],
            });
            if let (Value::Object(live), Value::Object(fields)) = (live, fields) {
                live.extend(fields);
            }
        }
        wanted["webhooks"] = webhooks.into();
        wanted
    }
}

fn missing(name: &str) -> kube::Error {
    let message = format!("validatingwebhookconfigurations {name:?} not found");
    kube::Error::Api(Box::new(kube::core::Status::failure(&message, "NotFound").with_code(404)))
}
