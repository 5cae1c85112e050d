//! How a list goes out: not at all if the client has it, else in the form that it takes.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OnceCell;
use web::Error;

use super::{
    super::{
        compress::{Encoding, SMALLEST},
        conditions::has_version,
        error::Problem,
    },
    Forms,
    packed::{Piece, gzip, zstd},
};

const OPEN: Bytes = Bytes::from_static(br#"{"data":["#);
const COMMA: Bytes = Bytes::from_static(b",");
const CLOSE: Bytes = Bytes::from_static(b"]}");

/// One version of a list, ready to be sent.
#[derive(Debug)]
pub(crate) struct List {
    tag: String,
    /// Items, each followed by a comma.
    blocks: Vec<Piece>,
    /// What stands between the last item and the end of the answer.
    close: Bytes,
    forms: Arc<Forms>,
}

impl List {
    pub(super) fn new(tag: String, blocks: impl Iterator<Item = Piece>, forms: Arc<Forms>) -> Self {
        Self { tag, blocks: blocks.collect(), close: CLOSE, forms }
    }

    /// A list of just these items, such as a page of another one; `metadata` is JSON that stands
    /// beside the items.
    pub(crate) fn of(
        tag: String,
        items: impl IntoIterator<Item = Bytes>,
        metadata: Option<&str>,
    ) -> Self {
        let mut bytes = Vec::new();
        for item in items {
            bytes.extend_from_slice(&item);
            bytes.push(b',');
        }
        let blocks = (!bytes.is_empty()).then(|| Piece::passing(bytes.into()));
        let close = match metadata {
            Some(metadata) => Bytes::from(format!("],\"metadata\":{metadata}}}")),
            None => CLOSE,
        };
        Self { tag, blocks: Vec::from_iter(blocks), close, forms: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// The answer for a client: nothing if it has this version, else the form that it takes.
    pub(crate) async fn respond(self, headers: &HeaderMap) -> Result<Response, Problem> {
        let tag = HeaderValue::try_from(&self.tag).map_err(Error::internal)?;
        if has_version(headers, &self.tag) {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
        }
        let forms = Arc::clone(&self.forms);
        let plain = Pieces::new(self.plain());
        let length = plain.length;
        let encoding = match Encoding::negotiate(headers) {
            _ if length < SMALLEST as u64 => Encoding::Identity,
            encoding => encoding,
        };
        let body = match encoding {
            Encoding::Identity => plain,
            Encoding::Gzip => packed(&forms.gzip, gzip, self.parts()).await?,
            Encoding::Zstd => packed(&forms.zstd, zstd, self.parts()).await?,
        };
        let mut response = Response::new(axum::body::Body::new(body));
        let answer = response.headers_mut();
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.insert(header::ETAG, tag);
        if length >= SMALLEST as u64 {
            answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(name) = encoding.header() {
            answer.insert(header::CONTENT_ENCODING, name);
        }
        Ok(response)
    }

    /// The body as it is.
    fn plain(&self) -> VecDeque<Bytes> {
        let mut pieces = VecDeque::with_capacity(self.blocks.len() + 2);
        pieces.push_back(OPEN);
        pieces.extend(self.blocks.iter().map(|block| block.bytes.clone()));
        if !self.blocks.is_empty()
            && let Some(last) = pieces.back_mut()
        {
            last.truncate(last.len() - 1);
        }
        pieces.push_back(self.close.clone());
        pieces
    }

    /// The body in parts that are compressed one by one. The commas between blocks are parts of
    /// their own, so that a block is the same in the middle of a list and at its end.
    fn parts(self) -> Vec<Piece> {
        let mut parts = Vec::with_capacity(2 * self.blocks.len() + 2);
        parts.push(Piece::passing(OPEN));
        for (index, mut block) in self.blocks.into_iter().enumerate() {
            if index > 0 {
                parts.push(Piece::passing(COMMA));
            }
            block.bytes.truncate(block.bytes.len() - 1);
            parts.push(block);
        }
        parts.push(Piece::passing(self.close));
        parts
    }
}

/// The compressed form: made once, whoever else asks meanwhile waits for it.
async fn packed(
    form: &OnceCell<Bytes>,
    pack: fn(&[Piece]) -> io::Result<Bytes>,
    parts: Vec<Piece>,
) -> Result<Pieces, Problem> {
    let make = || async {
        let done = tokio::task::spawn_blocking(move || pack(&parts)).await;
        done.map_err(Error::internal)?.map_err(Error::internal)
    };
    let bytes = form.get_or_try_init(make).await?;
    Ok(Pieces::new(VecDeque::from([bytes.clone()])))
}

/// A body of kept pieces with a known length.
#[derive(Debug)]
struct Pieces {
    rest: VecDeque<Bytes>,
    length: u64,
}

impl Pieces {
    fn new(rest: VecDeque<Bytes>) -> Self {
        let length = rest.iter().map(|piece| piece.len() as u64).sum();
        Self { rest, length }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.rest.pop_front();
        self.length -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
