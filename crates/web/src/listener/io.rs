//! A connection that gives up on a peer that does not read, or does not finish the head of a request.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

/// The head of a request is on its way.
const HEAD: u8 = 0;
/// A request is being answered or its body read.
const BUSY: u8 = 1;
/// Nothing is due.
const IDLE: u8 = 2;
/// Not ours to know: a tunnel, or a protocol with clocks of its own.
const OTHER: u8 = 3;

/// What is due on a connection: whoever answers requests tells whoever reads.
#[derive(Debug)]
pub(super) struct Stage {
    now: AtomicU8,
    opened: Instant,
    /// When the last answer was done, in milliseconds since the connection was opened.
    answered: AtomicU64,
}

impl Default for Stage {
    fn default() -> Self {
        Self { now: AtomicU8::new(HEAD), opened: Instant::now(), answered: AtomicU64::new(0) }
    }
}

/// A request that is being worked on, until the last holder of this is gone.
#[derive(Debug)]
pub(super) struct Busy(Arc<Stage>);

impl Stage {
    /// A request has come.
    pub(super) fn busy(self: &Arc<Self>) -> Arc<Busy> {
        self.now.store(BUSY, Ordering::Relaxed);
        Arc::new(Busy(Arc::clone(self)))
    }

    /// There are no heads any more.
    pub(super) fn has_no_heads(&self) {
        self.now.store(OTHER, Ordering::Relaxed);
    }

    /// Something was read: after an answer that begins the next head.
    fn heard(&self) {
        let _ = self.now.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn wants_head(&self) -> bool {
        self.now.load(Ordering::Relaxed) == HEAD
    }

    /// Resolves when nothing was due for a time. A clock that is looked at when that time is over: one
    /// that is set anew for each request would cost as much as a small answer.
    pub(super) async fn idles(&self, time: Duration) {
        loop {
            let idle = self.now.load(Ordering::Relaxed) == IDLE;
            let answered = Duration::from_millis(self.answered.load(Ordering::Relaxed));
            let now = Instant::now();
            let due = if idle { self.opened + answered } else { now } + time;
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Self(stage) = self;
        let since = u64::try_from(stage.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        stage.answered.store(since, Ordering::Relaxed);
        let _ = stage.now.compare_exchange(BUSY, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Wraps a stream: a write that makes no progress for a while is an error, and so is a head of a
/// request that takes too long from its first byte.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    stream: S,
    stage: Arc<Stage>,
    head: Duration,
    head_timer: Option<Pin<Box<Sleep>>>,
    stall: Duration,
    stall_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, stage: Arc<Stage>, head: Duration, stall: Duration) -> Self {
        Self { stream, stage, head, head_timer: None, stall, stall_timer: None }
    }

    /// Passes an outcome on, starting the clock while it is pending.
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stall_timer = None;
            return poll;
        }
        let patience = self.stall;
        let timer = self.stall_timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if Pin::new(&mut this.stream).poll_read(cx, buffer)?.is_ready() {
            this.stage.heard();
            return Poll::Ready(Ok(()));
        }
        if !this.stage.wants_head() {
            this.head_timer = None;
            return Poll::Pending;
        }
        let patience = this.head;
        let timer = this.head_timer.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head does not end")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Over TLS this is a write too.
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_never_reads_is_given_up() {
        let (near, _far) = tokio::io::duplex(8);
        let patience = Duration::from_millis(10);
        let mut stream = Impatient::new(near, Arc::default(), patience, patience);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
