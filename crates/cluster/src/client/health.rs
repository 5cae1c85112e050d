//! Whether the API answers: asked now and then, and at once when a request failed on its way.
//!
//! While it does not answer, requests fail at once instead of piling up in front of a closed door;
//! watches go through, because they are how everything comes back.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use kube::Client;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::AbortHandle, time::Instant};
use tower::{Layer, Service};

/// How long the API may take until it starts to answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How often a healthy API is asked.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often one is asked that does not answer.
const RETRY: Duration = Duration::from_millis(500);
/// How long the question itself may take.
const PATIENCE: Duration = Duration::from_secs(4);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether the API answers; cheap to clone. The questions end with the last clone.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
    _asking: Arc<AbortOnDrop>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
struct Shared {
    trouble: Mutex<Option<Trouble>>,
    /// Somebody's request failed on its way.
    suspected: Notify,
}

/// What is wrong, and since when.
#[derive(Debug, Clone)]
struct Trouble {
    since: Instant,
    reason: String,
    /// Nothing comes back at all; otherwise it answers that it is not ready.
    silent: bool,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("trouble", &*self.shared.trouble.lock()).finish()
    }
}

impl Health {
    /// Starts asking.
    pub(super) fn start(client: Client) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(ask(client, Arc::clone(&shared)));
        Self { shared, _asking: Arc::new(AbortOnDrop(task.abort_handle())) }
    }

    /// What is wrong with the API, for readiness; none while it answers.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble.lock().clone()?;
        let seconds = trouble.since.elapsed().as_secs();
        Some(format!("the Kubernetes API (for {seconds} s now: {})", trouble.reason))
    }

    /// For the client that does the work.
    pub(super) fn layer(&self) -> HealthLayer {
        HealthLayer(self.clone())
    }
}

async fn ask(client: Client, shared: Arc<Shared>) {
    loop {
        let found = tokio::time::timeout(PATIENCE, ready(&client)).await;
        let answer = found.unwrap_or_else(|_| Err(("no answer in time".to_owned(), true)));
        let pause = if answer.is_ok() { INTERVAL } else { RETRY };
        note(&shared, answer);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.suspected.notified() => tokio::time::sleep(RETRY / 10).await,
        }
    }
}

/// Asks once: whether it is ready, or the reason and whether there was no answer at all.
async fn ready(client: &Client) -> Result<(), (String, bool)> {
    let request = Request::get("/readyz").body(kube::client::Body::empty());
    let request = request.map_err(|error| (error.to_string(), false))?;
    match client.send(request).await {
        Ok(response) if response.status().is_server_error() => {
            Err((format!("it answers {}", response.status()), false))
        }
        // Whoever may not ask has been answered as well.
        Ok(_) => Ok(()),
        Err(error) => Err((super::error::last(&error), true)),
    }
}

fn note(shared: &Shared, answer: Result<(), (String, bool)>) {
    let mut trouble = shared.trouble.lock();
    match answer {
        Ok(()) => {
            if let Some(over) = trouble.take() {
                let after = over.since.elapsed();
                tracing::warn!(?after, "the Kubernetes API answers again");
            }
        }
        Err((reason, silent)) => {
            let since = trouble.as_ref().map(|trouble| trouble.since);
            if since.is_none() {
                tracing::warn!(
                    reason,
                    "the Kubernetes API does not answer: what is known is still served, changes \
                     are refused"
                );
            }
            let since = since.unwrap_or_else(Instant::now);
            *trouble = Some(Trouble { since, reason, silent });
        }
    }
}

/// Ends requests in time, and at once while nothing answers.
#[derive(Clone)]
pub(super) struct HealthLayer(Health);

impl<S> Layer<S> for HealthLayer {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched { inner, health: self.0.clone() }
    }
}

/// See [`HealthLayer`].
#[derive(Clone)]
pub(super) struct Watched<S> {
    inner: S,
    health: Health,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("the Kubernetes API does not answer: {0}")]
    Silent(String),
    #[error("the request to the Kubernetes API timed out")]
    Late,
}

impl<S, B, R> Service<Request<B>> for Watched<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    R: 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch="));
        let silent = self.health.shared.trouble.lock().clone().filter(|trouble| trouble.silent);
        if let (Some(trouble), false) = (silent, is_watch) {
            return Box::pin(async move { Err(Unanswered::Silent(trouble.reason).into()) });
        }
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.inner.call(request));
        let shared = Arc::clone(&self.health.shared);
        Box::pin(async move {
            let answer = match answer.await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(Unanswered::Late.into()),
            };
            if answer.is_err() {
                shared.suspected.notify_one();
            }
            answer
        })
    }
}
