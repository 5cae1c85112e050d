//! What happens to one request (contract §3.1), in this order; a later step never runs before an
//! earlier one passed:
//!
//! path and method, rates, encoding and length, body under its limits, authentication on raw bytes,
//! parsing, telling the targets, the answer.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use crate::{
    decide::{auth::Auth, x509::Names},
    journal::{Id, Journal},
    limits::{Bucket, Budget, Failures, Network, Rate, Share},
    listener::{Body, Client, Handler},
    meters::{Meters, Tally},
    model::{Answer, Class, Inbound, Refusal},
    sources::Outcome,
    targets::{Request as Original, Wants},
};

mod body;
mod caller;
mod endpoint;
mod fate;
mod inline;
mod judge;
mod kept;
mod read;
mod recent;
mod reply;
mod steadfast;
#[cfg(test)]
mod tests;

use body::Trouble;
pub use endpoint::{Endpoint, Keep, Pause, Route, Table};
use fate::Fate;
use judge::{Seen, wanted};
use kept::Keeper;
pub(crate) use read::preview;
use read::read;
pub use recent::{Entry, Recent};
pub(crate) use reply::Reply;
use steadfast::Steadfast;

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

/// The longest path that is looked up.
const MAX_PATH: usize = 4096;
/// How many refusals are logged and remembered; the others are only counted.
pub(crate) const LOGGED: Rate = Rate { per_second: 10.0, burst: 10.0 };

/// Receives webhooks.
#[derive(Debug)]
pub struct Receiver {
    table: ArcSwap<Table>,
    limits: Limits,
    failures: Failures,
    budget: Arc<Budget>,
    meters: Arc<Meters>,
    recent: Recent,
    logged: Bucket,
    /// Work that goes on when its caller is gone.
    work: TaskTracker,
}

/// An answer, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub text: String,
    /// The delivery, if it was kept.
    pub delivery: Option<Id>,
    /// What became of the request, in a word.
    pub state: &'static str,
}

/// A request that was read.
pub(crate) struct Read {
    pub(crate) address: IpAddr,
    pub(crate) route: Route,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whose certificate the sender has.
    pub(crate) client: Option<Arc<Names>>,
    /// When it came.
    pub(crate) start: Instant,
    /// Of the memory for bodies.
    pub(crate) share: Share,
}

/// Why nobody works on a request.
#[derive(Debug)]
pub(crate) struct Stop {
    /// What the sender is told.
    pub(crate) reply: Reply,
    /// Whose path it called.
    route: Option<Route>,
    /// What it failed at, if that is of interest.
    class: Option<&'static str>,
    /// Whether operators are told.
    told: bool,
}

impl Stop {
    /// At an endpoint.
    pub(crate) fn of(route: &Route, class: &'static str, reply: Reply) -> Self {
        Self { reply, route: Some(route.clone()), class: Some(class), told: true }
    }

    /// Before an endpoint was known.
    pub(crate) fn unknown(class: &'static str, reply: Reply) -> Self {
        Self { reply, route: None, class: Some(class), told: true }
    }

    /// Nothing is wrong.
    pub(crate) fn quietly(reply: Reply) -> Self {
        Self { reply, route: None, class: None, told: false }
    }

    /// A body that was not read. One that breaks off is the way of the internet: it is only counted.
    fn body(trouble: Trouble, route: Option<&Route>) -> Self {
        let broken = route.map_or("", |route| route.endpoint().source.broken());
        let (reply, told) = (trouble.reply(broken), trouble != Trouble::Broken);
        Self { reply, route: route.cloned(), class: Some("body"), told }
    }
}

impl Receiver {
    /// A receiver for these endpoints. Those that keep anything need the table's journal.
    pub fn new(mut table: Table, limits: Limits, meters: Arc<Meters>) -> Arc<Self> {
        table.measure(&meters);
        Arc::new(Self {
            table: ArcSwap::from_pointee(table),
            failures: Failures::new(limits.failures, limits.exempt.clone()),
            budget: Budget::new(limits.inflight_bytes),
            meters,
            recent: Recent::default(),
            logged: Bucket::new(LOGGED),
            work: TaskTracker::new(),
            limits,
        })
    }

    /// Puts other endpoints in the place of these, all at once. Requests that are being worked on
    /// end with the old ones.
    pub fn replace(&self, mut table: Table) {
        table.measure(&self.meters);
        self.table.store(Arc::new(table));
    }

    /// Whether what comes in can be kept, if it has to be.
    pub fn keeps(&self) -> bool {
        let table = self.table.load();
        match &table.journal {
            Some(journal) => journal.keeps() && journal.depth().is_ok(),
            None => !table.keeps(),
        }
    }

