//! Reading a body that may be too long, too slow, compressed or one too many.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::{Limits, Reply, plain};
use crate::limits::Share;

/// For how many bytes memory is taken at once when the first of them came, at the most.
const AHEAD: usize = 64 * 1024;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is compressed.
    Encoded,
    /// It is longer than it may be.
    TooLarge,
    /// It came too slowly.
    TimedOut,
    /// There is no memory left for it.
    Busy,
    /// It broke off, or its chunks are malformed.
    Broken,
}

impl Trouble {
    /// What the sender is told, `broken` if its body breaks off and it still listens.
    pub(super) fn reply(self, broken: &'static str) -> Reply {
        match self {
            Self::Encoded => Reply::closing(415, "unsupported content encoding"),
            Self::TooLarge => Reply::closing(413, "request body too large"),
            Self::TimedOut => Reply::closing(408, "request timed out"),
            Self::Busy => Reply::retry(503, "too many requests in flight", Duration::from_secs(5))
                .with(header::CONNECTION, HeaderValue::from_static("close")),
            Self::Broken => Reply::closing(400, broken),
        }
    }
}

/// The whole body. `share` accounts for what is in memory.
pub(super) async fn read<B>(
    headers: &HeaderMap,
    mut incoming: B,
    limits: &Limits,
    most: usize,
    share: &mut Share,
) -> Result<Bytes, Trouble>
where
    B: Body<Data = Bytes, Error: fmt::Display> + Unpin,
{
    if !plain(headers) {
        return Err(Trouble::Encoded);
    }
    let announced = incoming.size_hint().exact();
    if announced.is_some_and(|length| length > u64::try_from(most).unwrap_or(u64::MAX)) {
        return Err(Trouble::TooLarge);
    }
    let announced = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut body = BytesMut::new();
    let start = Instant::now();
    loop {
        let frame = timeout_at(deadline(start, body.len(), limits), incoming.frame()).await;
        let data = match frame {
            Err(_) => return Err(Trouble::TimedOut),
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(Err(error))) => {
                let chunked = headers.contains_key(header::TRANSFER_ENCODING);
                tracing::debug!(chunked, %error, "a body broke off");
                return Err(Trouble::Broken);
            }
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        if body.len() + data.len() > most {
            return Err(Trouble::TooLarge);
        }
        // What is announced need not come: memory is taken, and accounted for, as it does.
        let ahead = if body.is_empty() { announced.min(AHEAD) } else { 0 };
        if !share.grow_to(ahead.max(body.len() + data.len())) {
            return Err(Trouble::Busy);
        }
        if body.is_empty() && incoming.is_end_stream() {
            return Ok(data);
        }
        body.reserve(ahead);
        body.extend_from_slice(&data);
    }
}

/// Until when the next bytes must come: what came so far buys time, up to the limit for all.
fn deadline(start: Instant, bytes: usize, limits: &Limits) -> Instant {
    let bought = Duration::from_secs(u64::try_from(bytes / limits.body_rate.max(1)).unwrap_or(0));
    start + limits.body_time.min(limits.body_patience + bought)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use futures::channel::mpsc;
    use hyper::body::{Frame, SizeHint};

    use super::*;
    use crate::limits::Budget;

    /// A body that announces a length, whatever comes.
    struct Announced(u64, mpsc::UnboundedReceiver<Result<Bytes, &'static str>>);

    impl Body for Announced {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let next = futures::Stream::poll_next(Pin::new(&mut self.1), cx);
            next.map(|next| next.map(|data| data.map(Frame::data)))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    fn announced(length: u64) -> (mpsc::UnboundedSender<Result<Bytes, &'static str>>, Announced) {
        let (send, receive) = mpsc::unbounded();
        (send, Announced(length, receive))
    }

    async fn whole(body: Announced, most: usize, share: &mut Share) -> Result<Bytes, Trouble> {
        read(&HeaderMap::new(), body, &Limits::default(), most, share).await
    }

    #[tokio::test]
    async fn who_only_announces_takes_nothing_from_others() {
        let budget = Budget::new(100_000);
        let (slow, body) = announced(90_000);
        let (mut share, limits) = (budget.share(), Limits::default());
        let headers = HeaderMap::new();
        let mut waits = Box::pin(read(&headers, body, &limits, 100_000, &mut share));
        assert!(futures::poll!(&mut waits).is_pending());

        let (send, body) = announced(50_000);
        send.unbounded_send(Ok(vec![0; 50_000].into())).unwrap();
        drop(send);
        let mut other = budget.share();
        assert_eq!(whole(body, 100_000, &mut other).await.map(|body| body.len()), Ok(50_000));

        // Now there is no room for all that was announced.
        slow.unbounded_send(Ok(vec![0; 60_000].into())).unwrap();
        assert_eq!(waits.await, Err(Trouble::Busy));
    }

    #[tokio::test]
    async fn lengths_are_limited_before_and_while_they_come() {
        let budget = Budget::new(1000);
        let (_send, body) = announced(101);
        assert_eq!(whole(body, 100, &mut budget.share()).await, Err(Trouble::TooLarge));
        let (send, body) = announced(10);
        send.unbounded_send(Ok(vec![0; 101].into())).unwrap();
        assert_eq!(whole(body, 100, &mut budget.share()).await, Err(Trouble::TooLarge));
    }

    #[tokio::test]
    async fn what_breaks_off_is_answered_in_the_words_of_the_source() {
        let budget = Budget::new(1000);
        let (send, body) = announced(10);
        send.unbounded_send(Err("cut")).unwrap();
        assert_eq!(whole(body, 100, &mut budget.share()).await, Err(Trouble::Broken));
        let text = |source: &str| {
            let source = crate::sources::named(source, &crate::sources::Options::default());
            Trouble::Broken.reply(source.unwrap().broken()).text().to_owned()
        };
        assert_eq!([text("Nexus"), text("Quay")], ["Cannot read payload", "bad request"]);
    }
}
