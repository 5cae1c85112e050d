//! What happens to one request (contract §3.1), in this order; a later step never runs before an
//! earlier one passed:
//!
//! path and method, rates, encoding and length, body under its limits, authentication on raw bytes,
//! parsing, telling the targets, the answer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::{
    decide::{auth::Auth, cel},
    journal::Journal,
    limits::{Budget, Failures, Network, Rate, Share},
    listener::{Body, Handler},
    model::{Answer, Class, Event, Inbound, Refusal},
    sources::Outcome,
};

mod body;
mod endpoint;
mod inline;
mod judge;
mod kept;
mod reply;

pub use endpoint::{Endpoint, Keep, Route, Table};
use inline::Call;
use judge::judge;
use reply::Reply;

/// When senders shall come again to an endpoint that is paused.
const PAUSED: Duration = Duration::from_secs(300);

/// What is bounded for all requests; an endpoint may have its own limit for bodies and its own
/// rate.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The bytes of a body.
    pub body_bytes: usize,
    /// How long a body may take.
    pub body_time: Duration,
    /// How long a body may come slower than `body_rate`.
    pub body_patience: Duration,
    /// The least bytes per second.
    pub body_rate: usize,
    /// The bytes of all bodies in memory.
    pub inflight_bytes: usize,
    /// Failures of one address.
    pub failures: Rate,
    /// Addresses that may fail and connect as often as they like.
    pub exempt: Vec<Network>,
    /// Proxies that are believed when they say who called.
    pub trusted_proxies: Vec<Network>,
    /// How long the answer may take.
    pub handler_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 << 20,
            body_time: Duration::from_secs(30),
            body_patience: Duration::from_secs(5),
            body_rate: 1024,
            inflight_bytes: 256 << 20,
            failures: Rate { per_second: 0.5, burst: 60.0 },
            exempt: Network::loopback(),
            trusted_proxies: Vec::new(),
            handler_time: Duration::from_secs(30),
        }
    }
}

/// How many requests of an endpoint, with the name of its source, got a status.
pub type Counts = BTreeMap<(String, &'static str, u16), u64>;

/// How the requests of one endpoint were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// With success.
    pub accepted: u64,
    /// With anything else.
    pub refused: u64,
    /// When the last accepted one came, in Unix seconds; 0 if none did.
    pub last_accepted: i64,
}

/// Receives webhooks.
#[derive(Debug)]
pub struct Receiver {
    table: ArcSwap<Table>,
    limits: Limits,
    failures: Failures,
    budget: Arc<Budget>,
    /// Answers by endpoint, source and status.
    counts: Mutex<Counts>,
    /// When each endpoint accepted something last.
    accepted: Mutex<HashMap<String, i64>>,
    /// Work that goes on when its caller is gone.
    work: TaskTracker,
}

