//! What is answered to a request for a receiver (contract §3.9): a status, never a word.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::{
    listener::{Body, Handler},
    meters::Meters,
    receive::{self, Limits, Read, Table},
};

/// The longest body.
const MAX_BODY: usize = 3 << 20;

/// Receives webhooks for receivers.
pub(super) struct Desk {
    receiver: Arc<receive::Receiver>,
    /// Paths of those that are suspended or not ready.
    closed: ArcSwap<HashSet<String>>,
}

impl Desk {
    pub(super) fn new(meters: Arc<Meters>) -> Arc<Self> {
        let receiver = receive::Receiver::new(Table::default(), Limits::default(), meters);
        Arc::new(Self { receiver, closed: ArcSwap::default() })
    }

    /// Who works on requests.
    pub(super) fn receiver(&self) -> &Arc<receive::Receiver> {
        &self.receiver
    }

    /// Puts others in the place of what is served.
    pub(super) fn replace(&self, table: Table, closed: HashSet<String>) {
        self.receiver.replace(table);
        self.closed.store(Arc::new(closed));
    }

    async fn receive(&self, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let start = Instant::now();
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
        // Before the lookup, as the controller does it.
        let (body, share) = match self.receiver.body(&head.headers, incoming, MAX_BODY, "").await {
            Ok(read) => read,
            Err(reply) => return silent(reply.into_response()),
        };
        let Some(route) = self.receiver.route(&path) else {
            return status(if self.closed.load().contains(&path) { 503 } else { 404 });
        };
        if route.endpoint().rate.take().is_err() {
            return status(429);
        }
        let headers = head.headers;
        let read = Read { address: peer, route, headers, body, client: None, start, share };
        silent(self.receiver.take(read).await.0.into_response())
    }
}

impl Handler for Desk {
    async fn handle(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        self.receive(peer, request).await
    }

    fn exempt(&self, peer: IpAddr) -> bool {
        Handler::exempt(&*self.receiver, peer)
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