    /// The journal in use.
    pub fn journal(&self) -> Option<Journal> {
        self.table.load().journal.clone()
    }

    /// All endpoints with their paths, by name.
    pub fn endpoints(&self) -> Vec<(Arc<Endpoint>, Vec<String>)> {
        self.table.load().endpoints()
    }

    /// The endpoint of this name.
    pub fn endpoint(&self, name: &str) -> Option<Route> {
        self.table.load().named(name)
    }

    /// What a path leads to.
    pub(crate) fn route(&self, path: &str) -> Option<Route> {
        self.table.load().find(path, now())
    }

    /// The body of a request, and its share of the memory for all. Without a route nobody is told why
    /// it was not read.
    pub(crate) async fn body(
        &self,
        headers: &HeaderMap,
        incoming: Incoming,
        most: usize,
        route: Option<&Route>,
    ) -> Result<(Bytes, Share), Stop> {
        let mut share = self.budget.share();
        let body = body::read(headers, incoming, &self.limits, most, &mut share).await;
        Ok((body.map_err(|trouble| Stop::body(trouble, route))?, share))
    }

    /// What is counted.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// What came in lately.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// How the requests of the endpoint of this name were answered.
    pub fn tally(&self, name: &str) -> Tally {
        self.meters.endpoint(name).tally()
    }

    /// Forgets what endpoints and targets of other names did.
    pub fn forget_all_but(&self, endpoints: &BTreeSet<String>, targets: &BTreeSet<&str>) {
        self.meters.retain(endpoints, targets);
    }

    /// Resolves when no accepted request is being worked on; to be called after the listener has
    /// ended.
    pub async fn finished(&self) {
        self.work.close();
        self.work.wait().await;
    }

    async fn receive(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Reply {
        let uri = request.uri().clone();
        if uri.path() == "/health" {
            return Answer::OK.into();
        }
        let address = self.caller(peer, request.headers());
        match self.let_in(address, request).await {
            Ok(read) => self.take(read).await.0,
            Err(stop) => {
                self.turned_away(address, uri.path(), &stop);
                stop.reply
            }
        }
    }

    /// Reads a request that may come in.
    async fn let_in(&self, address: IpAddr, request: Request<Incoming>) -> Result<Read, Stop> {
        let start = Instant::now();
        let route = self.admit(address, request.uri().path(), request.method())?;
        let (head, incoming) = request.into_parts();
        let endpoint = route.endpoint();
        if head.method == Method::OPTIONS {
            return Err(Stop::quietly(handshake(endpoint, &head.headers)));
        }
        let most = endpoint.body_bytes.unwrap_or(self.limits.body_bytes);
        let (body, share) = self.body(&head.headers, incoming, most, Some(&route)).await?;
        let client = head.extensions.get::<Client>().map(|client| Arc::clone(&client.0));
        Ok(Read { address, route, headers: head.headers, body, client, start, share })
    }

    /// Who called.
    pub(crate) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        caller::address(peer, headers, &self.limits.trusted_proxies)
    }

    /// Says no to an address that failed too often.
    pub(crate) fn welcome(&self, address: IpAddr) -> Result<(), Stop> {
        let wait = self.failures.wait(address);
        wait.map_or(Ok(()), |wait| Err(Stop::unknown("rate", too_many(wait))))
    }

    /// Says no to who calls a path that nobody has.
    pub(crate) fn lost(&self, address: IpAddr) -> Stop {
        self.failures.count(address);
        Stop::unknown("path", Answer::error(404, "404 page not found").into())
    }

    /// Counts a request that nobody worked on, and tells operators of it. Its path may be a secret, or
    /// nearly one.
    pub(crate) fn turned_away(&self, address: IpAddr, path: &str, stop: &Stop) {
        let Stop { reply, route, class, told } = stop;
        let Some(class) = class else { return };
        if let Some(route) = route {
            route.meter().rejected.add(class);
            route.meter().answered(reply.status(), now());
        }
        if !told || self.logged.take().is_err() {
            return;
        }
        let (path, status, reason) = (masked(path), reply.status(), reply.text());
        let Some(endpoint) = route.as_ref().map(Route::endpoint) else {
            tracing::info!(path, %address, status, "a request was turned down: {reason}");
            return;
        };
        let name = &endpoint.name;
        tracing::info!(endpoint = name, path, %address, status, "a request was turned down: {reason}");
        let fate = Fate::Rejected(class, reason.to_owned().into());
        self.recent.remember(entry(address, endpoint, None, status, &fate));
    }