impl Receiver {
    /// A receiver for these endpoints. Those that keep anything need the table's journal.
    pub fn new(table: Table, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            table: ArcSwap::from_pointee(table),
            failures: Failures::new(limits.failures, limits.exempt.clone()),
            budget: Budget::new(limits.inflight_bytes),
            counts: Mutex::default(),
            accepted: Mutex::default(),
            work: TaskTracker::new(),
            limits,
        })
    }

    /// Puts other endpoints in the place of these, all at once. Requests that are being worked on
    /// end with the old ones.
    pub fn replace(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// The journal in use.
    pub fn journal(&self) -> Option<Journal> {
        self.table.load().journal.clone()
    }

    /// Name, source and paths of all endpoints.
    pub fn endpoints(&self) -> Vec<(String, &'static str, Vec<String>)> {
        self.table.load().endpoints()
    }

    /// How requests were answered so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }

    /// How the requests of the endpoint of this name were answered.
    pub fn tally(&self, name: &str) -> Tally {
        let last_accepted = self.accepted.lock().get(name).copied().unwrap_or_default();
        let mut tally = Tally { last_accepted, ..Tally::default() };
        for ((endpoint, _, status), count) in &*self.counts.lock() {
            let place = if *status < 300 { &mut tally.accepted } else { &mut tally.refused };
            *place += if endpoint == name { count } else { &0 };
        }
        tally
    }

    /// Forgets what endpoints of other names were answered.
    pub fn forget_all_but(&self, names: &BTreeSet<String>) {
        self.counts.lock().retain(|(name, ..), _| names.contains(name));
        self.accepted.lock().retain(|name, _| names.contains(name));
    }

    fn count(&self, endpoint: &Endpoint, reply: &Reply) {
        let mut counts = self.counts.lock();
        let key = (endpoint.name.clone(), endpoint.source.name(), reply.status());
        *counts.entry(key).or_default() += 1;
        drop(counts);
        if reply.status() < 300 {
            let mut accepted = self.accepted.lock();
            match accepted.get_mut(&endpoint.name) {
                Some(last) => *last = now(),
                None => drop(accepted.insert(endpoint.name.clone(), now())),
            }
        }
    }

    /// Resolves when no accepted request is being worked on; to be called after the listener has
    /// ended.
    pub async fn finished(&self) {
        self.work.close();
        self.work.wait().await;
    }

    async fn receive(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Reply {
        let path = request.uri().path();
        if path == "/health" {
            return Answer::OK.into();
        }
        let address = self.address(peer, request.headers());
        let endpoint = match self.admit(address, path, request.method()) {
            Ok(endpoint) => endpoint,
            Err(reply) => return reply,
        };
        let (head, incoming) = request.into_parts();
        let mut share = self.budget.share();
        let most = endpoint.body_bytes.unwrap_or(self.limits.body_bytes);
        let body = match body::read(&head.headers, incoming, &self.limits, most, &mut share).await {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        // A task of its own: a sender that hangs up after it has sent must not undo its request.
        let this = Arc::clone(&self);
        let work = self.work.spawn(async move {
            let reply = this.process(address, &endpoint, &head.headers, &body).await;
            this.count(&endpoint, &reply);
            drop::<Share>(share);
            reply
        });
        match tokio::time::timeout(self.limits.handler_time, work).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                tracing::error!(%error, "a request failed by a defect of ours");
                Answer::error(500, "internal error").into()
            }
            Err(_) => Reply::retry(503, "request timed out", Duration::from_secs(5)),
        }
    }

    /// Who called: the peer, or whom a trusted proxy names.
    fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| {
            self.limits.trusted_proxies.iter().any(|network| network.contains(address))
        };
        if !trusted(peer) {
            return peer;
        }
        let named =
            headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let mut hops: Vec<IpAddr> = named
            .flat_map(|value| value.split(','))
            .filter_map(|hop| hop.trim().parse().ok())
            .collect();
        while let Some(hop) = hops.pop() {
            if !trusted(hop) {
                return hop.to_canonical();
            }
        }
        peer
    }

    fn admit(&self, address: IpAddr, path: &str, method: &Method) -> Result<Arc<Endpoint>, Reply> {
        let too_many = |wait| Reply::retry(429, "too many requests", wait);
        if let Some(wait) = self.failures.wait(address) {
            return Err(too_many(wait));
        }
        let Some(endpoint) = self.table.load().find(path, now()) else {
            self.failures.count(address);
            return Err(Answer::error(404, "404 page not found").into());
        };
        if method != Method::POST {
            return Err(Reply::post_only());
        }
        if endpoint.suspended {
            return Err(Reply::retry(503, "paused", PAUSED));
        }
        endpoint.rate.take().map_err(too_many)?;
        Ok(endpoint)
    }

    async fn process(
        &self,
        address: IpAddr,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Reply {
        let request = Inbound { headers, body, now: now() };
        let source = &endpoint.source;
        let events = match read(endpoint, &request).await {
            Ok(Outcome::Events(events)) => events,
            Ok(Outcome::Nothing(answer)) => return answer.into(),
            Err(refusal) => {
                if refusal.class == Class::Credentials {
                    self.failures.count(address);
                }
                tracing::info!(
                    endpoint = endpoint.name,
                    %address,
                    status = refusal.answer.status,
                    "{} {}: {}",
                    source.name(),
                    refusal.answer.text,
                    refusal.reason
                );
                let reply = Reply::from(refusal.answer);
                return match endpoint.auth {
                    Some(Auth::Basic { .. }) if refusal.class == Class::Credentials => {
                        reply.basic()
                    }
                    _ => reply,
                };
            }
        };
        let (events, calls) = match wanted(endpoint, headers, body, events).await {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::warn!(endpoint = endpoint.name, "a filter cannot be evaluated: {error}");
                return Answer::error(500, "filter error").into();
            }
        };
        if calls.is_empty() {
            return source.answers().done.into();
        }
        let journal = self.journal();
        match (endpoint.keep, &journal) {
            (Keep::Nothing, _) => inline::tell(endpoint, &events, &calls).await.into(),
            (Keep::Failures, Some(journal)) => {
                kept::failures(journal, endpoint, &request, events, &calls).await
            }
            (Keep::Everything { first, replay }, Some(journal)) => {
                kept::everything(journal, endpoint, &request, events, &calls, first, replay).await
            }
            (Keep::Failures | Keep::Everything { .. }, None) => kept::unavailable(),
        }
    }
}

impl Handler for Receiver {
    async fn handle(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        self.receive(peer, request).await.into_response()
    }

    fn exempt(&self, peer: IpAddr) -> bool {
        self.failures.exempt(peer)
            || self.limits.trusted_proxies.iter().any(|network| network.contains(peer))
    }
}

/// Authentication first, on raw bytes; only then is anything parsed.
async fn read(endpoint: &Endpoint, request: &Inbound<'_>) -> Result<Outcome, Refusal> {
    if endpoint.auth.as_ref().is_some_and(|auth| !auth.passes(request)) {
        return Err(Refusal::credentials(401, "invalid signature", "wrong credentials"));
    }
    endpoint.source.verify(request, &endpoint.keys)?;
    if let Some(check) = endpoint.source.verify_remotely(request) {
        check.await?;
    }
    endpoint.source.parse(request)
}

/// The events that pass the filters, and the calls they lead to.
async fn wanted<'a>(
    endpoint: &'a Endpoint,
    headers: &HeaderMap,
    body: &Bytes,
    mut events: Vec<Event>,
) -> Result<(Vec<Event>, Vec<Call<'a>>), cel::Error> {
    events.retain(|event| endpoint.filter.passes(event));
    if let Some(expression) = &endpoint.filter.cel {
        let questions = events.iter().map(|event| (expression.clone(), event)).collect();
        let mut said = judge(endpoint, headers, body, questions).await?.into_iter();
        events.retain(|_| said.next() == Some(true));
    }
    let mut calls = inline::calls(endpoint, &events);
    let asks = |call: &Call<'_>| call.target.filter().and_then(|filter| filter.cel.clone());
    let questions =
        calls.iter().filter_map(|call| Some((asks(call)?, &events[call.event]))).collect();
    let mut said = judge(endpoint, headers, body, questions).await?.into_iter();
    calls.retain(|call| asks(call).is_none() || said.next() == Some(true));
    Ok((events, calls))
}

/// The encodings that a body may have: none.
fn plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
