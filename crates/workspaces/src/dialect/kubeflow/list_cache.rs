//! Lists as kept bytes: rendered when an item changes, never for a request.
//!
//! Rendered items lie in order of namespace and name in blocks of about 128 KiB. The whole list is
//! all blocks in a row, the list of a namespace is a run of slices of them, so both go out without
//! a copy, memory holds every item once, and a change copies one block only. Compressed forms are
//! made when first asked for and kept until their list changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use cluster::Key;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use parking_lot::RwLock;
use tokio::sync::OnceCell;
use web::Error;

use super::{
    compress::{Encoding, SMALLEST},
    conditions::has_version,
    error::Problem,
};

const BLOCK: usize = 128 * 1024;
const OPEN: Bytes = Bytes::from_static(br#"{"data":["#);
const CLOSE: Bytes = Bytes::from_static(b"]}");

/// Changed items in order; `None` is one that is gone.
pub(crate) type Changed = BTreeMap<Key, Option<Bytes>>;

/// The kept lists.
#[derive(Debug)]
pub(crate) struct ListCache {
    /// Makes entity tags of this process differ from those of an earlier one.
    instance: u64,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sequence: u64,
    blocks: Vec<Block>,
    all: Arc<Forms>,
    namespaces: HashMap<Box<str>, Arc<Forms>>,
}

/// One version of a list: its number and its compressed forms, as far as somebody wanted them.
#[derive(Debug, Default)]
struct Forms {
    version: u64,
    gzip: OnceCell<Bytes>,
    zstd: OnceCell<Bytes>,
}

impl Forms {
    fn new(version: u64) -> Arc<Self> {
        Arc::new(Self { version, ..Self::default() })
    }
}

/// Neighbouring items, each followed by a comma.
#[derive(Debug)]
struct Block {
    items: Vec<Item>,
    bytes: Bytes,
}

#[derive(Debug)]
struct Item {
    key: Key,
    /// Where the item's comma ends.
    end: usize,
}

impl ListCache {
    /// An empty cache; `instance` differs between processes.
    pub(crate) fn new(instance: u64) -> Self {
        Self { instance, inner: RwLock::default() }
    }

    /// Takes in what changed since the last call.
    pub(crate) fn apply(&self, changed: Changed) {
        if !changed.is_empty() {
            self.inner.write().apply(changed);
        }
    }

    /// Forgets every item and takes these instead.
    pub(crate) fn replace(&self, items: Changed) {
        let mut inner = self.inner.write();
        let sequence = inner.sequence + 1;
        *inner = Inner { sequence, all: Forms::new(sequence), ..Inner::default() };
        inner.apply(items);
    }

    /// The list of everything.
    pub(crate) fn all(&self) -> List {
        let inner = self.inner.read();
        let whole = inner.blocks.iter().map(|block| block.bytes.clone());
        self.list(whole, Arc::clone(&inner.all))
    }

    /// The list of one namespace; empty when there is none of that name.
    pub(crate) fn namespace(&self, namespace: &str) -> List {
        let inner = self.inner.read();
        let Some(forms) = inner.namespaces.get(namespace) else {
            return self.list(std::iter::empty(), Arc::default());
        };
        let first = inner.blocks.partition_point(|block| block.ends_before(namespace));
        let slices = inner.blocks[first..].iter().map_while(|block| block.slice_of(namespace));
        self.list(slices, Arc::clone(forms))
    }

    fn list(&self, blocks: impl Iterator<Item = Bytes>, forms: Arc<Forms>) -> List {
        let mut pieces = VecDeque::from([OPEN]);
        pieces.extend(blocks.filter(|block| !block.is_empty()));
        if pieces.len() > 1
            && let Some(last) = pieces.back_mut()
        {
            last.truncate(last.len() - 1);
        }
        pieces.push_back(CLOSE);
        List { tag: format!("W/\"{:x}-{:x}\"", self.instance, forms.version), pieces, forms }
    }
}

impl Inner {
    fn apply(&mut self, changed: Changed) {
        self.sequence += 1;
        self.all = Forms::new(self.sequence);
        let touched: BTreeSet<Box<str>> = changed.keys().map(|key| namespace(key).into()).collect();
        self.blocks = merge(std::mem::take(&mut self.blocks), changed);
        for namespace in touched {
            let first = self.blocks.partition_point(|block| block.ends_before(&namespace));
            match self.blocks.get(first).and_then(|block| block.slice_of(&namespace)) {
                Some(_) => self.namespaces.insert(namespace, Forms::new(self.sequence)),
                None => self.namespaces.remove(&namespace),
            };
        }
    }
}

/// Puts changes into the blocks they belong to; the other blocks stay as they are.
fn merge(blocks: Vec<Block>, changed: Changed) -> Vec<Block> {
    let mut changed = changed.into_iter().peekable();
    let mut merged = Vec::with_capacity(blocks.len() + 1);
    let mut blocks = blocks.into_iter().peekable();
    while let Some(block) = blocks.next() {
        let next = blocks.peek().and_then(Block::first);
        let belongs = |(key, _): &(Key, Option<Bytes>)| next.is_none_or(|next| key < next);
        let mut own = Changed::new();
        while let Some((key, bytes)) = changed.next_if(belongs) {
            own.insert(key, bytes);
        }
        if own.is_empty() {
            merged.push(block);
        } else {
            let mut items = block.into_items();
            items.extend(own);
            cut(items, &mut merged);
        }
    }
    cut(changed.collect(), &mut merged);
    merged
}

/// Lays items out in blocks of about the same size.
fn cut(items: Changed, blocks: &mut Vec<Block>) {
    let total: usize = items.values().flatten().map(|bytes| bytes.len() + 1).sum();
    let size = total / total.div_ceil(BLOCK).max(1);
    let mut bytes = BytesMut::new();
    let mut cut = Vec::new();
    for (key, item) in items {
        let Some(item) = item else { continue };
        if bytes.is_empty() {
            bytes.reserve(size + item.len() + 1);
        }
        bytes.extend_from_slice(&item);
        bytes.extend_from_slice(b",");
        cut.push(Item { key, end: bytes.len() });
        if bytes.len() >= size {
            blocks.push(Block::new(std::mem::take(&mut cut), &mut bytes));
        }
    }
    if !cut.is_empty() {
        blocks.push(Block::new(cut, &mut bytes));
    }
}

impl Block {
    fn new(mut items: Vec<Item>, bytes: &mut BytesMut) -> Self {
        items.shrink_to_fit();
        // An exact copy: the buffer's spare room would stay allocated for as long as the block.
        let exact = Bytes::from(bytes.to_vec().into_boxed_slice());
        bytes.clear();
        Self { items, bytes: exact }
    }

    fn first(&self) -> Option<&Key> {
        self.items.first().map(|item| &item.key)
    }

    fn ends_before(&self, namespace: &str) -> bool {
        self.items.last().is_none_or(|last| self::namespace(&last.key) < namespace)
    }

    /// The items of a namespace; `None` when there are none.
    fn slice_of(&self, namespace: &str) -> Option<Bytes> {
        let from = self.items.partition_point(|item| self::namespace(&item.key) < namespace);
        let to = self.items.partition_point(|item| self::namespace(&item.key) <= namespace);
        (from < to).then(|| self.bytes.slice(self.start(from)..self.start(to)))
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.items[before].end)
    }

    fn into_items(self) -> Changed {
        let mut start = 0;
        let bytes = self.bytes;
        self.items
            .into_iter()
            .map(|item| {
                let own = bytes.slice(start..item.end - 1);
                start = item.end;
                (item.key, Some(own))
            })
            .collect()
    }
}