    /// What a request that was read leads to. A sender that hangs up after it has sent must not undo
    /// its request, so that goes on whoever waits for it.
    pub(crate) async fn take(self: &Arc<Self>, request: Read) -> (Reply, Option<Fate>) {
        let work = Steadfast::new(&self.work, self.work_on(request));
        match tokio::time::timeout(self.limits.handler_time, work).await {
            Ok(Ok((reply, fate))) => (reply, Some(fate)),
            Ok(Err(_)) => {
                tracing::error!("a request failed by a defect of ours");
                (Answer::error(500, "internal error").into(), None)
            }
            Err(_) => (Reply::retry(503, "request timed out", Duration::from_secs(5)), None),
        }
    }

    /// Sends a request of our own through everything behind the listener.
    pub async fn try_out(
        self: &Arc<Self>,
        route: Route,
        headers: HeaderMap,
        body: Bytes,
    ) -> Option<Tried> {
        let address = IpAddr::from([127, 0, 0, 1]);
        let (start, share) = (Instant::now(), self.budget.share());
        let request = Read { address, route, headers, body, client: None, start, share };
        let (reply, fate) = self.take(request).await;
        let (status, text, fate) = (reply.status(), reply.text().to_owned(), fate?);
        Some(Tried { status, text, delivery: fate.id(), state: fate.state() })
    }

    /// Works on a request that was read, and counts what became of it.
    fn work_on(self: &Arc<Self>, read: Read) -> impl Future<Output = (Reply, Fate)> + Send + use<> {
        let this = Arc::clone(self);
        async move {
            let Read { address, route, headers, body, client, start, share } = read;
            let request = Inbound { headers: &headers, body: &body, now: now() };
            let endpoint = route.endpoint();
            let client = client.as_deref();
            let (reply, fate) = this.process(address, endpoint, &request, &body, client).await;
            this.note(address, &route, &request, &reply, &fate);
            this.meters.requests.observe(start.elapsed().as_secs_f64());
            // Bodies have a limit far below what a float cannot hold.
            this.meters.bodies.observe(f64::from(u32::try_from(body.len()).unwrap_or(u32::MAX)));
            drop::<Share>(share);
            (reply, fate)
        }
    }

    /// Counts a request, and remembers it if the journal does not.
    fn note(
        &self,
        address: IpAddr,
        route: &Route,
        request: &Inbound<'_>,
        reply: &Reply,
        fate: &Fate,
    ) {
        use std::sync::atomic::Ordering::Relaxed;
        let (endpoint, meter) = (route.endpoint(), route.meter());
        meter.answered(reply.status(), request.now);
        let delivery_id = || {
            let id = endpoint.source.delivery_id(request);
            id.map(|id| id.chars().take(256).collect())
        };
        let status = reply.status();
        let entry = || entry(address, endpoint, delivery_id(), status, fate);
        match fate {
            Fate::Told(_) => return self.recent.pass(entry),
            Fate::Duplicate(_) => drop(meter.duplicates.fetch_add(1, Relaxed)),
            Fate::Filtered => drop(meter.filtered.fetch_add(1, Relaxed)),
            Fate::Rejected(class, _) => meter.rejected.add(class),
            Fate::FilterError(_) => meter.rejected.add("filter"),
            Fate::Ignored => {}
        }
        // Strangers cannot cause these, and the memory for them is bounded.
        if matches!(fate, Fate::Duplicate(_) | Fate::Filtered | Fate::Ignored) {
            return self.recent.remember(entry());
        }
        if self.logged.take().is_err() {
            return;
        }
        self.recent.remember(entry());
        if let Some(reason) = fate.reason() {
            tracing::info!(
                endpoint = endpoint.name,
                %address,
                status = reply.status(),
                "{} {}: {reason}",
                endpoint.source.name(),
                reply.text().trim_end()
            );
        }
    }

    fn admit(&self, address: IpAddr, path: &str, method: &Method) -> Result<Route, Stop> {
        if path.len() > MAX_PATH {
            let reply = Reply::closing(414, "request target too long");
            return Err(Stop::unknown("path", reply));
        }
        self.welcome(address)?;
        let route = self.route(path).ok_or_else(|| self.lost(address))?;
        let endpoint = route.endpoint();
        let asks = method == Method::OPTIONS && endpoint.source.allows("").is_some();
        if method != Method::POST && !asks {
            return Err(Stop::quietly(Reply::post_only()));
        }
        if !endpoint.allow.is_empty() && !endpoint.allow.iter().any(|one| one.contains(address)) {
            let reply = Answer::error(403, "forbidden").into();
            return Err(Stop::of(&route, "address", reply));
        }
        let paused = route.meter().paused.load(std::sync::atomic::Ordering::Relaxed);
        if paused || endpoint.pause == Pause::Refuse {
            return Err(Stop::of(&route, "paused", Reply::retry(503, "paused", PAUSED)));
        }
        let taken = endpoint.rate.take();
        taken.map_err(|wait| Stop::of(&route, "rate", too_many(wait)))?;
        Ok(route)
    }

