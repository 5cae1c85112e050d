//! Replicas in one process, on an API that holds one Lease, with a clock that tests own.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

/// One Lease with optimistic concurrency, and replicas that cannot reach it.
#[derive(Clone, Default)]
struct Api {
    lease: Arc<Mutex<Option<Value>>>,
    cut_off: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Api {
    fn client(&self, replica: &'static str) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                if api.cut_off.lock().contains(replica) {
                    std::future::pending::<()>().await;
                }
                let (method, body) = (request.method().clone(), request.into_body());
                let body = body.collect_bytes().await?;
                let (status, value) = api.answer(&method, &body);
                let answer = Response::builder().status(status);
                Ok::<_, tower::BoxError>(answer.body(Body::from(value.to_string().into_bytes()))?)
            }
        });
        Client::new(service, "ns")
    }

    fn answer(&self, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        let failure = |code: u16, reason: &str| {
            let code = StatusCode::from_u16(code).unwrap();
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                                "code": code.as_u16(), "reason": reason, "message": reason});
            (code, status)
        };
        let mut lease = self.lease.lock();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let next = match (method, &*lease) {
            (&Method::GET, Some(lease)) => return (StatusCode::OK, lease.clone()),
            (&Method::GET, None) => return failure(404, "NotFound"),
            (&Method::POST, Some(_)) => return failure(409, "AlreadyExists"),
            (&Method::PUT, Some(live)) if version(live) != version(&sent) => {
                return failure(409, "Conflict");
            }
            (_, Some(live)) => version(live).as_str().unwrap().parse::<u64>().unwrap() + 1,
            (_, None) => 1,
        };
        let mut stored = sent;
        stored["metadata"]["resourceVersion"] = json!(next.to_string());
        *lease = Some(stored.clone());
        (StatusCode::OK, stored)
    }
}

/// A replica whose work counts who works at the same time.
struct Replica {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn replica(api: &Api, name: &'static str, working: &Arc<Mutex<BTreeSet<&'static str>>>) -> Replica {
    let timing = Timing::default();
    let lease = Lease::new(&api.client(name), "ns", "leader", name.to_owned(), timing);
    let (stop, working) = (CancellationToken::new(), Arc::clone(working));
    let work = move |stop: CancellationToken| {
        let at_work = AtWork::new(name, &working);
        async move {
            stop.cancelled().await;
            drop(at_work);
        }
    };
    let ends = stop.clone();
    Replica { stop, task: tokio::spawn(async move { lease.run(ends, work).await }) }
}

/// Works until it is dropped, whatever drops it.
struct AtWork(&'static str, Arc<Mutex<BTreeSet<&'static str>>>);

impl AtWork {
    fn new(name: &'static str, working: &Arc<Mutex<BTreeSet<&'static str>>>) -> Self {
        let mut set = working.lock();
        set.insert(name);
        assert_eq!(set.len(), 1, "two work at once: {set:?}");
        Self(name, Arc::clone(working))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.1.lock().remove(self.0);
    }
}

async fn leads(name: &'static str, working: &Arc<Mutex<BTreeSet<&'static str>>>) -> Duration {
    let start = Instant::now();
    while !working.lock().contains(name) {
        assert!(start.elapsed() < Duration::from_secs(300), "{name} does not lead");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_hands_the_lease_over_at_once() {
    let (api, working) = (Api::default(), Arc::default());
    let first = replica(&api, "a", &working);
    leads("a", &working).await;
    let second = replica(&api, "b", &working);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(*working.lock(), BTreeSet::from(["a"]), "renewed again and again");
    first.stop.cancel();
    first.task.await.unwrap();
    let took = leads("b", &working).await;
    assert!(took <= Timing::default().retry + Duration::from_millis(100), "{took:?}");
    let transitions = api.lease.lock().as_ref().unwrap()["spec"]["leaseTransitions"].clone();
    assert_eq!(transitions, 1);
    second.stop.cancel();
    second.task.await.unwrap();
    assert!(api.lease.lock().as_ref().unwrap()["spec"]["holderIdentity"].is_null());
}

#[tokio::test(start_paused = true)]
async fn one_that_died_is_followed_after_its_duration_and_not_before() {
    let (api, working) = (Api::default(), Arc::default());
    let first = replica(&api, "a", &working);
    leads("a", &working).await;
    let _second = replica(&api, "b", &working);
    tokio::time::sleep(Duration::from_secs(30)).await;
    first.task.abort();
    let took = leads("b", &working).await;
    let Timing { duration, retry, .. } = Timing::default();
    assert!(took >= duration - retry, "{took:?}");
    assert!(took <= duration + retry * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_stops_before_another_may_begin() {
    let (api, working) = (Api::default(), Arc::default());
    let _first = replica(&api, "a", &working);
    leads("a", &working).await;
    let _second = replica(&api, "b", &working);
    tokio::time::sleep(Duration::from_secs(30)).await;
    api.cut_off.lock().insert("a");
    // `AtWork` fails the test if both work at any moment.
    leads("b", &working).await;
    api.cut_off.lock().clear();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*working.lock(), BTreeSet::from(["b"]), "the first comes back and waits");
}

#[tokio::test(start_paused = true)]
async fn a_note_that_somebody_writes_on_it_ends_nobodys_leadership() {
    let (api, working) = (Api::default(), Arc::default());
    let leader = replica(&api, "a", &working);
    leads("a", &working).await;
    for number in 0..200_u32 {
        tokio::time::sleep(Duration::from_millis(333)).await;
        let mut lease = api.lease.lock();
        let lease = lease.as_mut().unwrap();
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>();
        lease["metadata"]["resourceVersion"] = json!((version.unwrap() + 1).to_string());
        lease["metadata"]["annotations"] = json!({"note": number.to_string()});
    }
    assert_eq!(*working.lock(), BTreeSet::from(["a"]));
    assert_eq!(api.lease.lock().as_ref().unwrap()["spec"]["leaseTransitions"], 0);
    leader.stop.cancel();
    leader.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_many_that_start_at_once_one_leads() {
    let (api, working) = (Api::default(), Arc::default());
    let names = ["a", "b", "c", "d", "e"];
    let replicas = names.map(|name| replica(&api, name, &working));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(working.lock().len(), 1);
    replicas.iter().for_each(|replica| replica.stop.cancel());
    for replica in replicas {
        replica.task.await.unwrap();
    }
    assert!(working.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_begins_again() {
    let api = Api::default();
    let lease = Lease::new(&api.client("a"), "ns", "leader", "a".to_owned(), Timing::default());
    let (stop, count) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let (token, counter) = (stop.clone(), Arc::clone(&count));
    let work = move |_| {
        let (token, counter) = (token.clone(), Arc::clone(&counter));
        async move {
            if counter.fetch_add(1, Ordering::SeqCst) == 2 {
                token.cancel();
            }
        }
    };
    lease.run(stop, work).await;
    assert_eq!(count.load(Ordering::SeqCst), 3);
}
