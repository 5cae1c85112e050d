//! The keeper on an API that holds a few objects and counts writes, and questions as strangers might
//! ask them.

use std::{collections::BTreeMap, sync::Arc};

use http::{Method, Request as HttpRequest, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use prometheus_client::{encoding::text, registry::Registry};
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use web::{Cause, listener::Stack};

use super::{
    Denial, Request, Rules,
    configuration::{Configuration, Reached, Webhook},
    keeper::{Certificates, Keeper, KeeperError, Options, SECRET},
    *,
};

const CONFIGURATIONS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const SECRETS: &str = "/api/v1/namespaces/team/secrets";
const WEBHOOKS: &[Webhook] = &[Webhook {
    name: "one.example.org",
    path: "/one",
    group: "example.org",
    version: "v1",
    resource: "ones",
    operations: &["CREATE"],
    scope: "*",
}];

/// Objects by path, with optimistic concurrency.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    objects: BTreeMap<String, Value>,
    writes: u64,
    refuses: Option<u16>,
}

impl Api {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let api = api.clone();
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let body = request.into_body().collect_bytes().await?;
                let (status, value) = api.answer(&method, &path, &body);
                let answer = Response::builder().status(status);
                Ok::<_, tower::BoxError>(answer.body(Body::from(value.to_string().into_bytes()))?)
            }
        });
        Client::new(service, "team")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let mut held = self.0.lock();
        let mut sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let at = match method {
            &Method::POST => format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap()),
            _ => path.to_owned(),
        };
        let live = held.objects.get(&at).cloned();
        if *method == Method::GET {
            return live.map_or_else(|| failure(404, "NotFound"), |live| (StatusCode::OK, live));
        }
        if let Some(code) = held.refuses {
            return failure(code, "Forbidden");
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        match (method, &live) {
            (&Method::POST, Some(_)) => return failure(409, "AlreadyExists"),
            (&Method::PUT, None) => return failure(404, "NotFound"),
            (&Method::PUT, Some(live)) if version(live) != version(&sent) => {
                return failure(409, "Conflict");
            }
            _ => {}
        }
        held.writes += 1;
        sent["metadata"]["resourceVersion"] = json!(held.writes.to_string());
        held.objects.insert(at, sent.clone());
        (StatusCode::OK, sent)
    }

    fn writes(&self) -> u64 {
        self.0.lock().writes
    }

    fn get(&self, path: &str) -> Value {
        self.0.lock().objects.get(path).cloned().unwrap_or_default()
    }

    fn put(&self, path: &str, object: Value) {
        self.0.lock().objects.insert(path.to_owned(), object);
    }
}

fn failure(code: u16, reason: &str) -> (StatusCode, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                        "reason": reason, "message": reason});
    (StatusCode::from_u16(code).unwrap(), status)
}

fn reached() -> Reached {
    Reached::Service { namespace: "team".to_owned(), name: "hook".to_owned() }
}

