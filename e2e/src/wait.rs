//! Waiting for something to become true, never for time to pass.

use std::time::{Duration, Instant};

/// For what happens in one machine's memory and processes.
pub const SHORT: Duration = Duration::from_secs(20);
/// For what starts large programs.
pub const LONG: Duration = Duration::from_secs(120);

/// Asks again and again until there is an answer; panics with `what` after `limit`.
pub async fn within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not so after {limit:?}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// [`within`] the usual limit.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    within(SHORT, what, ask).await
}
