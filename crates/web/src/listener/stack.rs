//! What every request of a listener passes through, in one place and in this order.

use std::{
    any::Any,
    fmt::Write as _,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{body::Body, extract::DefaultBodyLimit, response::Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body::Body as _;

use super::body;
use crate::{
    Error, Head, Kind, Render,
    handler::{Answering, Handler, Pass, RouteNote},
    log::About,
    metrics::{Requests, RequestsAt},
};

static RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The stack of one listener.
#[derive(Debug, Clone)]
pub struct Stack {
    name: &'static str,
    render: Render,
    body: Option<u64>,
    body_patience: Duration,
    answer: Option<Duration>,
    page_headers: bool,
    requests: Option<RequestsAt>,
}

impl Stack {
    /// The stack of an API: bodies of 4 MiB, an answer within 32 s, security headers on pages.
    pub fn new(name: &'static str, render: Render) -> Self {
        Self {
            name,
            render,
            body: Some(4 << 20),
            body_patience: Duration::from_secs(32),
            answer: Some(Duration::from_secs(32)),
            page_headers: true,
            requests: None,
        }
    }

    /// The stack of a proxy: bodies and answers are streams without an end in sight, whose idle
    /// time the proxy limits itself; pages are not ours to put rules on.
    pub fn streaming(name: &'static str, render: Render) -> Self {
        Self { body: None, answer: None, page_headers: false, ..Self::new(name, render) }
    }

    /// Longest request body.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body = Some(bytes);
        self
    }

    /// Longest time until the head of the answer.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer = Some(time);
        self
    }

    /// Counts its requests.
    #[must_use]
    pub fn counted(mut self, requests: &Requests) -> Self {
        self.requests = Some(requests.at(self.name));
        self
    }

    /// Wraps all there is, its guard included. A request passes, outermost first:
    ///
    /// 1. request id: the response and all log lines carry it, whatever happens below;
    /// 2. log: one line per request, with the path but never the query, and counts;
    /// 3. limits: length and pace of the body, time until the answer;
    /// 4. panic catch: inside the limits and the log, so that a panic is an answer like others;
    /// 5. what is inside: a guard (who may call), then routes.
    ///
    /// Header size and header time are limited before, on the connection ([`super::Limits`]).
    pub fn wrap(self, inner: impl Into<Handler>) -> Handler {
        let ids = Ids::new();
        inner.into().behind(Stacked { stack: self, ids })
    }

    /// What of 3 is known before anything is read: a body is limited, or it is too long.
    fn limited(&self, request: Request<Body>) -> Result<Request<Body>, Box<TooLarge>> {
        match self.body {
            Some(limit) if request.body().size_hint().lower() > limit => {
                Err(Box::new(TooLarge { request, limit }))
            }
            Some(limit) => Ok(request.map(|body| body::limit(body, limit, self.body_patience))),
            None => Ok(request),
        }
    }

    /// The rest of 3, and 4.
    async fn in_time(&self, answer: Answering<'_>, head: &Head) -> Response {
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let outcome = match self.answer {
            Some(time) => tokio::time::timeout(time, answer).await,
            None => Ok(answer.await),
        };
        match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => self.panicked(panic.as_ref(), head),
            Err(_) => {
                tracing::warn!("no answer in time");
                let error = Error::new(Kind::Timeout, "the server took too long to answer");
                (self.render)(&error, head)
            }
        }
    }

    async fn too_large(&self, TooLarge { request, limit }: TooLarge, head: &Head) -> Response {
        // A client that asked first has sent nothing yet.
        if !request.headers().contains_key(header::EXPECT) {
            body::discard(request.into_body(), limit, self.body_patience).await;
        }
        (self.render)(&Error::new(Kind::TooLarge, "http: request body too large"), head)
    }

    fn panicked(&self, panic: &(dyn Any + Send), head: &Head) -> Response {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no text");
        tracing::error!(panic = text, "a handler panicked");
        let mut response = (self.render)(&Error::internal(text.to_owned()), head);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// A request that announces more than its body may have.
struct TooLarge {
    request: Request<Body>,
    limit: u64,
}

struct Stacked {
    stack: Stack,
    ids: Ids,
}

impl Pass for Stacked {
    // What waits holds no request: it is made anew for each, and small things are made faster.
    fn pass<'a>(
        &'a self,
        mut request: Request<Body>,
        next: &'a Handler,
    ) -> impl Future<Output = Response> + Send + 'a {
        let Self { stack, ids } = self;
        let id = given_id(request.headers()).unwrap_or_else(|| ids.next());
        if !request.body().is_end_stream() {
            // The limit of the stack covers raw bodies as well; axum's own covers extractors only.
            DefaultBodyLimit::disable().apply(&mut request);
        }
        let (mut parts, body) = request.into_parts();
        let head = Head::of(&parts);
        let about = Arc::new(About { listener: stack.name, id, head });
        let counted = stack.requests.as_ref().map(|requests| {
            let note = RouteNote::ask(&mut parts.extensions);
            (requests, requests.came(), note)
        });
        let request = stack.limited(Request::from_parts(parts, body));
        let answer = request.map(|request| next.answer(request));
        let started = Instant::now();
        About::scope(Arc::clone(&about), async move {
            let head = &about.head;
            let mut response = match answer {
                Ok(answer) => stack.in_time(answer, head).await,
                Err(request) => Box::pin(stack.too_large(*request, head)).await,
            };
            if stack.page_headers {
                add_page_headers(&mut response);
            }
            let (status, elapsed) = (response.status(), started.elapsed());
            tracing::debug!(status = status.as_u16(), ?elapsed, "request answered");
            if let Some((requests, _in_flight, note)) = counted {
                requests.answered(&head.method, note.pattern(), status, elapsed);
            }
            response.headers_mut().insert(REQUEST_ID.clone(), about.id.clone());
            response
        })
    }
}

/// Headers that keep our pages from being framed, sniffed or fed with foreign scripts. A page that
/// brings a header of its own keeps it.
fn add_page_headers(response: &mut Response) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let headers = response.headers_mut();
    let html = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    let mut add = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(RESOURCE_POLICY.clone(), "same-origin");
    if !html {
        return;
    }
    add(header::X_FRAME_OPTIONS, "DENY");
    add(header::REFERRER_POLICY, "no-referrer");
    add(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    add(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    );
}

/// The id that whoever is in front of us has given the request already, if it is one that cannot
/// hurt a log.
fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(&REQUEST_ID)?;
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let fits = (1..=128).contains(&id.len()) && id.as_bytes().iter().all(harmless);
    fits.then(|| id.clone())
}

/// Ids that are unique among the requests of all processes: a random start and a count. Cheaper
/// than a random number per request.
#[derive(Debug)]
struct Ids {
    prefix: String,
    count: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        let start = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Self { prefix: format!("{start:016x}"), count: AtomicU64::new(0) }
    }

    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(2 * self.prefix.len());
        id.push_str(&self.prefix);
        // A string takes whatever is written.
        let _ = write!(id, "-{count:x}");
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}
