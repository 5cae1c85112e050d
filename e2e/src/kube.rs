//! A Kubernetes API, reached as its kubeconfig says: raw requests, so that a test sees what any
//! client would see.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Certificate, Identity, Method,
    header::{self, HeaderMap, HeaderValue},
};
use serde_json::Value;

use crate::up::{Answer, http_client};

/// A client of one API.
#[derive(Debug, Clone)]
pub struct Kube {
    url: String,
    http: reqwest::Client,
}

impl Kube {
    /// Reads the only cluster and the only user of a kubeconfig with its data inside.
    pub fn new(kubeconfig: &Path) -> Self {
        let text = fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let config: Value = serde_saphyr::from_str(&text).expect("YAML");
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let data = |value: &Value| {
            value.as_str().map(|text| STANDARD.decode(text).expect("base64 in the kubeconfig"))
        };
        let mut http = http_client();
        if let Some(authority) = data(&cluster["certificate-authority-data"]) {
            let certificates = Certificate::from_pem_bundle(&authority).expect("certificates");
            http = http.tls_certs_only(certificates);
        }
        let (certificate, key) = (&user["client-certificate-data"], &user["client-key-data"]);
        if let (Some(mut certificate), Some(key)) = (data(certificate), data(key)) {
            certificate.extend(key);
            http = http.identity(Identity::from_pem(&certificate).expect("a certificate with key"));
        }
        if let Some(token) = user["token"].as_str() {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a plain token");
            http = http.default_headers(HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]));
        }
        let url = cluster["server"].as_str().expect("an address").trim_end_matches('/').to_owned();
        Self { url, http: http.build().expect("a client") }
    }

    /// Any request; `path` begins with `/api`.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.expect("an answer of the API")).await
    }

    /// Changes what a merge patch names, whatever the version.
    pub async fn merge(&self, path: &str, patch: &Value) -> Answer {
        let request = self.http.patch(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/merge-patch+json").json(patch);
        Answer::of(request.send().await.expect("an answer of the API")).await
    }

    /// An object or list.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// Makes an object, or leaves the one of that name alone.
    pub async fn create(&self, path: &str, object: &Value) {
        let answer = self.send(Method::POST, path, Some(object)).await;
        assert!(matches!(answer.status.as_u16(), 201 | 409), "{answer:?}");
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, path: &str) {
        let answer = self.send(Method::DELETE, path, None).await;
        assert!(matches!(answer.status.as_u16(), 200 | 202 | 404), "{answer:?}");
    }
}
