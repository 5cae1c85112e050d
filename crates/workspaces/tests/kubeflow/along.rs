//! What comes with a workspace: it must fit into the quotas of its namespace, and claims may be made
//! along with it; all of that, or nothing.

use axum::{Router, body::Body};
use cluster::{Access, access::Reviews};
use http::{Method, Request, StatusCode};
use insta::assert_snapshot;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota};
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};
use tower::ServiceExt;
use web::Identity;
use workspaces::{
    dialect::kubeflow::{Options, State, before},
    model::Workspace,
};

use crate::{
    edits::put,
    harness::{Answer, Fault, SOON, Server, workspace},
    record::Record,
};

const PATH: &str = "/api/v1/workspaces/team-a";
const CLAIMS: &str = "/api/v1/persistentvolumeclaims/team-a";

/// A workspace that brings claims of these sizes.
fn bringing(name: &str, sizes: &[&str]) -> Value {
    let volume = |(number, size): (usize, &&str)| {
        json!({
            "pvcName": format!("{name}-{number}"),
            "mountPath": format!("/data/{number}"),
            "create": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "standard",
                "requests": {"storage": size},
            },
        })
    };
    let mut body = workspace(name);
    let volumes: Vec<Value> = sizes.iter().enumerate().map(volume).collect();
    body["data"]["podTemplate"]["volumes"] = json!({"data": volumes});
    body
}

/// A quota of `team-a`, once the cluster counts it.
async fn quota(server: &Server, hard: Value) {
    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": hard}});
    server.make::<ResourceQuota>(Some("team-a"), quota).await;
    let counted = async {
        while server.get("/api/v1/quotas/team-a").await.json()["data"][0]["used"] == json!({}) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, counted).await.unwrap();
}

/// The names of the workspaces and claims in the cluster itself.
async fn written(server: &Server) -> Vec<String> {
    let workspaces: Api<Workspace> = Api::namespaced(server.client.clone(), "team-a");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(server.client.clone(), "team-a");
    let workspaces = workspaces.list(&ListParams::default()).await.unwrap().items;
    let claims = claims.list(&ListParams::default()).await.unwrap().items;
    let alive = claims.into_iter().map(|claim| claim.metadata);
    let alive = alive.filter(|metadata| metadata.deletion_timestamp.is_none());
    let all = workspaces.into_iter().map(|workspace| workspace.metadata).chain(alive);
    all.filter_map(|metadata| metadata.name).collect()
}

