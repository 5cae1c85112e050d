//! Reading a body that may be too long, too slow, compressed or one too many.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::{Limits, Reply, plain};
use crate::limits::Share;

/// For how many bytes memory is taken at once when the first of them came, at the most.
const AHEAD: usize = 64 * 1024;

/// The whole body, or what the sender is told instead. `share` accounts for what is in memory.
pub(super) async fn read(
    headers: &HeaderMap,
    mut incoming: Incoming,
    limits: &Limits,
    most: usize,
    share: &mut Share,
) -> Result<Bytes, Reply> {
    if !plain(headers) {
        return Err(Reply::closing(415, "unsupported content encoding"));
    }
    let announced = incoming.size_hint().exact();
    if announced.is_some_and(|length| length > u64::try_from(most).unwrap_or(u64::MAX)) {
        return Err(too_large());
    }
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| !share.grow_to(length)) {
        return Err(busy());
    }
    let mut body = BytesMut::new();
    let start = Instant::now();
    loop {
        let frame = timeout_at(deadline(start, body.len(), limits), incoming.frame()).await;
        let data = match frame {
            Err(_) => return Err(timed_out()),
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(Err(error))) => return Err(broken(headers, &error)),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        if body.len() + data.len() > most {
            return Err(too_large());
        }
        if !share.grow_to(body.len() + data.len()) {
            return Err(busy());
        }
        if body.is_empty() && incoming.is_end_stream() {
            return Ok(data);
        }
        if body.is_empty() {
            // What is announced need not come: memory is taken as it does.
            body.reserve(announced.unwrap_or_default().min(AHEAD));
        }
        body.extend_from_slice(&data);
    }
}

/// Until when the next bytes must come: what came so far buys time, up to the limit for all.
fn deadline(start: Instant, bytes: usize, limits: &Limits) -> Instant {
    let bought = Duration::from_secs(u64::try_from(bytes / limits.body_rate.max(1)).unwrap_or(0));
    start + limits.body_time.min(limits.body_patience + bought)
}

fn too_large() -> Reply {
    Reply::closing(413, "request body too large")
}

fn timed_out() -> Reply {
    Reply::closing(408, "request timed out")
}

fn busy() -> Reply {
    Reply::retry(503, "too many requests in flight", Duration::from_secs(5))
        .with(header::CONNECTION, http::HeaderValue::from_static("close"))
}

/// A body that broke off, or whose chunks are malformed. If anybody still listens, it is told so.
fn broken(headers: &HeaderMap, error: &hyper::Error) -> Reply {
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    tracing::debug!(chunked, %error, "a body broke off");
    Reply::closing(400, "bad request")
}
