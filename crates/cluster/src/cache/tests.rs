use std::{collections::VecDeque, sync::Mutex};

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

const LONG: Duration = Duration::from_secs(10);

/// An API that answers from a script: first the lists, then the watches, each in order.
#[derive(Clone, Default)]
struct Script {
    lists: Arc<Mutex<VecDeque<Value>>>,
    watches: Arc<Mutex<VecDeque<Step>>>,
}

enum Step {
    Events(Vec<Value>),
    Refused(u16),
}

impl Script {
    fn new(lists: Vec<Value>, watches: Vec<Step>) -> Self {
        Self {
            lists: Arc::new(Mutex::new(lists.into())),
            watches: Arc::new(Mutex::new(watches.into())),
        }
    }

    fn client(&self) -> kube::Client {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let script = script.clone();
            let query = request.uri().query().unwrap_or_default().to_owned();
            async move { script.answer(&query).await }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, query: &str) -> Result<Response<Body>, std::io::Error> {
        if !query.contains("watch=true") {
            let list = self.lists.lock().unwrap().pop_front().expect("one more list than scripted");
            return Ok(Response::new(Body::from(list.to_string().into_bytes())));
        }
        let step = self.watches.lock().unwrap().pop_front();
        match step {
            Some(Step::Events(events)) => {
                let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
                Ok(Response::new(Body::from(lines.into_bytes())))
            }
            Some(Step::Refused(code)) => {
                let status =
                    json!({"kind": "Status", "code": code, "reason": "Expired", "message": ""});
                let body = Body::from(status.to_string().into_bytes());
                Ok(Response::builder().status(code).body(body).unwrap())
            }
            None => std::future::pending().await,
        }
    }
}

fn object(name: &str, version: u64) -> Value {
    json!({"metadata": {
        "namespace": "n", "name": name, "resourceVersion": version.to_string(),
        "managedFields": [{"manager": "m"}],
    }})
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

fn list(version: u64, items: Vec<Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMapList",
        "metadata": {"resourceVersion": version.to_string()}, "items": items,
    })
}

fn names(cache: &Cache<ConfigMap>) -> Vec<String> {
    cache.list(None).iter().map(|map| map.metadata.name.clone().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_keeps_the_cache_current() {
    let script = Script::new(
        vec![list(5, vec![object("a", 3), object("b", 4)])],
        vec![Step::Events(vec![
            event("MODIFIED", object("a", 6)),
            event("DELETED", object("b", 7)),
        ])],
    );
    let cache = Source::<ConfigMap>::all().start(&script.client());
    let mut changes = cache.subscribe();
    cache.ready().await;
    assert!(cache.wait_for_version(&Key::new(Some("n"), "b"), "7", LONG).await);
    assert_eq!(names(&cache), ["a"]);
    assert!(cache.get(Some("n"), "a").unwrap().metadata.managed_fields.is_none());
    assert!(cache.get(Some("m"), "a").is_none());
    let mut seen = Vec::new();
    for _ in 0..4 {
        if let Some(Change::Object { key, old, new }) = changes.next().await {
            seen.push((key.to_string(), old.is_some(), new.is_some()));
        }
    }
    assert_eq!(
        seen,
        [
            ("n/a".into(), false, true),
            ("n/b".into(), false, true),
            ("n/a".into(), true, true),
            ("n/b".into(), true, false),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again_and_reports_the_difference() {
    let expired = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "old"});
    for refusal in [Step::Refused(410), Step::Events(vec![event("ERROR", expired)])] {
        let script = Script::new(
            vec![
                list(5, vec![object("a", 3), object("b", 4)]),
                list(9, vec![object("b", 4), object("c", 8)]),
            ],
            vec![refusal, Step::Events(vec![event("ADDED", object("d", 10))])],
        );
        let cache = Source::<ConfigMap>::all().start(&script.client());
        assert!(cache.wait_for(&Key::new(Some("n"), "d"), LONG, |o| o.is_some()).await);
        assert_eq!(names(&cache), ["b", "c", "d"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_tells_how_full_and_how_fresh_it_is() {
    let lists = vec![list(5, vec![object("a", 3), object("b", 4)]), list(9, vec![object("b", 4)])];
    let watches = vec![Step::Refused(410), Step::Events(vec![event("ADDED", object("c", 10))])];
    let cache = Source::<ConfigMap>::all().start(&Script::new(lists, watches).client());
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(CacheMeters::default().with(&cache)));
    let text = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    assert!(text().contains("cache_ready{resource=\"configmaps\"} 0.0\n"), "{}", text());
    assert!(cache.wait_for(&Key::new(Some("n"), "c"), LONG, |o| o.is_some()).await);
    let age = |text: String| {
        let line = text.lines().find(|line| line.starts_with("cache_age_seconds{")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let before = age(text());
    tokio::time::advance(Duration::from_secs(7)).await;
    assert!(age(text()) - before > 6.9, "{}", text());
    for line in ["objects{resource=\"configmaps\"} 2.0", "ready{resource=\"configmaps\"} 1.0"] {
        assert!(text().contains(line), "{}", text());
    }
    assert!(!text().contains("cache_interruptions_total{resource=\"configmaps\"} 0"), "{}", text());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_left_out() {
    let mut bad = object("b", 4);
    bad["data"] = json!("not a map");
    let mut worse = object("a", 6);
    worse["data"] = json!(["neither"]);
    let script = Script::new(
        vec![list(5, vec![object("a", 3), bad])],
        vec![Step::Events(vec![event("MODIFIED", worse), event("ADDED", object("c", 7))])],
    );
    let cache = Source::<ConfigMap>::all().start(&script.client());
    assert!(cache.wait_for(&Key::new(Some("n"), "c"), LONG, |o| o.is_some()).await);
    assert_eq!(names(&cache), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_is_told_to_start_over() {
    let many = (0..BACKLOG as u64 + 10).map(|n| event("MODIFIED", object("a", 10 + n))).collect();
    let script = Script::new(vec![list(5, vec![])], vec![Step::Events(many)]);
    let cache = Source::<ConfigMap>::all().start(&script.client());
    let mut changes = cache.subscribe();
    let last = (BACKLOG as u64 + 19).to_string();
    assert!(cache.wait_for_version(&Key::new(Some("n"), "a"), &last, LONG).await);
    assert!(matches!(changes.next().await, Some(Change::Resync)));
}

#[tokio::test(start_paused = true)]
async fn the_index_follows() {
    let script = Script::new(
        vec![list(5, vec![object("a", 3), object("b", 4)])],
        vec![Step::Events(vec![event("DELETED", object("a", 6))])],
    );
    let cache = Source::<ConfigMap>::all()
        .index(|map| map.metadata.namespace.as_deref())
        .start(&script.client());
    assert!(cache.wait_for_version(&Key::new(Some("n"), "a"), "6", LONG).await);
    assert_eq!(cache.indexed("n").len(), 1);
    assert!(cache.indexed("elsewhere").is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_version_ends() {
    let script = Script::new(vec![list(5, vec![object("a", 3)])], vec![]);
    let cache = Source::<ConfigMap>::all().start(&script.client());
    cache.ready().await;
    let key = Key::new(Some("n"), "a");
    assert!(cache.wait_for_version(&key, "3", LONG).await);
    assert!(!cache.wait_for_version(&key, "4", Duration::from_secs(2)).await);
}
