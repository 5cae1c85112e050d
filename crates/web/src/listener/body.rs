//! Request bodies with limits, whatever the handler reads them with.

use std::{
    error::Error as StdError,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::{Sleep, sleep};

use crate::{Error, Kind};

/// How much more than the limit is read and thrown away, as a multiple of the limit. A client that
/// is still sending reads the refusal only if its bytes are taken.
const DRAIN_FACTOR: u64 = 4;

/// Why a body ended early, besides being too long ([`LengthLimitError`]).
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client stopped sending.
    #[error("the request body stopped coming")]
    Stalled,
    /// The connection broke.
    #[error("the request body broke off")]
    Broken(#[source] axum::Error),
}

/// Limits a body: its length, and the time between two pieces.
pub(super) fn limit(body: Body, limit: u64, patience: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let inbound = Inbound { body, seen: 0, limit, held: None, patience, timer: None };
    Body::new(Limited::new(inbound, usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// Takes and forgets what a client is still sending, within bounds.
pub(super) async fn discard(body: Body, limit: u64, patience: Duration) {
    let most = limit.saturating_mul(DRAIN_FACTOR);
    let mut body = self::limit(body, most, patience);
    while let Some(Ok(_)) = body.frame().await {}
}

/// Reads a whole body whose length the listener limits.
pub async fn read(body: Body) -> Result<Bytes, Error> {
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(explain(error)),
    }
}

fn explain(error: axum::Error) -> Error {
    let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(cause) = source {
        if cause.is::<LengthLimitError>() {
            return Error::new(Kind::TooLarge, "http: request body too large");
        }
        if matches!(cause.downcast_ref(), Some(BodyError::Stalled)) {
            return Error::new(Kind::Timeout, "the request body stopped coming");
        }
        source = cause.source();
    }
    Error::new(Kind::Malformed, "the request body broke off").with_context(error)
}

struct Inbound {
    body: Body,
    seen: u64,
    limit: u64,
    /// The piece that broke the limit: handed on, so that [`Limited`] speaks the error that every
    /// extractor knows, once the rest was discarded.
    held: Option<Bytes>,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Inbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let patience = this.patience;
                    let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
                    return timer.as_mut().poll(cx).map(|()| Some(Err(BodyError::Stalled)));
                }
            };
            this.timer = None;
            match frame {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    this.seen = this.seen.saturating_add(length);
                    if this.seen <= this.limit {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    let data = frame.into_data().unwrap_or_default();
                    let held = this.held.get_or_insert(data);
                    if this.seen > this.limit.saturating_mul(DRAIN_FACTOR) {
                        return Poll::Ready(Some(Ok(Frame::data(std::mem::take(held)))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Broken(error)))),
                None => return Poll::Ready(this.held.take().map(|data| Ok(Frame::data(data)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};

    use super::*;

    fn pieces(count: usize, size: usize) -> Body {
        let piece = Bytes::from(vec![7; size]);
        Body::from_stream(stream::iter(vec![piece; count]).map(Ok::<_, std::io::Error>))
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_body_of_the_limit_passes_and_one_more_byte_does_not() {
        assert_eq!(read(limit(pieces(4, 25), 100, PATIENCE)).await.unwrap().len(), 100);
        for (count, size) in [(101, 1), (1, 101), (1000, 100)] {
            let error = read(limit(pieces(count, size), 100, PATIENCE)).await.unwrap_err();
            assert_eq!(error.kind(), Kind::TooLarge);
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a"))]);
        let body = Body::from_stream(first.chain(stream::pending()));
        let error = read(limit(body, 100, Duration::from_millis(10))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
    }
}