fn namespace(key: &Key) -> &str {
    key.namespace().unwrap_or_default()
}

/// One version of a list, ready to be sent.
#[derive(Debug)]
pub(crate) struct List {
    tag: String,
    pieces: VecDeque<Bytes>,
    forms: Arc<Forms>,
}

impl List {
    /// The answer for a client: nothing if it has this version, else the form that it takes.
    pub(crate) async fn respond(self, headers: &HeaderMap) -> Result<Response, Problem> {
        let tag = HeaderValue::try_from(&self.tag).map_err(Error::internal)?;
        if has_version(headers, &self.tag) {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
        }
        let length: usize = self.pieces.iter().map(Bytes::len).sum();
        let encoding = match Encoding::negotiate(headers) {
            _ if length < SMALLEST => Encoding::Identity,
            encoding => encoding,
        };
        let pieces = match encoding {
            Encoding::Identity => self.pieces,
            Encoding::Gzip => packed(&self.forms.gzip, encoding, self.pieces).await?,
            Encoding::Zstd => packed(&self.forms.zstd, encoding, self.pieces).await?,
        };
        let mut response = Response::new(axum::body::Body::new(Pieces::new(pieces)));
        let answer = response.headers_mut();
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.insert(header::ETAG, tag);
        if length >= SMALLEST {
            answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(name) = encoding.header() {
            answer.insert(header::CONTENT_ENCODING, name);
        }
        Ok(response)
    }
}

/// The compressed form: made once, whoever else asks meanwhile waits for it.
async fn packed(
    form: &OnceCell<Bytes>,
    encoding: Encoding,
    pieces: VecDeque<Bytes>,
) -> Result<VecDeque<Bytes>, Problem> {
    let make = || async {
        let compress = move || encoding.compress(&Vec::from(pieces));
        let done = tokio::task::spawn_blocking(compress).await.map_err(Error::internal)?;
        done.map_err(Error::internal)
    };
    let bytes = form.get_or_try_init(make).await?;
    Ok(VecDeque::from([bytes.clone()]))
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        Key::new(Some(namespace), name)
    }

