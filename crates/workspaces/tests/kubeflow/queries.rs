//! Lists that are asked for in part: filters, order, pages; and that they cost nothing when nothing
//! changed.

use std::fmt::Write;

use axum::body::Body;
use http::{Method, StatusCode, header};
use insta::assert_snapshot;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use workspaces::model::{Workspace, WorkspaceKind};

use crate::harness::{Answer, Server, kind, request, seen};

const ALL: &str = "/api/v1/workspaces";

/// Six workspaces in two namespaces, each with something of its own.
async fn furnished() -> Server {
    let server = Server::start().await;
    server
        .make::<k8s_openapi::api::core::v1::Namespace>(
            None,
            json!({"metadata": {"name": "team-b"}}),
        )
        .await;
    let other = server.make::<WorkspaceKind>(None, kind("other")).await;
    seen(&server.caches.kinds, &other).await;
    for (namespace, name, kind, image, owner, tier) in [
        ("team-a", "ann-1", "lab", "lab_1", "ann", "gold"),
        ("team-a", "ann-2", "lab", "lab_0", "ann", "iron"),
        ("team-a", "bob-1", "other", "lab_1", "bob", "iron"),
        ("team-b", "ann-1", "lab", "lab_1", "ann", "gold"),
        ("team-b", "cat-1", "other", "lab_0", "cat", "gold"),
        ("team-b", "cat-2", "lab", "lab_1", "cat", ""),
    ] {
        let mut object = json!({"metadata": {
            "name": name,
            "annotations": {"notebooks.kubeflow.org/created-by": owner},
            "labels": {"tier": tier},
        }});
        object["spec"] = json!({
            "kind": kind,
            "displayName": format!("Room of {}", owner.to_uppercase()),
            "podTemplate": {
                "volumes": {},
                "options": {"imageConfig": image, "podConfig": "small"},
            },
        });
        let made = server.make::<Workspace>(Some(namespace), object).await;
        seen(&server.caches.workspaces, &made).await;
    }
    server.set_status("ann-1", json!({"state": "Running", "activity": {"lastActivity": 30}})).await;
    server.set_status("ann-2", json!({"state": "Paused", "activity": {"lastActivity": 10}})).await;
    server.set_status("bob-1", json!({"state": "Error", "activity": {"lastActivity": 20}})).await;
    server
}

fn names(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.show());
    let items = json["data"].as_array().unwrap().iter();
    let name = |item: &Value| {
        let part = |key: &str| item[key].as_str().unwrap().to_owned();
        format!("{}/{}", &part("namespace")[5..], part("name"))
    };
    items.map(name).collect()
}

#[tokio::test]
async fn filters() {
    let server = furnished().await;
    let mut said = String::new();
    for query in [
        "",
        "workspaceKind=other",
        "imageConfig=lab_0",
        "podConfig=small&workspaceKind=lab",
        "podConfig=large",
        "owner=ann",
        "owner=nobody",
        "state=Running",
        "state=Paused,Error",
        "state=Unknown",
        "nameContains=CAT",
        "nameContains=of%20b",
        "labelSelector=tier%3Dgold",
        "labelSelector=tier%20in%20(iron,gold),tier!%3Dgold",
        "labelSelector=!tier",
        "labelSelector=tier%3D",
        "owner=cat&workspaceKind=lab",
        "owner=&colour=red",
    ] {
        let all = server.get(&format!("{ALL}?{query}")).await;
        let some = server.get(&format!("{ALL}/team-b?{query}")).await;
        let _ = writeln!(said, "{query}\n  {:?}\n  {:?}", names(&all), names(&some));
    }
    assert_snapshot!(said);
    let whole = server.get(ALL).await;
    let one = server.get(&format!("{ALL}?nameContains=bob")).await.json();
    assert_eq!(one["data"][0], whole.json()["data"][2], "items look the same");
}

