//! What is asked about each request before it is served: the table of the contract, line by line.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Router, body::Body};
use cluster::{Access, access::Reviews};
use http::{Request, Response, StatusCode, header};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use web::Handler;
use workspaces::dialect::kubeflow::{Options, State, before, endpoints};

use crate::harness::{Server, kind, workspace};

type Asked = Arc<Mutex<Vec<String>>>;

/// Says no to every review, and notes what was asked.
fn refusing(asked: Asked) -> Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let asked = asked.clone();
        async move {
            let body = request.into_body().collect_bytes().await?;
            let mut review: Value = serde_json::from_slice(&body)?;
            let spec = &review["spec"];
            assert_eq!((&spec["user"], &spec["groups"]), (&json!("ada"), &json!(["staff", "a,b"])));
            let what = &spec["resourceAttributes"];
            assert!(what["subresource"].is_null(), "{what}");
            let part = |key: &str| what[key].as_str().unwrap_or("-").to_owned();
            let group = if part("group") == "-" { String::new() } else { part("group") };
            asked.lock().push(format!(
                "{} {group}/{} {} {} {}",
                part("verb"),
                part("version"),
                part("resource"),
                part("namespace"),
                part("name")
            ));
            review["status"] = json!({"allowed": false});
            Ok::<_, tower::BoxError>(Response::new(kube::client::Body::from(
                review.to_string().into_bytes(),
            )))
        }
    });
    Client::new(service, "default")
}

/// Bodies that pass validation, because a body is judged before the rights of who sends it.
fn body(id: &str) -> Option<Value> {
    Some(match id {
        "createWorkspace" => workspace("lab"),
        "createWorkspaceKind" => kind("lab"),
        "updateWorkspacePauseState" | "updateWorkspacesPauseState" => {
            json!({"data": {"paused": true}})
        }
        "restartWorkspace" | "keepWorkspaceAlive" => json!({"data": {}}),
        "podTemplateOptionsListValues" => json!({"data": {"context": {}}}),
        "podTemplateOptionsListValues in" => {
            json!({"data": {"context": {"namespace": {"name": "team-a"}}}})
        }
        "createPVC" => json!({"data": {
            "name": "lab", "accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "requests": {"storage": "1Gi"},
        }}),
        "createSecret" => json!({"data": {"name": "lab", "type": "Opaque", "contents": {}}}),
        _ => return None,
    })
}

