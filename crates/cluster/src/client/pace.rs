//! How fast requests go out: a bucket of tokens, as clients of Kubernetes have it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};
use tower::{Layer, Service};

/// So many requests a second, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    per_token: Duration,
    burst: u32,
}

impl Pace {
    /// `None` unless both are above zero and the rate is a number.
    pub fn new(per_second: f64, burst: u32) -> Option<Self> {
        let per_token = Duration::try_from_secs_f64(per_second.recip()).ok()?;
        (per_second > 0.0 && burst > 0).then_some(Self { per_token, burst })
    }
}

/// Lets requests through at a pace.
#[derive(Debug, Clone, Copy)]
pub(super) struct PaceLayer(pub(super) Pace);

impl<S> Layer<S> for PaceLayer {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        let Pace { per_token, burst } = self.0;
        let full = per_token.saturating_mul(burst.saturating_sub(1));
        Paced { inner, per_token, full, next: Instant::now(), waiting: None }
    }
}

/// See [`PaceLayer`].
///
/// The bucket is one moment: that at which the request after this one may go if all go one by one.
/// It may lie in the past by as much as a full bucket holds.
#[derive(Debug)]
pub(super) struct Paced<S> {
    inner: S,
    per_token: Duration,
    full: Duration,
    next: Instant,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S, R> Service<R> for Paced<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let now = Instant::now();
        let latest = now.checked_add(self.full).unwrap_or(now);
        if self.next > latest {
            let until = self.next - self.full;
            let sleep =
                self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            ready!(sleep.as_mut().poll(context));
        }
        self.waiting = None;
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.next = self.next.max(Instant::now()) + self.per_token;
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let inner = tower::service_fn(async |()| Ok::<_, Infallible>(()));
        let mut paced = PaceLayer(Pace::new(10.0, 5).unwrap()).layer(inner);
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..10 {
            paced.ready().await.unwrap().call(()).await.unwrap();
            times.push(start.elapsed().as_millis() / 100);
        }
        assert_eq!(times, [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]);
        tokio::time::advance(Duration::from_secs(60)).await;
        let later = Instant::now();
        for _ in 0..5 {
            paced.ready().await.unwrap().call(()).await.unwrap();
        }
        assert!(later.elapsed() < Duration::from_millis(100), "a pause fills the bucket");
        paced.ready().await.unwrap().call(()).await.unwrap();
        assert!(later.elapsed() >= Duration::from_millis(100), "and not beyond its size");
    }

    #[test]
    fn a_pace_is_above_zero() {
        for (rate, burst) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 0), (1.0, 0)] {
            assert_eq!(Pace::new(rate, burst), None, "{rate} {burst}");
        }
    }
}
