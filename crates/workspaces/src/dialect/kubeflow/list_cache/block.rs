//! Neighbouring items of a list in one run of bytes.

use std::{ops::Bound, sync::Arc};

use bytes::{Bytes, BytesMut};
use cluster::Key;

use super::{
    Changed, Row,
    packed::{Packed, Piece},
};

/// About how long a block is.
pub(super) const BLOCK: usize = 128 * 1024;

/// Neighbouring items, each followed by a comma.
#[derive(Debug)]
pub(super) struct Block<T> {
    items: Vec<Item<T>>,
    bytes: Bytes,
    packed: Arc<Packed>,
}

#[derive(Debug)]
struct Item<T> {
    key: Key,
    /// Where the item's comma ends.
    end: usize,
    object: T,
}

/// The namespace in a key.
pub(super) fn namespace(key: &Key) -> &str {
    key.namespace().unwrap_or_default()
}

/// Puts changes into the blocks they belong to; the other blocks stay as they are.
pub(super) fn merge<T: Clone>(blocks: Vec<Block<T>>, changed: Changed<T>) -> Vec<Block<T>> {
    let mut changed = changed.into_iter().peekable();
    let mut merged = Vec::with_capacity(blocks.len() + 1);
    let mut blocks = blocks.into_iter().peekable();
    while let Some(block) = blocks.next() {
        let next = blocks.peek().and_then(Block::first);
        let mut own = Changed::new();
        while let Some((key, row)) = changed.next_if(|(key, _)| next.is_none_or(|next| key < next))
        {
            own.insert(key, row);
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
fn cut<T>(items: Changed<T>, blocks: &mut Vec<Block<T>>) {
    let total: usize = items.values().flatten().map(|row| row.bytes.len() + 1).sum();
    let size = total / total.div_ceil(BLOCK).max(1);
    let mut bytes = BytesMut::new();
    let mut cut = Vec::new();
    for (key, row) in items {
        let Some(Row { bytes: item, object }) = row else { continue };
        if bytes.is_empty() {
            bytes.reserve(size + item.len() + 1);
        }
        bytes.extend_from_slice(&item);
        bytes.extend_from_slice(b",");
        cut.push(Item { key, end: bytes.len(), object });
        if bytes.len() >= size {
            blocks.push(Block::new(std::mem::take(&mut cut), &mut bytes));
        }
    }
    if !cut.is_empty() {
        blocks.push(Block::new(cut, &mut bytes));
    }
}

impl<T> Block<T> {
    fn new(mut items: Vec<Item<T>>, bytes: &mut BytesMut) -> Self {
        items.shrink_to_fit();
        // An exact copy: the buffer's spare room would stay allocated for as long as the block.
        let exact = Bytes::from(bytes.to_vec().into_boxed_slice());
        bytes.clear();
        Self { items, bytes: exact, packed: Arc::default() }
    }

    fn first(&self) -> Option<&Key> {
        self.items.first().map(|item| &item.key)
    }

    fn last(&self) -> Option<&Key> {
        self.items.last().map(|item| &item.key)
    }

    pub(super) fn ends_before(&self, namespace: &str) -> bool {
        self.last().is_none_or(|last| self::namespace(last) < namespace)
    }

    pub(super) fn ends_before_key(&self, key: &Key) -> bool {
        self.last().is_none_or(|last| last < key)
    }

    pub(super) fn ends_at_most(&self, key: &Key) -> bool {
        self.last().is_none_or(|last| last <= key)
    }

    /// All of it.
    pub(super) fn whole(&self) -> Piece {
        Piece { bytes: self.bytes.clone(), packed: Some(Arc::clone(&self.packed)) }
    }

    /// The items of a namespace; `None` when there are none.
    pub(super) fn slice_of(&self, namespace: &str) -> Option<Piece> {
        let from = self.items.partition_point(|item| self::namespace(&item.key) < namespace);
        let to = self.items.partition_point(|item| self::namespace(&item.key) <= namespace);
        if from == 0 && to == self.items.len() && to > 0 {
            return Some(self.whole());
        }
        let bytes = self.bytes.slice(self.start(from)..self.start(to));
        (from < to).then_some(Piece { bytes, packed: None })
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.items[before].end)
    }

    /// Where an item is.
    pub(super) fn find(&self, key: &Key) -> Option<usize> {
        self.items.binary_search_by(|item| item.key.cmp(key)).ok()
    }

    pub(super) fn set_object(&mut self, index: usize, object: T) {
        self.items[index].object = object;
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.items.len(), self.bytes.len())
    }
}

impl<T: Clone> Block<T> {
    pub(super) fn row(&self, index: usize) -> Row<T> {
        let item = &self.items[index];
        let bytes = self.bytes.slice(self.start(index)..item.end - 1);
        Row { bytes, object: item.object.clone() }
    }

    /// The items from a bound on.
    pub(super) fn rows(&self, from: Bound<&Key>) -> impl Iterator<Item = (&Key, Row<T>)> {
        let first = match from {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.items.partition_point(|item| item.key < *key),
            Bound::Excluded(key) => self.items.partition_point(|item| item.key <= *key),
        };
        (first..self.items.len()).map(|index| (&self.items[index].key, self.row(index)))
    }

    fn into_items(self) -> Changed<T> {
        let mut start = 0;
        let bytes = self.bytes;
        self.items
            .into_iter()
            .map(|item| {
                let own = bytes.slice(start..item.end - 1);
                start = item.end;
                (item.key, Some(Row { bytes: own, object: item.object }))
            })
            .collect()
    }
}
