//! Response bodies: bytes, a list assembled from the bytes of its objects, or a stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, stream::BoxStream};
use http_body::{Frame, SizeHint};

/// How much of a list is put together at a time.
const CHUNK: usize = 64 << 10;

/// The body of a response.
pub struct Body(Kind);

enum Kind {
    Once(Option<Bytes>),
    List(Box<List>),
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

struct List {
    head: Option<Bytes>,
    items: std::vec::IntoIter<Bytes>,
    /// What comes before an item: nothing, or the brace that items were cut off from.
    brace: &'static [u8],
    first: bool,
    left: usize,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Once(_) => "Body::Once",
            Kind::List(_) => "Body::List",
            Kind::Stream(_) => "Body::Stream",
        })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Once(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }
}

impl Body {
    /// A list: everything up to `"items":[`, then the objects. Of `open` ones the first brace is
    /// missing.
    pub(crate) fn list(head: Bytes, items: Vec<Bytes>, open: bool) -> Self {
        let brace: &[u8] = if open { b"{" } else { b"" };
        let commas = items.len().saturating_sub(1);
        let bytes: usize = items.iter().map(Bytes::len).sum();
        let left = head.len() + bytes + items.len() * brace.len() + commas + 2;
        let list = List { head: Some(head), items: items.into_iter(), brace, first: true, left };
        Self(Kind::List(Box::new(list)))
    }

    /// Whether it comes bit by bit.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Stream(_))
    }

    /// A stream of bytes.
    pub(crate) fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(stream)))
    }
}

impl List {
    fn next_chunk(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(self.left.min(CHUNK + (CHUNK >> 2)));
        chunk.extend(self.head.take());
        while chunk.len() < CHUNK {
            let Some(item) = self.items.next() else {
                chunk.extend_from_slice(b"]}");
                break;
            };
            if !std::mem::take(&mut self.first) {
                chunk.extend_from_slice(b",");
            }
            chunk.extend_from_slice(self.brace);
            chunk.extend_from_slice(&item);
        }
        self.left = self.left.saturating_sub(chunk.len());
        Some(chunk.freeze())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Once(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::List(list) => Poll::Ready(list.next_chunk().map(|chunk| Ok(Frame::data(chunk)))),
            Kind::Stream(stream) => stream
                .as_mut()
                .poll_next(context)
                .map(|next| next.map(|item| item.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Once(bytes) => bytes.is_none(),
            Kind::List(list) => list.left == 0,
            Kind::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Once(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::List(list) => SizeHint::with_exact(list.left as u64),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}