    fn item(namespace: &str, name: &str, text: &str) -> (Key, Option<Bytes>) {
        (key(namespace, name), Some(Bytes::from(text.to_owned())))
    }

    async fn text(list: List) -> String {
        let response = list.respond(&HeaderMap::new()).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn empty_lists_are_lists() {
        let cache = ListCache::new(1);
        assert_eq!(text(cache.all()).await, r#"{"data":[]}"#);
        assert_eq!(text(cache.namespace("a")).await, r#"{"data":[]}"#);
    }

    #[tokio::test]
    async fn namespaces_are_parts_of_the_whole() {
        let cache = ListCache::new(1);
        cache.apply([item("b", "x", "3"), item("a", "y", "2"), item("a", "x", "1")].into());
        assert_eq!(text(cache.all()).await, r#"{"data":[1,2,3]}"#);
        assert_eq!(text(cache.namespace("a")).await, r#"{"data":[1,2]}"#);
        assert_eq!(text(cache.namespace("b")).await, r#"{"data":[3]}"#);
        cache.apply([(key("a", "x"), None), item("b", "x", "4")].into());
        assert_eq!(text(cache.all()).await, r#"{"data":[2,4]}"#);
        cache.apply([(key("a", "y"), None)].into());
        assert_eq!(text(cache.namespace("a")).await, r#"{"data":[]}"#);
        assert_eq!(text(cache.all()).await, r#"{"data":[4]}"#);
    }

    #[tokio::test]
    async fn a_version_is_sent_once_and_others_keep_theirs() {
        let cache = ListCache::new(1);
        cache.apply([item("a", "x", "1"), item("b", "x", "2")].into());
        let known = |list: &List| {
            HeaderMap::from_iter([(header::IF_NONE_MATCH, list.tag.parse().unwrap())])
        };
        let headers = known(&cache.namespace("a"));
        cache.apply([item("b", "x", "3")].into());
        let status = cache.namespace("a").respond(&headers).await.unwrap().status();
        assert_eq!(status, StatusCode::NOT_MODIFIED);
        cache.apply([item("a", "x", "4")].into());
        let status = cache.namespace("a").respond(&headers).await.unwrap().status();
        assert_eq!(status, StatusCode::OK);
    }

    /// Random edits against a plain map: same bytes, blocks within bounds.
    #[tokio::test]
    async fn blocks_hold_what_a_map_would() {
        let cache = ListCache::new(1);
        let mut model: BTreeMap<Key, Bytes> = BTreeMap::new();
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..400 {
            let mut changed = Changed::new();
            for _ in 0..random(30) {
                let key = key(&format!("n{}", random(9)), &format!("w{}", random(200)));
                let gone = random(if round < 300 { 5 } else { 2 }) == 0;
                let size = 10 + random(4000) as usize;
                changed.insert(key, (!gone).then(|| Bytes::from(vec![b'x'; size])));
            }
            for (key, bytes) in &changed {
                match bytes {
                    Some(bytes) => drop(model.insert(key.clone(), bytes.clone())),
                    None => drop(model.remove(key)),
                }
            }
            cache.apply(changed);
        }
        for namespace in ["n0", "n4", "n8", "none"] {
            let expected: Vec<&[u8]> = model
                .iter()
                .filter(|(key, _)| key.namespace() == Some(namespace))
                .map(|(_, bytes)| bytes.as_ref())
                .collect();
            let expected = [br#"{"data":["#, &expected.join(&b',')[..], b"]}"].concat();
            assert_eq!(text(cache.namespace(namespace)).await.as_bytes(), expected);
        }
        let whole: Vec<&[u8]> = model.values().map(AsRef::as_ref).collect();
        let whole = [br#"{"data":["#, &whole.join(&b',')[..], b"]}"].concat();
        assert_eq!(text(cache.all()).await.as_bytes(), whole);
        let inner = cache.inner.read();
        assert!(inner.blocks.iter().all(|block| block.bytes.len() < BLOCK + 8_000));
        assert!(inner.blocks.iter().all(|block| !block.items.is_empty()));
    }
}
