//! Behind an authenticating proxy: each request brings its caller, on two hosts or on one.

use std::sync::Arc;

use axum::{Router, body::Body, extract::Request};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use web::{
    identity::{Door, HeaderSettings, ProxyHeaders},
    listener::{self, Drain, Stack},
};
use workspaces::connect::{
    Found, Front, Limits, Options, Place, api_router, apps_router, render, shared_router,
};

use crate::kit::{self, Answer, Fake, PATH, send};

const CALLER: (&str, &str) = ("kubeflow-userid", "ada");
const BROWSER: (&str, &str) = ("accept", "text/html");

/// A program that tells which headers it sees: the workspace's own secret is among them.
fn mirror() -> Router {
    Router::new().fallback(|request: Request| async move {
        format!("{} {:?}", request.uri(), request.headers())
    })
}

struct Behind {
    api: std::net::SocketAddr,
    apps: std::net::SocketAddr,
    shared: std::net::SocketAddr,
    backend: Arc<Fake>,
    _drain: Drain,
}

async fn setup() -> Behind {
    let program = kit::program(mirror()).await;
    let found = Found { uid: "uid-1".to_owned(), port: kit::open(program, false) };
    let backend = Arc::new(Fake { found: Mutex::new(Some(found)), may: Mutex::new(true) });
    let drain = Drain::new();
    let options = Options {
        front: Front::Identified,
        api: Place::Url("https://api.example.org".to_owned()),
        apps: Place::Url("https://apps.example.org".to_owned()),
        limits: Limits::default(),
        drain: drain.clone(),
    };
    let serve = async |router: Router| {
        let who = ProxyHeaders::new(HeaderSettings::default());
        let router = Door::new(who, render).protect(router);
        let router = Stack::streaming("test", render).wrap(router);
        let listener = listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.address();
        tokio::spawn(listener.serve(router, listener::Limits::default(), drain.clone()));
        address
    };
    Behind {
        api: serve(api_router(Arc::clone(&backend), options.clone())).await,
        apps: serve(apps_router(Arc::clone(&backend), options.clone())).await,
        shared: serve(shared_router(Arc::clone(&backend), options)).await,
        backend,
        _drain: drain.clone(),
    }
}

async fn get(address: std::net::SocketAddr, headers: &[(&str, &str)]) -> Answer {
    send(address, Method::GET, PATH, headers, Body::empty()).await
}

#[tokio::test]
async fn whom_the_proxy_names_is_let_in_and_the_program_learns_no_name() {
    let setup = setup().await;
    for address in [setup.apps, setup.shared] {
        let headers =
            [CALLER, ("kubeflow-groups", "staff"), ("authorization", "Bearer hers"), BROWSER];
        let answer = get(address, &headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(answer.text().starts_with(PATH), "{}", answer.text());
        for secret in ["kubeflow", "hers", "ada", "staff"] {
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }
        assert_eq!(answer.header("set-cookie"), "", "nobody is known by a cookie");
    }
}

#[tokio::test]
async fn nobody_is_turned_away_and_not_sent_in_circles() {
    let setup = setup().await;
    for address in [setup.api, setup.apps, setup.shared] {
        for headers in [&[BROWSER][..], &[], &[("kubeflow-userid", "")]] {
            assert_eq!(get(address, headers).await.status, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn who_may_not_update_the_workspace_may_not_connect() {
    let setup = setup().await;
    *setup.backend.may.lock() = false;
    for address in [setup.api, setup.apps, setup.shared] {
        assert_eq!(get(address, &[CALLER]).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn the_api_leads_to_the_address_of_apps_without_a_ticket() {
    let setup = setup().await;
    let path = format!("{PATH}lab?a=1");
    for headers in [&[CALLER, BROWSER][..], &[CALLER]] {
        let answer = send(setup.api, Method::GET, &path, headers, Body::empty()).await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(answer.header("location"), format!("https://apps.example.org{path}"));
    }
}

#[tokio::test]
async fn pages_of_other_sites_may_lead_here_and_nothing_more() {
    let setup = setup().await;
    let foreign = ("sec-fetch-site", "cross-site");
    for address in [setup.apps, setup.shared] {
        assert_eq!(get(address, &[CALLER, BROWSER, foreign]).await.status, StatusCode::OK);
        for site in ["cross-site", "same-site"] {
            let headers = [CALLER, ("sec-fetch-site", site)];
            let answer = send(address, Method::POST, PATH, &headers, Body::empty()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{site}");
            let upgrade = [CALLER, ("sec-fetch-site", site), ("upgrade", "websocket")];
            assert_eq!(get(address, &upgrade).await.status, StatusCode::FORBIDDEN, "{site}");
        }
        let own = [CALLER, ("sec-fetch-site", "same-origin")];
        let answer = send(address, Method::POST, PATH, &own, Body::empty()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_host_that_serves_both_has_nothing_else_below() {
    let setup = setup().await;
    let answer = send(setup.shared, Method::GET, "/api/v1/x", &[CALLER], Body::empty()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