/// Operation, query, and what is asked: verb, group/version, resource, namespace, name.
const TABLE: &[(&str, &str, &str)] = &[
    ("listNamespaces", "", "list /v1 namespaces - -"),
    ("listAllWorkspaces", "", "list kubeflow.org/v1beta1 workspaces - -"),
    ("listWorkspacesByNamespace", "", "list kubeflow.org/v1beta1 workspaces team-a -"),
    ("createWorkspace", "", "create kubeflow.org/v1beta1 workspaces team-a lab"),
    ("getWorkspace", "", "get kubeflow.org/v1beta1 workspaces team-a lab"),
    ("getWorkspacePodTemplateDetails", "", "get kubeflow.org/v1beta1 workspaces team-a lab"),
    ("getWorkspacePodTemplateLogsBatch", "", "get kubeflow.org/v1beta1 workspaces team-a lab"),
    ("getWorkspacePodTemplateResources", "", "get kubeflow.org/v1beta1 workspaces team-a lab"),
    ("updateWorkspace", "", "update kubeflow.org/v1beta1 workspaces team-a lab"),
    ("updateWorkspacePauseState", "", "update kubeflow.org/v1beta1 workspaces team-a lab"),
    ("deleteWorkspace", "", "delete kubeflow.org/v1beta1 workspaces team-a lab"),
    ("listWorkspaceKinds", "", "list kubeflow.org/v1beta1 workspacekinds - -"),
    (
        "listWorkspaceKinds",
        "?namespaceFilter=team-a",
        "create kubeflow.org/v1beta1 workspaces team-a -",
    ),
    ("createWorkspaceKind", "", "create kubeflow.org/v1beta1 workspacekinds - lab"),
    ("getWorkspaceKind", "", "get kubeflow.org/v1beta1 workspacekinds - lab"),
    ("updateWorkspaceKind", "", "update kubeflow.org/v1beta1 workspacekinds - lab"),
    ("deleteWorkspaceKind", "", "delete kubeflow.org/v1beta1 workspacekinds - lab"),
    ("getWorkspaceKindIcon", "", "get kubeflow.org/v1beta1 workspacekinds - lab"),
    ("getWorkspaceKindLogo", "", "get kubeflow.org/v1beta1 workspacekinds - lab"),
    ("getWorkspaceKindIcon", "?namespace=team-a", "list kubeflow.org/v1beta1 workspaces team-a -"),
    ("getWorkspaceKindLogo", "?namespace=team-a", "list kubeflow.org/v1beta1 workspaces team-a -"),
    ("podTemplateOptionsListValues", "", "get kubeflow.org/v1beta1 workspacekinds - lab"),
    ("podTemplateOptionsListValues in", "", "create kubeflow.org/v1beta1 workspaces team-a -"),
    ("listStorageClasses", "", "list storage.k8s.io/v1 storageclasses - -"),
    ("listStorageClasses", "?namespace=team-a", "create /v1 persistentvolumeclaims team-a -"),
    ("listPVCs", "", "list /v1 persistentvolumeclaims team-a -"),
    ("createPVC", "", "create /v1 persistentvolumeclaims team-a lab"),
    ("deletePVC", "", "delete /v1 persistentvolumeclaims team-a lab"),
    ("listSecrets", "", "list /v1 secrets team-a -"),
    ("createSecret", "", "create /v1 secrets team-a lab"),
    ("getSecret", "", "get /v1 secrets team-a lab"),
    ("updateSecret", "", "update /v1 secrets team-a lab"),
    ("deleteSecret", "", "delete /v1 secrets team-a lab"),
    // Beyond the contract.
    ("getUser", "", "create kubeflow.org/v1beta1 workspacekinds - -"),
    ("updateWorkspacesPauseState", "", "update kubeflow.org/v1beta1 workspaces team-a -"),
    ("keepWorkspaceAlive", "", "update kubeflow.org/v1beta1 workspaces team-a lab"),
    ("restartWorkspace", "", "update kubeflow.org/v1beta1 workspaces team-a lab"),
    ("streamWorkspacePodTemplateLogs", "", "get kubeflow.org/v1beta1 workspaces team-a lab"),
    ("listWorkspacePodTemplateEvents", "", "get kubeflow.org/v1beta1 workspaces team-a lab"),
    ("explainFilterRules", "", "get kubeflow.org/v1beta1 workspacekinds - lab"),
    ("listQuotas", "", "list /v1 resourcequotas team-a -"),
];

fn fresh(server: &Server, asked: &Asked) -> Handler {
    before(
        Router::new(),
        State {
            client: server.client.clone(),
            caches: server.caches.clone(),
            access: Access::Reviewed(Reviews::new(&refusing(asked.clone()))),
            health: None,
            options: Options::default(),
        },
    )
}

#[tokio::test]
async fn each_request_is_reviewed_as_the_contract_says() {
    let server = Server::start().await;
    let mut left: BTreeSet<&str> =
        endpoints().iter().filter(|known| !known.open).map(|known| known.id).collect();
    for (id, query, expected) in TABLE {
        let name = id.split(' ').next().unwrap();
        let endpoint = endpoints().into_iter().find(|known| known.id == name).unwrap();
        left.remove(name);
        let path = endpoint.path.replace("{namespace}", "team-a").replace("{name}", "lab");
        let request = Request::builder().method(endpoint.method).uri(format!("{path}{query}"));
        let request = request.header(header::CONTENT_TYPE, endpoint.body.unwrap_or("text/plain"));
        // Where rights come first, a body that cannot be read does not matter.
        let body = body(id).map_or_else(|| "not JSON".to_owned(), |body| body.to_string());
        let mut request = request.body(Body::from(body)).unwrap();
        let groups = vec!["staff".to_owned(), "a,b".to_owned()];
        request.extensions_mut().insert(web::Identity { user: "ada".to_owned(), groups });
        // A server of its own: answers to reviews are kept for a while.
        let asked = Asked::default();
        let answer = fresh(&server, &asked).oneshot(request).await.unwrap();
        let first = asked.lock().first().cloned();
        assert_eq!(first.as_deref(), Some(*expected), "{id}{query}");
        if !["getUser", "listNamespaces"].contains(id) {
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{id}{query}");
        }
    }
    assert!(left.is_empty(), "not in the table: {left:?}");
}