    async fn process(
        &self,
        address: IpAddr,
        endpoint: &Endpoint,
        request: &Inbound<'_>,
        body: &Bytes,
        client: Option<&Names>,
    ) -> (Reply, Fate) {
        let source = &endpoint.source;
        let (mut events, claims) = match read(endpoint, request, client).await {
            Ok((Outcome::Events(events), claims)) => (events, claims),
            Ok((Outcome::Nothing(answer), _)) => return (answer.into(), Fate::Ignored),
            Err(refusal) => return self.refuse(address, endpoint, refusal),
        };
        if let Some(trace) = request.traceparent() {
            events.iter_mut().for_each(|event| event.traceparent = Some(trace.to_owned()));
        }
        let seen = Seen { headers: request.headers, body, claims: &claims };
        let (events, calls) = match wanted(endpoint, seen, events).await {
            Ok(wanted) => wanted,
            Err(error) => {
                let fate = Fate::FilterError(error.to_string());
                return (Answer::error(500, "filter error").into(), fate);
            }
        };
        if calls.is_empty() {
            return (source.answers().done.into(), Fate::Filtered);
        }
        let journal = self.journal();
        let wants = endpoint.wants();
        let kept = endpoint.keep != Keep::Nothing && journal.as_ref().is_some_and(Journal::asks);
        let original = (kept || wants != Wants::Nothing)
            .then(|| Original::of(request, body, wants, |name| endpoint.is_secret(name)));
        let original = original.as_ref();
        match (endpoint.keep, &journal) {
            (Keep::Nothing, _) => {
                let meters = &self.meters;
                let answer =
                    inline::tell(endpoint, request, &events, &calls, meters, original).await;
                (answer.into(), Fate::Told(None))
            }
            (Keep::Failures, Some(journal)) => {
                let keeper = Keeper { journal, endpoint, request, meters: &self.meters, original };
                kept::failures(keeper, events, &calls).await
            }
            (Keep::Everything { first, replay }, Some(journal)) => {
                let first = first || endpoint.pause == Pause::Buffer;
                let keeper = Keeper { journal, endpoint, request, meters: &self.meters, original };
                keeper.everything(events, &calls, first, replay).await
            }
            (Keep::Failures | Keep::Everything { .. }, None) => kept::unavailable(),
        }
    }

    fn refuse(&self, address: IpAddr, endpoint: &Endpoint, refusal: Refusal) -> (Reply, Fate) {
        let Refusal { answer, class, reason } = refusal;
        let credentials = class == Class::Credentials;
        if credentials {
            self.failures.count(address);
        }
        let reply = Reply::from(answer);
        let reply = match endpoint.auth {
            Some(Auth::Basic { .. }) if credentials => reply.basic(),
            _ => reply,
        };
        (reply, Fate::Rejected(class.word(), reason.into()))
    }
}

fn entry(
    address: IpAddr,
    endpoint: &Endpoint,
    delivery_id: Option<String>,
    status: u16,
    fate: &Fate,
) -> Entry {
    Entry {
        id: fate.id().unwrap_or_else(Id::now),
        endpoint: endpoint.name.clone(),
        source: endpoint.source.name(),
        state: fate.state(),
        status,
        reason: fate.reason(),
        address: address.to_string(),
        delivery_id,
    }
}

fn too_many(wait: Duration) -> Reply {
    Reply::retry(429, "too many requests", wait)
}

/// The first characters of a path: enough to know it again, too little to call it.
fn masked(path: &str) -> String {
    let (before, name) = match path.strip_prefix("/hook/") {
        Some(name) => ("/hook/", name),
        None => ("", path),
    };
    let shown: String = name.chars().take(4).collect();
    let more = if shown.len() < name.len() { "…" } else { "" };
    format!("{before}{}{more}", shown.escape_debug())
}

/// What a sender that asks whether it may send is told.
fn handshake(endpoint: &Endpoint, headers: &HeaderMap) -> Reply {
    let origin = headers.get("webhook-request-origin").and_then(|value| value.to_str().ok());
    match origin {
        Some(origin) if endpoint.source.allows(origin) == Some(true) => {
            Reply::allowed(origin, endpoint.rate.per_minute())
        }
        _ => Answer::error(403, "forbidden").into(),
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

/// The encodings that a body may have: none.
fn plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
