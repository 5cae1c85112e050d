//! Tunnels: once both sides agreed to another protocol (WebSocket), bytes pass untouched.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

/// Copies both ways until both have ended, one breaks, or nothing moves for `patience`.
pub(super) async fn run(
    client: OnUpgrade,
    workspace: OnUpgrade,
    patience: Duration,
    place: OwnedSemaphorePermit,
) {
    let (client, workspace) = match tokio::try_join!(client, workspace) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "a tunnel was not opened");
            return;
        }
    };
    let clock = Clock::new();
    let mut client = Watched { io: TokioIo::new(client), clock: clock.clone() };
    let mut workspace = TokioIo::new(workspace);
    tokio::select! {
        outcome = copy_bidirectional(&mut client, &mut workspace) => match outcome {
            Ok((up, down)) => tracing::debug!(up, down, "a tunnel ended"),
            Err(error) => tracing::debug!(%error, "a tunnel broke"),
        },
        () = clock.idle_for(patience) => tracing::debug!("a tunnel was idle for too long"),
    }
    drop(place);
}

/// When bytes moved last.
#[derive(Clone)]
struct Clock {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    fn tick(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    async fn idle_for(&self, patience: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = last + patience;
            if Instant::now() >= end {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// The client's side; every byte of either direction passes here.
struct Watched<S> {
    io: S,
    clock: Clock,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_read(cx, buffer));
        self.clock.tick();
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.clock.tick();
        Poll::Ready(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