#[tokio::test]
async fn orders() {
    let server = furnished().await;
    let mut said = String::new();
    for key in
        ["name", "-name", "workspaceKind", "state", "lastActivity", "-lastActivity", "createdAt"]
    {
        let answer = server.get(&format!("{ALL}?sortBy={key}")).await;
        let _ = writeln!(said, "{key} {:?}", names(&answer));
    }
    assert_snapshot!(said);
}

#[tokio::test]
async fn queries_that_cannot_be() {
    let server = Server::start().await;
    let query = "view=x&watch=2&state=Happy&sortBy=colour&pageSize=501&nextPageToken=%C3%A9&labelSelector=a%3D%2Fb";
    assert_snapshot!("list_queries_all_wrong", server.get(&format!("{ALL}?{query}")).await.show());
    for size in ["0", "-1", "x", "1.5", "99999999999999999999"] {
        let answer = server.get(&format!("{ALL}/team-a?pageSize={size}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{size}");
    }
    let long = "a".repeat(20_000);
    let answer = server.get(&format!("{ALL}?labelSelector={long}")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let answer = server.get(&format!("{ALL}?nextPageToken={long}")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// All pages of a list, one after the other.
async fn pages(server: &Server, query: &str, size: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("{ALL}?{query}&pageSize={size}&nextPageToken={token}");
        let answer = server.get(&path).await;
        pages.push(names(&answer));
        let metadata = &answer.json()["metadata"];
        match metadata["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => {
                assert!(metadata["nextPageToken"].is_null());
                return pages;
            }
        }
        assert!(pages.len() < 20, "pages without an end");
    }
}

#[tokio::test]
async fn pages_hold_everything_once() {
    let server = furnished().await;
    assert_snapshot!("first_page", server.get(&format!("{ALL}?pageSize=1&owner=cat")).await.show());
    for (query, expected) in [
        ("", names(&server.get(ALL).await)),
        ("sortBy=-lastActivity", names(&server.get(&format!("{ALL}?sortBy=-lastActivity")).await)),
        ("owner=ann", names(&server.get(&format!("{ALL}?owner=ann")).await)),
        ("owner=nobody", Vec::new()),
    ] {
        for size in [1, 2, 3, 6, 500] {
            let pages = pages(&server, query, size).await;
            assert!(pages.iter().all(|page| page.len() <= size));
            assert_eq!(pages.concat(), expected, "{query} by {size}");
        }
    }
    let first = server.get(&format!("{ALL}?pageSize=2")).await.json();
    let token = first["metadata"]["nextPageToken"].as_str().unwrap();
    assert_eq!(first["metadata"]["total"], json!(6));
    // What comes and goes before the mark moves nothing.
    server.make_workspace("aaa").await;
    assert_eq!(server.delete(&format!("{ALL}/team-a/ann-1")).await.status, StatusCode::NO_CONTENT);
    let second = server.get(&format!("{ALL}?pageSize=2&nextPageToken={token}")).await;
    assert_eq!(names(&second), ["a/bob-1", "b/ann-1"]);
}

#[tokio::test]
async fn a_poller_of_a_part_is_spared_too() {
    let server = furnished().await;
    for query in ["owner=ann", "sortBy=name", "pageSize=2", "view=full", "labelSelector=tier"] {
        let path = format!("{ALL}?{query}");
        let first = server.get(&path).await;
        let tag = first.header(header::ETAG).to_owned();
        let again = async || {
            let request = request(Method::GET, &path).header(header::IF_NONE_MATCH, &tag);
            server.send(request.body(Body::empty()).unwrap()).await
        };
        assert_eq!(again().await.status, StatusCode::NOT_MODIFIED, "{query}");
        // A label is in no item and in some filters.
        let api: Api<Workspace> = Api::namespaced(server.client.clone(), "team-a");
        let patch =
            Patch::Merge(json!({"metadata": {"labels": {"tier": query.len().to_string()}}}));
        let written = api.patch("ann-1", &PatchParams::default(), &patch).await.unwrap();
        seen(&server.caches.workspaces, &written).await;
        let status = if query == "view=full" { 304 } else { 200 };
        assert_eq!(again().await.status.as_u16(), status, "{query}");
    }
}