fn options() -> Options {
    Options {
        certificates: Certificates::Own { namespace: "team".to_owned() },
        names: reached().names(),
        configuration: Some(Configuration {
            name: "ours",
            webhooks: WEBHOOKS,
            reached: reached(),
            create: true,
        }),
        http2: false,
        now: Timestamp::now,
    }
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

#[tokio::test]
async fn two_replicas_share_a_certificate_and_then_write_nothing() {
    let api = Api::default();
    let client = api.client();
    let (one, other) =
        tokio::join!(Keeper::new(&client, options()), Keeper::new(&client, options()));
    let (mut one, mut other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.look().await, None);
    assert_eq!(other.look().await, None);
    let secret = api.get(&format!("{SECRETS}/{SECRET}"));
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let configuration = api.get(&format!("{CONFIGURATIONS}/ours"));
    let webhook = &configuration["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Fail");
    assert_eq!(webhook["sideEffects"], "None");
    assert_eq!(
        webhook["clientConfig"]["service"],
        json!({"namespace": "team", "name": "hook", "path": "/one", "port": 443})
    );
    assert_eq!(webhook["clientConfig"]["caBundle"], secret["data"]["ca.crt"]);
    assert_eq!(api.writes(), 2, "one Secret, one configuration");
    for _ in 0..3 {
        assert_eq!((one.look().await, other.look().await), (None, None));
    }
    assert_eq!(api.writes(), 2, "what is settled is not written");
}

#[tokio::test]
async fn a_certificate_is_announced_then_changed_and_replicas_follow() {
    let api = Api::default();
    let client = api.client();
    let mut early = Keeper::new(&client, options()).await.unwrap();
    early.look().await;
    let path = format!("{SECRETS}/{SECRET}");
    let bundle =
        || api.get(&format!("{CONFIGURATIONS}/ours"))["webhooks"][0]["clientConfig"].clone();
    let (first, told) = (api.get(&path), bundle());
    let late = |days: i64| {
        let now: fn() -> Timestamp = match days {
            65 => || in_days(65),
            _ => || in_days(78),
        };
        Options { now, ..options() }
    };
    let mut announcing = Keeper::new(&client, late(65)).await.unwrap();
    assert_eq!(announcing.look().await, None);
    assert_eq!(api.get(&path)["data"]["tls.crt"], first["data"]["tls.crt"]);
    assert_ne!(bundle(), told, "API servers are told first");
    let mut changing = Keeper::new(&client, late(78)).await.unwrap();
    assert_eq!(changing.look().await, None);
    let second = api.get(&path);
    assert_ne!(second["data"]["tls.crt"], first["data"]["tls.crt"]);
    assert_eq!(second["data"].get("next.crt"), None);
    let writes = api.writes();
    assert_eq!(announcing.look().await, None);
    assert_eq!(api.writes(), writes, "what another replica made is good");
}

#[tokio::test]
async fn what_is_damaged_or_deleted_comes_back() {
    let api = Api::default();
    let client = api.client();
    let mut keeper = Keeper::new(&client, options()).await.unwrap();
    keeper.look().await;
    let (secret, configuration) = (format!("{SECRETS}/{SECRET}"), format!("{CONFIGURATIONS}/ours"));
    for (path, edit) in [
        (&secret, (|object| object["data"]["tls.key"] = json!("eA==")) as fn(&mut Value)),
        (&secret, |object| object["data"] = Value::Null),
        (&configuration, |object| object["webhooks"] = json!([])),
        (&configuration, |object| object["webhooks"][0]["failurePolicy"] = json!("Ignore")),
        (&configuration, |object| {
            object["webhooks"][0]["clientConfig"]["caBundle"] = json!("eA==");
        }),
        (&configuration, |object| {
            object["webhooks"][0]["clientConfig"] = json!({"url": "https://example.org"});
        }),
    ] {
        let mut object = api.get(path);
        edit(&mut object);
        api.put(path, object);
        assert_eq!(keeper.look().await, None);
        let (bundle, wanted) = (api.get(&secret), api.get(&configuration));
        let client = &wanted["webhooks"][0]["clientConfig"];
        assert_eq!(client["caBundle"], bundle["data"]["ca.crt"]);
        assert_eq!(client["service"]["name"], "hook");
        assert_eq!(wanted["webhooks"][0]["failurePolicy"], "Fail");
    }
    api.0.lock().objects.clear();
    assert_eq!(keeper.look().await, None);
    assert_eq!(api.0.lock().objects.len(), 2);
}

#[tokio::test]
async fn what_others_made_stays_theirs() {
    let api = Api::default();
    let foreign = json!({"metadata": {"name": SECRET, "resourceVersion": "1"}, "data": {}});
    api.put(&format!("{SECRETS}/{SECRET}"), foreign);
    let refused = Keeper::new(&api.client(), options()).await.unwrap_err();
    assert!(matches!(refused, KeeperError::Foreign(_)), "{refused}");
    assert_eq!(api.writes(), 0);

    let api = Api::default();
    let theirs = json!({
        "metadata": {"name": "ours", "resourceVersion": "1", "labels": {"a": "b"},
                     "annotations": {"cert-manager.io/inject-ca-from": "x/y"}},
        "webhooks": [
            {"name": "other.example.org", "clientConfig": {"url": "https://other.example.org"}},
            {"name": "one.example.org", "namespaceSelector": {"matchLabels": {"c": "d"}},
             "clientConfig": {"caBundle": "dGhlaXJz"}},
        ],
    });
    let path = format!("{CONFIGURATIONS}/ours");
    api.put(&path, theirs.clone());
    api.put(&format!("{CONFIGURATIONS}/another"), theirs.clone());
    let mut keeper = Keeper::new(&api.client(), options()).await.unwrap();
    assert_eq!(keeper.look().await, None);
    let live = api.get(&path);
    assert_eq!(live["webhooks"][0], theirs["webhooks"][0]);
    assert_eq!(
        live["webhooks"][1]["namespaceSelector"],
        theirs["webhooks"][1]["namespaceSelector"]
    );
    assert_eq!(
        live["webhooks"][1]["clientConfig"]["caBundle"], "dGhlaXJz",
        "who injects it says it"
    );
    assert_eq!(live["metadata"]["labels"], theirs["metadata"]["labels"]);
    assert_eq!(api.get(&format!("{CONFIGURATIONS}/another")), theirs);
}

#[tokio::test]
async fn a_configuration_that_may_not_be_written_is_told_and_stops_nothing() {
    let api = Api::default();
    let mut keeper = Keeper::new(&api.client(), options()).await.unwrap();
    api.0.lock().refuses = Some(403);
    let trouble = keeper.look().await.unwrap();
    assert!(trouble.contains("ValidatingWebhookConfiguration ours"), "{trouble}");
    api.0.lock().refuses = None;
    assert_eq!(keeper.look().await, None);
    let mut wanted = options();
    wanted.configuration.as_mut().unwrap().create = false;
    api.0.lock().objects.remove(&format!("{CONFIGURATIONS}/ours"));
    let mut keeper = Keeper::new(&api.client(), wanted).await.unwrap();
    let trouble = keeper.look().await.unwrap();
    assert!(trouble.contains("not found"), "{trouble}");
}

#[tokio::test]
async fn certificates_of_others_are_followed_and_a_bad_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let certificates = Certificates::Directory(directory.path().to_owned());
    let with = || Options { certificates: certificates.clone(), ..options() };
    let api = Api::default();
    let missing = Keeper::new(&api.client(), with()).await.unwrap_err();
    assert!(missing.to_string().contains("tls.crt"), "{missing}");
    let pair = |kept: &certificates::Kept| {
        use secrecy::ExposeSecret as _;
        (kept.current.certificate.clone(), kept.current.key.expose_secret().to_owned())
    };
    let make = || certificates::Kept::new(&reached().names(), Timestamp::now()).unwrap();
    let (first, second) = (make(), make());
    write("tls.crt", &pair(&first).0);
    write("tls.key", &pair(&first).1);
    let mut keeper = Keeper::new(&api.client(), with()).await.unwrap();
    assert_eq!(keeper.look().await, None);
    let client = |api: &Api| api.get(&format!("{CONFIGURATIONS}/ours"))["webhooks"][0].clone();
    assert_eq!(client(&api)["clientConfig"].get("caBundle"), None, "nobody said whom to trust");
    write("ca.crt", &first.bundle());
    assert_eq!(keeper.look().await, None);
    assert!(client(&api)["clientConfig"]["caBundle"].is_string());
    // One file after the other: until they fit, the old ones serve.
    write("tls.crt", &pair(&second).0);
    assert!(keeper.look().await.unwrap().contains("certificate"));
    write("tls.key", &pair(&second).1);
    assert_eq!(keeper.look().await, None);
    write("tls.crt", "");
    assert!(keeper.look().await.is_some());
    assert!(api.get(&format!("{SECRETS}/{SECRET}")).is_null(), "none of our own is made");
}

