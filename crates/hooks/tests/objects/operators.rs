//! What operators see and do, through the API as the program mounts it.

use axum::{Extension, Router, body::Body};
use cluster::Access;
use hooks::admin::{Gate, router};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use web::Identity;

use super::*;

/// The API for this caller.
fn api(world: &World, caller: Option<Identity>) -> Router {
    let admin =
        world.server.admin(Gate::Objects(Access::Local), Some("https://hooks.example/".into()));
    match caller {
        Some(caller) => router(admin).layer(Extension(caller)),
        None => router(admin),
    }
}

async fn ask(api: &Router, method: Method, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let path = format!("/api/v1/hooks{path}");
    let request = Request::builder().method(method).uri(path).body(body).unwrap();
    let response = api.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn get(api: &Router, path: &str) -> Value {
    let (status, body) = ask(api, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn post(api: &Router, path: &str, body: Value) -> (u16, Value) {
    ask(api, Method::POST, path, body).await
}

/// Waits until a list has this many items.
async fn listed(api: &Router, path: &str, count: usize) -> Vec<Value> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let list = get(api, path).await["items"].as_array().unwrap().clone();
        if list.len() == count {
            return list;
        }
        assert!(tokio::time::Instant::now() < deadline, "{path}: {list:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_request_is_seen_and_can_be_made_again() {
    let world = World::new().await;
    let (address, mut receiver) = downstream().await;
    world.secret("code", KEY).await;
    let mut spec = flux(address);
    spec["filter"] = json!({"branches": ["main", "next"]});
    spec["delivery"] = json!({"replay": "allow"});
    world.hook("code", spec).await;
    world.until("code", "Serving").await;
    let api = api(&world, Some(Identity::local()));

    assert_eq!(world.push(KEY, "main").await, 202);
    told(&mut receiver).await;
    let delivered = listed(&api, "/deliveries?state=delivered", 1).await;
    assert_eq!(delivered[0]["endpoint"], "apps/code");
    assert_eq!(world.push(KEY, "other").await, 200);
    assert_eq!(listed(&api, "/deliveries?state=filtered", 1).await[0]["status"], 200);
    assert_eq!(listed(&api, "/deliveries", 2).await[0]["state"], "filtered");
    for (query, count) in [
        ("endpoint=apps/code", 2),
        ("endpoint=other", 0),
        ("repo=git@code.example.com:team/app", 1),
        ("q=TEAM", 1),
        ("since=2100-01-01T00:00:00Z", 0),
        ("until=2100-01-01T00:00:00Z", 2),
        ("limit=1", 1),
    ] {
        let list = get(&api, &format!("/deliveries?{query}")).await;
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}: {list}");
    }
    let first = get(&api, "/deliveries?limit=1").await;
    let next = first["next"].as_str().unwrap();
    let second = get(&api, &format!("/deliveries?cursor={next}")).await;
    assert_eq!(second["items"][0]["state"], "delivered");
    for bad in ["limit=x", "since=soon", "cursor=x", "unknown=1"] {
        let said = ask(&api, Method::GET, &format!("/deliveries?{bad}"), Value::Null).await;
        assert_eq!(said.0, 400, "{bad}: {}", said.1);
    }

    let id = delivered[0]["id"].as_str().unwrap();
    let shown = get(&api, &format!("/deliveries/{id}")).await;
    assert_eq!(shown["notifications"][0]["history"].as_array().unwrap().len(), 1);
    let again = format!("/deliveries/{id}/redeliver");
    assert_eq!(post(&api, &again, json!({"targets": ["none"]})).await.0, 409);
    assert_eq!(post(&api, &again, json!({"targets": ["flux-v1"]})).await.0, 202);
    told(&mut receiver).await;
    listed(&api, "/deliveries?state=delivered", 1).await;

    let all = json!({"state": "delivered", "dryRun": true});
    let (status, said) = post(&api, "/redeliver", all).await;
    assert_eq!((status, &said["ids"][0]), (200, &json!(id)));
    let (status, said) = post(&api, "/redeliver", json!({"state": "delivered"})).await;
    assert_eq!((status, said["ids"].as_array().unwrap().len()), (202, 1));
    told(&mut receiver).await;
    assert_eq!(post(&api, "/redeliver", json!({"sate": 1})).await.0, 400);
    world.end().await;
}

#[tokio::test]
async fn hooks_are_tried_out_paused_and_resumed() {
    let world = World::new().await;
    let (address, mut receiver) = downstream().await;
    world.secret("code", KEY).await;
    world.hook("code", flux(address)).await;
    world.until("code", "Serving").await;
    let api = api(&world, Some(Identity::local()));

    let path = format!("/hook/{}", endpoint(KEY.as_bytes(), ""));
    let masked = get(&api, "/endpoints").await;
    assert!(!masked.to_string().contains(&path), "{masked}");
    let full = get(&api, "/endpoints?paths=full").await;
    assert_eq!(full["items"][0]["urls"][0], format!("https://hooks.example{path}"));

    let (status, said) = post(&api, "/endpoints/apps/code/test", Value::Null).await;
    assert_eq!((status, &said["status"], &said["state"]), (200, &json!(202), &json!("queued")));
    assert!(told(&mut receiver).await.contains("quartermaster/sample"));
    let (_, said) = post(&api, "/endpoints/apps/code/test", json!({"event": "ping"})).await;
    assert_eq!((&said["status"], &said["body"]), (&json!(200), &json!("Pong")));
    assert_eq!(post(&api, "/endpoints/apps/none/test", Value::Null).await.0, 404);
    assert_eq!(post(&api, "/endpoints/apps/code/other", Value::Null).await.0, 404);

    assert_eq!(post(&api, "/endpoints/apps/code/pause", Value::Null).await.0, 200);
    world.until("code", "Suspended").await;
    assert_eq!(world.push(KEY, "a").await, 503);
    let buffer = json!({"buffer": true});
    assert_eq!(post(&api, "/endpoints/apps/code/pause", buffer).await.0, 200);
    world.until("code", "Buffering").await;
    assert_eq!(world.push(KEY, "kept").await, 202);
    listed(&api, "/deliveries?state=queued", 1).await;
    assert!(receiver.try_recv().is_err());
    assert_eq!(post(&api, "/endpoints/apps/code/resume", Value::Null).await.0, 200);
    assert!(told(&mut receiver).await.contains(r#""Branch":"kept""#));
    world.end().await;
}

#[tokio::test]
async fn what_waits_for_a_hook_that_is_deleted_is_given_up() {
    let world = World::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.secret("code", KEY).await;
    world.hook("code", flux(nobody)).await;
    world.until("code", "Serving").await;
    let api = api(&world, Some(Identity::local()));
    assert_eq!(world.push(KEY, "main").await, 202);
    listed(&api, "/deliveries?state=retrying", 1).await;
    world.hooks().delete("code", &Default::default()).await.unwrap();
    let dead = listed(&api, "/deadletters", 1).await;
    let id = dead[0]["id"].as_str().unwrap();
    assert_eq!(post(&api, &format!("/deliveries/{id}/redeliver"), Value::Null).await.0, 409);
    let path = format!("/deadletters/{id}");
    assert_eq!(ask(&api, Method::DELETE, &path, Value::Null).await.0, 200);
    assert_eq!(ask(&api, Method::DELETE, &path, Value::Null).await.0, 404);
    world.end().await;
}

#[tokio::test]
async fn nobody_sees_the_hooks_of_others() {
    let world = World::new().await;
    let (address, _receiver) = downstream().await;
    world.secret("code", KEY).await;
    world.hook("code", flux(address)).await;
    world.until("code", "Serving").await;
    assert_eq!(world.push(KEY, "main").await, 202);
    let owner = api(&world, Some(Identity::local()));
    let id = listed(&owner, "/deliveries", 1).await[0]["id"].as_str().unwrap().to_owned();
    let other = Identity { user: "eve".to_owned(), groups: Vec::new() };
    let stranger = api(&world, Some(other));
    for path in ["/deliveries", "/deadletters", "/endpoints"] {
        assert_eq!(get(&stranger, path).await["items"], json!([]), "{path}");
    }
    let one = format!("/deliveries/{id}");
    assert_eq!(ask(&stranger, Method::GET, &one, Value::Null).await.0, 404);
    for path in [&*format!("{one}/redeliver"), "/endpoints/apps/code/test"] {
        assert_eq!(post(&stranger, path, Value::Null).await.0, 404, "{path}");
    }
    let (_, said) = post(&stranger, "/redeliver", json!({"state": "delivered"})).await;
    assert_eq!(said["ids"], json!([]));
    let nobody = api(&world, None);
    let said = ask(&nobody, Method::GET, "/deliveries", Value::Null).await.0;
    assert_eq!(said, StatusCode::UNAUTHORIZED.as_u16());
    world.end().await;
}

#[tokio::test]
async fn what_comes_in_is_streamed() {
    let world = World::new().await;
    let (address, _receiver) = downstream().await;
    world.secret("code", KEY).await;
    world.hook("code", flux(address)).await;
    world.until("code", "Serving").await;
    let api = api(&world, Some(Identity::local()));
    let request = Request::get("/api/v1/hooks/stream").body(Body::empty()).unwrap();
    let response = api.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(world.push(KEY, "main").await, 202);
    let mut body = response.into_body();
    let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await;
    let frame = frame.unwrap().unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(text.contains("event: delivery") && text.contains(r#""state":"queued""#), "{text}");
    world.end().await;
}