/// Waits until nothing is left, also not of what is being deleted: its name cannot be had before.
async fn gone(server: &Server) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(server.client.clone(), "team-a");
    while !written(server).await.is_empty()
        || !claims.list(&ListParams::default()).await.unwrap().items.is_empty()
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn claims_are_made_along_with_a_workspace() {
    let server = Server::start().await;
    let mut said = Record::default();
    said.add(
        "asked about",
        &server.post(&format!("{PATH}?dryRun=All"), &bringing("lab", &["1Gi"])).await,
    );
    assert_eq!(written(&server).await, Vec::<String>::new());
    said.add("made", &server.post(PATH, &bringing("lab", &["1Gi", "2Gi"])).await);
    assert_eq!(written(&server).await, ["lab", "lab-0", "lab-1"]);
    let claims = server.get(CLAIMS).await.json();
    let claim = &claims["data"][1];
    assert_eq!((&claim["canMount"], &claim["canUpdate"]), (&json!(true), &json!(true)));
    assert_eq!(claim["pvcSpec"]["requests"]["storage"], "2Gi");
    assert_eq!(claim["workspaces"][0]["name"], "lab");

    let mut again = bringing("other", &["1Gi"]);
    again["data"]["podTemplate"]["volumes"]["data"][0]["pvcName"] = json!("lab-0");
    said.add("a claim that is there", &server.post(PATH, &again).await);
    let mut twice = bringing("other", &["1Gi", "1Gi"]);
    twice["data"]["podTemplate"]["volumes"]["data"][1]["pvcName"] = json!("other-0");
    said.add("one claim made twice", &server.post(PATH, &twice).await);
    let mut odd = bringing("other", &["much", "1Gi"]);
    odd["data"]["podTemplate"]["volumes"]["data"][1]["create"] = json!({});
    said.add("nothing said about it", &server.post(PATH, &odd).await);
    let mut class = bringing("other", &["1Gi"]);
    class["data"]["podTemplate"]["volumes"]["data"][0]["create"]["storageClassName"] = json!("x");
    class["data"]["podTemplate"]["volumes"]["home"] = json!("nothing");
    said.add("no such class", &server.post(PATH, &class).await);
    said.add("too many", &server.post(PATH, &bringing("other", &["1Gi"; 17])).await);
    said.add("a workspace that is there", &server.post(PATH, &bringing("lab", &[])).await);
    assert_eq!(written(&server).await, ["lab", "lab-0", "lab-1"], "nothing else was made");

    let path = format!("{PATH}/lab");
    let mut edit = server.get(&path).await.json();
    edit["data"]["podTemplate"]["volumes"]["data"][0]["create"] = json!({});
    said.add("in an edit", &put(&server, &path, &edit).await);
    assert_snapshot!(said.text());
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_made() {
    let server = Server::start().await;
    quota(
        &server,
        json!({"requests.cpu": "150m", "requests.storage": "5Gi", "persistentvolumeclaims": "3"}),
    )
    .await;
    let mut said = Record::default();
    said.add("claims together", &server.post(PATH, &bringing("lab", &["3Gi", "3Gi"])).await);
    said.add("too many", &server.post(PATH, &bringing("lab", &["1Gi"; 4])).await);
    assert_eq!(written(&server).await, Vec::<String>::new());
    said.add("a fit", &server.post(PATH, &bringing("lab", &["2Gi", "3Gi"])).await);
    assert_snapshot!(said.text());
}

#[tokio::test]
async fn a_pod_that_does_not_fit_may_be_made_paused() {
    let server = Server::start().await;
    quota(&server, json!({"requests.cpu": "50m"})).await;
    let answer = server.post(PATH, &workspace("lab")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer.error(),
        "403 you are not authorized to access this resource\n\"INTERNAL\" \"exceeded quota: small, \
         requested: requests.cpu=100m, used: requests.cpu=0, limited: requests.cpu=50m\""
    );
    let asked = server.post(&format!("{PATH}?dryRun=All"), &workspace("lab")).await;
    assert_eq!(asked.status, StatusCode::FORBIDDEN, "the same to who only asks");
    let mut paused = workspace("lab");
    paused["data"]["paused"] = json!(true);
    assert_eq!(server.post(PATH, &paused).await.status, StatusCode::CREATED);
    // Who may not read quotas leaves them to the cluster.
    server.faults.set(Method::GET, Fault::Status(403, "Forbidden"));
    let answer = server.post(PATH, &workspace("other")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.show());
}

#[tokio::test]
async fn a_failure_on_the_way_leaves_nothing() {
    let server = Server::start().await;
    // Two questions about claims, one about the workspace, then two claims and the workspace.
    for made in 0..6 {
        for fault in [Fault::Status(500, "InternalError"), Fault::Status(403, "Forbidden")] {
            server.faults.set_after(made, Method::POST, fault);
            let answer: Answer = server.post(PATH, &bringing("lab", &["1Gi", "1Gi"])).await;
            assert!(!answer.status.is_success(), "{made}: {}", answer.show());
            tokio::time::timeout(SOON, gone(&server)).await.unwrap();
        }
    }
    server.faults.set_after(6, Method::POST, Fault::Timeout);
    let answer = server.post(PATH, &bringing("lab", &["1Gi", "1Gi"])).await;
    assert_eq!(answer.status, StatusCode::CREATED, "six writes in all: {}", answer.show());
}

#[tokio::test]
async fn claims_need_rights_of_their_own() {
    let server = Server::start().await;
    let reviewer = tower::service_fn(|request: Request<kube::client::Body>| async {
        let body = request.into_body().collect_bytes().await?;
        let mut review: Value = serde_json::from_slice(&body)?;
        let resource = &review["spec"]["resourceAttributes"]["resource"];
        review["status"] = json!({"allowed": resource == "workspaces"});
        Ok::<_, tower::BoxError>(http::Response::new(Body::from(review.to_string())))
    });
    let router = before(
        Router::new(),
        State {
            client: server.client.clone(),
            caches: server.caches.clone(),
            access: Access::Reviewed(Reviews::new(&Client::new(reviewer, "default"))),
            health: None,
            options: Options::default(),
        },
    );
    for (body, expected) in [
        (bringing("lab", &["1Gi"]), StatusCode::FORBIDDEN),
        (workspace("lab"), StatusCode::CREATED),
    ] {
        let request = Request::post(PATH).header("content-type", "application/json");
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        let ada = Identity { user: "ada".to_owned(), groups: Vec::new() };
        request.extensions_mut().insert(ada);
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), expected);
    }
    assert_eq!(written(&server).await, ["lab"]);
}
