//! Rules of admission by functions: when they are asked, what they see, how a refusal looks.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::{Arc, Mutex};

use embedded::{
    Cluster, Options,
    api::admission::{Admission, AdmissionRequest, Denial},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Error,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// Refuses config maps that hold `bad`, and the deletion of `kept`; remembers what it was asked.
#[derive(Default)]
struct Rule {
    asked: Mutex<Vec<String>>,
}

impl Admission for Rule {
    fn name(&self) -> &str {
        "rule.example.com"
    }

    fn review(&self, request: &AdmissionRequest<'_>) -> Result<Vec<String>, Denial> {
        if request.resource != "configmaps" {
            return Ok(Vec::new());
        }
        let asked = format!(
            "{:?} {}/{} by {} new={} old={} dry={}",
            request.operation,
            request.namespace,
            request.name,
            request.user.name,
            request.object.is_some(),
            request.old_object.is_some(),
            request.dry_run,
        );
        self.asked.lock().unwrap().push(asked);
        if request.value("/data/bad").is_some() {
            return Err(Denial::forbidden("this is bad"));
        }
        if request.object.is_none() && request.name == "kept" {
            let denial = Denial { code: 409, ..Denial::forbidden("it is kept") };
            return Err(Denial { reason: "Conflict".into(), ..denial });
        }
        Ok(vec!["looked at".into()])
    }
}

fn config_map(name: &str, key: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {key: "x"}})).unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String, String) {
    let Error::Api(status) = result.unwrap_err() else { return Default::default() };
    (status.code, status.reason, status.message)
}

#[tokio::test]
async fn every_write_is_asked_for_and_a_refusal_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(Options::new(directory.path())).await.unwrap();
    let rule = Arc::new(Rule::default());
    cluster.set_admission(vec![rule.clone()]);
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let forbidden = (
        403,
        "Forbidden".to_owned(),
        "admission webhook \"rule.example.com\" denied the request: this is bad".to_owned(),
    );
    let params = PostParams::default();
    assert_eq!(refusal(api.create(&params, &config_map("a", "bad")).await), forbidden);
    assert!(api.get_opt("a").await.unwrap().is_none());
    api.create(&params, &config_map("a", "good")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"bad": "x"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await;
    assert_eq!(refusal(patched), forbidden);
    assert_eq!(api.get("a").await.unwrap().data.unwrap().len(), 1);
    let dry = PostParams { dry_run: true, ..Default::default() };
    assert_eq!(refusal(api.create(&dry, &config_map("b", "bad")).await), forbidden);
    api.create(&params, &config_map("kept", "good")).await.unwrap();
    let (code, reason, message) = refusal(api.delete("kept", &DeleteParams::default()).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.ends_with("denied the request: it is kept"), "{message}");
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let asked = rule.asked.lock().unwrap().clone();
    let by = "by kubernetes-admin";
    assert_eq!(
        asked,
        [
            format!("Create default/a {by} new=true old=false dry=false"),
            format!("Create default/a {by} new=true old=false dry=false"),
            format!("Update default/a {by} new=true old=true dry=false"),
            format!("Create default/b {by} new=true old=false dry=true"),
            format!("Create default/kept {by} new=true old=false dry=false"),
            format!("Delete default/kept {by} new=false old=true dry=false"),
            format!("Delete default/a {by} new=false old=true dry=false"),
        ]
    );
}

#[tokio::test]
async fn the_rules_of_a_kind_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(Options::new(directory.path())).await.unwrap();
    let rule = Arc::new(Rule::default());
    cluster.set_admission(vec![rule.clone()]);
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let (code, ..) = refusal(api.create(&PostParams::default(), &config_map("A", "bad")).await);
    assert_eq!(code, 422);
    assert!(rule.asked.lock().unwrap().is_empty());
}