#[test]
fn names_are_those_that_api_servers_ask_for() {
    assert_eq!(reached().names(), ["hook.team.svc"]);
    for (url, name) in [
        ("https://127.0.0.1:9443", "127.0.0.1"),
        ("https://[::1]:9443", "::1"),
        ("https://hook.example.org", "hook.example.org"),
    ] {
        assert_eq!(Reached::Url(url.to_owned()).names(), [name]);
    }
}

/// Refuses what is named `bad`, and warns of what is named `odd`.
struct Picky;

impl Rules for Picky {
    async fn review(&self, request: &Request<'_>) -> Result<Vec<String>, Denial> {
        let cause = || vec![Cause::internal("FieldValueInvalid", "spec.a", "Invalid value: no")];
        match request.name {
            "bad" => Denial::invalid(request, cause()).map(|()| Vec::new()),
            "used" => Denial::conflict(request, cause()).map(|()| Vec::new()),
            "odd" => Ok(vec!["careful".to_owned()]),
            "lost" => Err(Denial::internal("nobody knows")),
            "slow" => std::future::pending().await,
            _ => Ok(Vec::new()),
        }
    }
}

fn app(reviews: &Reviews) -> web::Handler {
    let stack = Stack::new("admission", render)
        .body_limit(MAX_BYTES)
        .answer_within(std::time::Duration::from_millis(50));
    stack.wrap(router(&WEBHOOKS[0], Arc::new(Picky), reviews))
}

async fn ask(body: Vec<u8>, media_type: &str) -> (u16, Value) {
    ask_counted(body, media_type, &Reviews::default()).await
}

async fn ask_counted(body: Vec<u8>, media_type: &str, reviews: &Reviews) -> (u16, Value) {
    let request = HttpRequest::post("/one").header("content-type", media_type);
    let request = request.body(axum::body::Body::from(body)).unwrap();
    let answer = app(reviews).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn review(name: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": "CREATE", "name": name, "namespace": "team",
            "kind": {"group": "example.org", "version": "v1", "kind": "One"},
            "resource": {"group": "example.org", "version": "v1", "resource": "ones"},
            "userInfo": {"username": "ada"}, "object": {"spec": {}}, "oldObject": null,
            "options": null, "dryRun": false,
        },
    })
}

