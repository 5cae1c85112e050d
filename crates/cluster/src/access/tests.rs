//! Reviews on an API that counts questions, and can be away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use web::{Authenticate as _, Identity, Kind};

use super::{Access, Attributes, Reviews, TokenReviews};

/// Allows whatever `ada` asks, knows the token `zebra`, and counts.
#[derive(Clone, Default)]
struct Api {
    asked: Arc<AtomicUsize>,
    /// 0 for well; 1 for no connection; else the status of every answer.
    broken: Arc<AtomicU16>,
}

impl Api {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                api.asked.fetch_add(1, Ordering::SeqCst);
                let broken = api.broken.load(Ordering::SeqCst);
                if broken == 1 {
                    return Err(tower::BoxError::from("connection refused"));
                }
                let body = request.into_body().collect_bytes().await?;
                let mut review: Value = serde_json::from_slice(&body)?;
                if broken > 1 {
                    let failure = json!({"kind": "Status", "code": broken, "reason": "x",
                                         "message": "x", "status": "Failure"});
                    let answer = Response::builder().status(broken);
                    return Ok(answer.body(Body::from(failure.to_string().into_bytes()))?);
                }
                review["status"] = match review["spec"]["token"].as_str() {
                    Some("zebra") => json!({"authenticated": true, "audiences": ["here"],
                        "user": {"username": "ada", "groups": ["staff"]}}),
                    Some(_) => json!({"authenticated": false, "error": "no such token"}),
                    None => json!({"allowed": review["spec"]["user"] == "ada"}),
                };
                Ok(Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        Client::new(service, "default")
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn break_with(&self, how: u16) {
        self.broken.store(how, Ordering::SeqCst);
    }
}

fn user(name: &str) -> Identity {
    Identity { user: name.to_owned(), groups: Vec::new() }
}

const fn may<'a>(verb: &'static str, name: Option<&'a str>) -> Attributes<'a> {
    Attributes {
        verb,
        group: "kubeflow.org",
        version: "v1beta1",
        resource: "workspaces",
        namespace: Some("team"),
        name,
    }
}

async fn verdict(access: &Access, who: &str, attributes: &Attributes<'_>) -> Result<(), Kind> {
    access.check(&user(who), attributes).await.map_err(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_ten_seconds_for_this_very_question() {
    let api = Api::default();
    let access = Access::Reviewed(Reviews::new(&api.client()));
    for _ in 0..3 {
        assert_eq!(verdict(&access, "ada", &may("list", None)).await, Ok(()));
        assert_eq!(verdict(&access, "eve", &may("list", None)).await, Err(Kind::Forbidden));
    }
    assert_eq!(api.asked(), 2, "yes and no are both remembered");
    for question in [may("get", None), may("list", Some("x"))] {
        assert_eq!(verdict(&access, "ada", &question).await, Ok(()));
    }
    assert_eq!(api.asked(), 4, "other questions are asked");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(verdict(&access, "ada", &may("list", None)).await, Ok(()));
    assert_eq!(api.asked(), 5, "and again when it is old");
}

#[tokio::test(start_paused = true)]
async fn while_the_api_is_away_reads_go_by_its_last_word_and_changes_wait() {
    let api = Api::default();
    let access = Access::Reviewed(Reviews::new(&api.client()));
    for verb in ["list", "update"] {
        assert_eq!(verdict(&access, "ada", &may(verb, None)).await, Ok(()));
        assert_eq!(verdict(&access, "eve", &may(verb, None)).await, Err(Kind::Forbidden));
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    for broken in [1, 503] {
        api.break_with(broken);
        assert_eq!(verdict(&access, "ada", &may("list", None)).await, Ok(()));
        assert_eq!(verdict(&access, "eve", &may("list", None)).await, Err(Kind::Forbidden));
        assert_eq!(verdict(&access, "ada", &may("update", None)).await, Err(Kind::Unavailable));
        let never_asked = may("get", Some("x"));
        assert_eq!(verdict(&access, "ada", &never_asked).await, Err(Kind::Unavailable));
    }
    // A cluster that answers and refuses the question itself is not away.
    api.break_with(403);
    assert_eq!(verdict(&access, "ada", &may("list", None)).await, Err(Kind::Internal));
}

#[tokio::test]
async fn who_answered_is_counted() {
    let api = Api::default();
    let access = Access::Reviewed(Reviews::new(&api.client()));
    let mut registry = prometheus_client::registry::Registry::default();
    access.register(&mut registry);
    for _ in 0..3 {
        assert_eq!(verdict(&access, "ada", &may("list", None)).await, Ok(()));
    }
    api.break_with(1);
    assert_eq!(verdict(&access, "ada", &may("get", None)).await, Err(Kind::Unavailable));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for (by, count) in [("cluster", 1), ("memory", 2), ("nobody", 1)] {
        assert!(text.contains(&format!("reviews_total{{by=\"{by}\"}} {count}\n")), "{text}");
    }
}

async fn whose(reviews: &TokenReviews, header: Option<&str>) -> Result<Identity, Kind> {
    let mut request = Request::get("/");
    if let Some(header) = header {
        request = request.header("authorization", header);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let found = reviews.authenticate(&mut parts).await;
    assert!(parts.headers.is_empty(), "nothing behind sees the token");
    found.map_err(|error| {
        assert!(!error.log().to_string().contains("zebra"), "no token in a log");
        error.kind()
    })
}

#[tokio::test]
async fn tokens_are_asked_about_once_and_taken_off() {
    let api = Api::default();
    let reviews = TokenReviews::new(&api.client(), Vec::new());
    let ada = Identity { user: "ada".to_owned(), groups: vec!["staff".to_owned()] };
    for _ in 0..2 {
        assert_eq!(whose(&reviews, Some("Bearer zebra")).await, Ok(ada.clone()));
        assert_eq!(whose(&reviews, Some("bearer bad")).await, Err(Kind::Unauthenticated));
    }
    assert_eq!(api.asked(), 2);
    for header in [None, Some("Bearer "), Some("Bearer"), Some("Basic zebra"), Some("zebra")] {
        assert_eq!(whose(&reviews, header).await, Err(Kind::Unauthenticated), "{header:?}");
    }
    let long = format!("Bearer {}", "x".repeat(20_000));
    assert_eq!(whose(&reviews, Some(&long)).await, Err(Kind::Unauthenticated));
    assert_eq!(api.asked(), 2, "what cannot be a token is not asked about");
    api.break_with(1);
    assert_eq!(whose(&reviews, Some("Bearer zebra, too")).await, Err(Kind::Unavailable));
    api.break_with(403);
    assert_eq!(whose(&reviews, Some("Bearer zebra as well")).await, Err(Kind::Internal));
}

#[tokio::test]
async fn tokens_for_somebody_else_are_good_for_nobody() {
    let api = Api::default();
    for (audience, known) in [("here", true), ("elsewhere", false)] {
        let reviews = TokenReviews::new(&api.client(), vec![audience.to_owned()]);
        assert_eq!(whose(&reviews, Some("Bearer zebra")).await.is_ok(), known, "{audience}");
    }
}

#[tokio::test]
async fn only_the_owner_of_the_machine_passes() {
    assert!(Access::Local.check(&Identity::local(), &may("list", None)).await.is_ok());
    assert_eq!(verdict(&Access::Local, "local", &may("list", None)).await, Err(Kind::Forbidden));
}
