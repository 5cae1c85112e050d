//! What is answered to a request for a receiver (contract §3.9): a status, never a word.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use kube::Client;
use tokio_util::task::TaskTracker;

use super::{
    ask::{self, Said},
    build::Built,
    sender::Meaning,
};
use crate::{
    limits::{Bucket, Budget},
    listener::{Body, Handler},
    model::Inbound,
    receive::{self, LOGGED, body, now},
};

/// The longest body.
const MAX_BODY: usize = 3 << 20;

/// One path.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Nothing while the receiver is suspended or not ready.
    pub(super) built: Option<Arc<Built>>,
}

/// Receives webhooks for receivers.
pub(super) struct Desk {
    client: Client,
    own_namespace_only: bool,
    places: ArcSwap<HashMap<String, Place>>,
    limits: receive::Limits,
    budget: Arc<Budget>,
    logged: Bucket,
    /// Work that goes on when its caller is gone.
    work: TaskTracker,
}

impl Desk {
    pub(super) fn new(client: Client, own_namespace_only: bool) -> Arc<Self> {
        let limits = receive::Limits::default();
        Arc::new(Self {
            client,
            own_namespace_only,
            places: ArcSwap::default(),
            budget: Budget::new(limits.inflight_bytes),
            limits,
            logged: Bucket::new(LOGGED),
            work: TaskTracker::new(),
        })
    }

    /// Puts other places in the place of these, all at once.
    pub(super) fn replace(&self, places: HashMap<String, Place>) {
        self.places.store(Arc::new(places));
    }

    /// Resolves when no request is being worked on; to be called after the listener has ended.
    pub(super) async fn finished(&self) {
        self.work.close();
        self.work.wait().await;
    }

    async fn receive(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if !path.starts_with("/hook/") {
            return status(404);
        }
        if request.method() != Method::POST {
            let mut response = status(405);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let (head, incoming) = request.into_parts();
        let mut share = self.budget.share();
        // Before the lookup, as the controller does it.
        let read = body::read(&head.headers, incoming, &self.limits, MAX_BODY, &mut share).await;
        let body = match read {
            Ok(body) => body,
            Err(reply) => return silent(reply.into_response()),
        };
        let place = self.places.load().get(&path).cloned();
        let Some(Place { namespace, name, built }) = place else { return status(404) };
        let Some(built) = built else { return status(503) };
        let desk = Arc::clone(&self);
        // A task of its own: a sender that hangs up after it has sent must not undo its request.
        let work = self.work.spawn(async move {
            let _in_memory = share;
            let (code, why) = desk.work_on(&built, &namespace, &head.headers, &body).await;
            if code != 200 && desk.logged.take().is_ok() {
                tracing::info!(receiver = format!("{namespace}/{name}"), %peer, code, "{why}");
            }
            code
        });
        match tokio::time::timeout(self.limits.handler_time, work).await {
            Ok(Ok(code)) => status(code),
            Ok(Err(error)) => {
                tracing::error!(%error, "a request failed by a defect of ours");
                status(500)
            }
            Err(_) => status(503),
        }
    }

    /// The answer, and what there is to say about it in the log.
    async fn work_on(
        &self,
        built: &Built,
        namespace: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> (u16, String) {
        let request = Inbound { headers, body, now: now() };
        let (payload, claims) = match built.sender.judge(&request, &built.keys).await {
            Ok(Meaning::Told { payload, claims }) => (payload, claims),
            Ok(Meaning::Nothing) => return (200, String::new()),
            Err(why) => return (400, why.to_owned()),
        };
        let Some(said) = Said::of(built, &payload, claims) else {
            return (500, "the filter needs a JSON object".to_owned());
        };
        let only = self.own_namespace_only.then_some(namespace);
        let problems = ask::all(&self.client, built, &said, only).await;
        let code = if problems.is_empty() { 200 } else { 500 };
        (code, problems.join("; "))
    }
}

impl Handler for Desk {
    async fn handle(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        self.receive(peer, request).await
    }

    fn exempt(&self, peer: IpAddr) -> bool {
        self.limits.exempt.iter().any(|network| network.contains(peer))
    }
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// The same without a word.
fn silent(response: Response<Body>) -> Response<Body> {
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::X_CONTENT_TYPE_OPTIONS);
    Response::from_parts(head, Body::default())
}