async fn verdict(name: &str) -> Value {
    let (status, answer) = ask(review(name).to_string().into(), "application/json").await;
    assert_eq!(status, 200);
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "u-1");
    answer["response"].clone()
}

#[tokio::test]
async fn an_answer_is_what_an_api_server_passes_on() {
    let good = verdict("good").await;
    assert_eq!((good["allowed"].as_bool(), good.get("warnings")), (Some(true), None));
    let odd = verdict("odd").await;
    assert_eq!(odd["allowed"], true);
    assert_eq!(odd["warnings"], json!(["careful"]));
    let bad = verdict("bad").await;
    assert_eq!(bad["allowed"], false);
    let status = &bad["status"];
    assert_eq!((status["code"].as_u64(), status["reason"].as_str()), (Some(422), Some("Invalid")));
    assert_eq!(status["message"], "One.example.org \"bad\" is invalid: spec.a: Invalid value: no");
    assert_eq!(
        status["details"],
        json!({"name": "bad", "group": "example.org", "kind": "One", "causes": [
            {"reason": "FieldValueInvalid", "field": "spec.a", "message": "Invalid value: no"}]})
    );
    let used = verdict("used").await;
    assert_eq!(used["status"]["code"], 409);
    assert_eq!(used["status"]["details"]["kind"], "ones");
}

#[tokio::test]
async fn verdicts_are_counted() {
    let (reviews, mut registry) = (Reviews::default(), Registry::default());
    reviews.register(&mut registry);
    for name in ["good", "fine", "odd", "bad", "used", "lost"] {
        let body = review(name).to_string().into();
        assert_eq!(ask_counted(body, "application/json", &reviews).await.0, 200);
    }
    assert_eq!(ask_counted(b"{}".to_vec(), "application/json", &reviews).await.0, 400);
    let mut page = String::new();
    text::encode(&mut page, &registry).unwrap();
    for (verdict, count) in
        [("allowed", 2), ("warned", 1), ("denied", 2), ("failed", 1), ("unreadable", 1)]
    {
        let line = format!(
            "admission_reviews_total{{webhook=\"one.example.org\",verdict=\"{verdict}\"}} {count}\n"
        );
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
}

fn deep() -> String {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    review("x").to_string().replace("{\"spec\":{}}", &format!("{{\"spec\":{nested}}}"))
}

fn without(field: &str) -> String {
    let mut review = review("x");
    let (parent, last) = field.rsplit_once('/').unwrap();
    let parent = review.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.remove(last);
    review.to_string()
}

#[rstest]
#[case::nothing("", 400)]
#[case::no_json("hello", 400)]
#[case::cut(&review("x").to_string()[..200], 400)]
#[case::a_list("[]", 400)]
#[case::null("null", 400)]
#[case::empty("{}", 400)]
#[case::no_request(&without("/request"), 400)]
#[case::no_uid(&without("/request/uid"), 400)]
#[case::no_kind(&without("/kind"), 400)]
#[case::old_version(&review("x").to_string().replace("k8s.io/v1", "k8s.io/v1beta1"), 400)]
#[case::an_object_that_is_none(&review("x").to_string().replace("{\"spec\":{}}", "7"), 400)]
#[case::deep(&deep(), 400)]
#[case::no_operation(&without("/request/operation"), 200)]
#[case::connect(&review("x").to_string().replace("CREATE", "CONNECT"), 200)]
#[tokio::test]
async fn whatever_is_asked_is_answered(#[case] body: &str, #[case] expected: u16) {
    let (status, answer) = ask(body.as_bytes().to_vec(), "application/json").await;
    assert_eq!(status, expected, "{answer}");
    let said = if status == 200 { &answer["response"]["uid"] } else { &answer["message"] };
    assert!(!said.as_str().unwrap().is_empty(), "{answer}");
}

#[tokio::test]
async fn bytes_that_are_no_text_and_floods_are_refused() {
    let mut bytes = review("x").to_string().into_bytes();
    let at = bytes.windows(4).position(|part| part == b"team").unwrap();
    bytes[at] = 0xff;
    let (status, answer) = ask(bytes, "application/json").await;
    assert_eq!((status, answer["reason"].as_str()), (400, Some("BadRequest")));
    let flood = vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1];
    let (status, answer) = ask(flood, "application/json").await;
    assert_eq!((status, answer["kind"].as_str()), (413, Some("Status")));
    for media_type in ["text/plain", "application/x-yaml", ""] {
        let (status, _) = ask(review("x").to_string().into(), media_type).await;
        assert_eq!(status, 415);
    }
    let (status, _) = ask(review("x").to_string().into(), "application/json; charset=utf-8").await;
    assert_eq!(status, 200);
    let (status, answer) = ask(review("slow").to_string().into(), "application/json").await;
    assert_eq!((status, answer["reason"].as_str()), (504, Some("Timeout")));
}
