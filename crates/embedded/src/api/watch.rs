//! Watches: the events of a resource as a stream of JSON lines.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::Response;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Api, Body, Status,
    kinds::Resource,
    query::{ListOptions, Revision},
    read::Filter,
    serve,
    view::View,
};
use crate::store::{Draft, Entry, Event, EventKind, Watch};

/// How often a client that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How much is put together before it is sent.
const CHUNK: usize = 64 << 10;
/// A watch ends after this time, unless its client said when.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);

struct Stream {
    api: Arc<Api>,
    view: View,
    filter: Filter,
    watch: Watch,
    /// Objects that existed at the start and are still to be told.
    initial: VecDeque<(Arc<str>, Arc<Entry>)>,
    /// Whether the end of those is to be told.
    initial_end: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    gone: CancellationToken,
    over: bool,
    headers: bool,
}

pub(crate) async fn open(
    api: &Arc<Api>,
    resource: &Arc<Resource>,
    namespace: &str,
    name: Option<String>,
    options: ListOptions,
    view: View,
) -> Result<Response<Body>, Status> {
    let filter = Filter::new(resource, namespace, name, &options)?;
    let after = match options.revision {
        Revision::Latest => 0,
        Revision::NotOlderThan(revision) | Revision::Exact(revision) => revision,
    };
    let with_state = options.initial_events || after == 0;
    let mut initial = VecDeque::new();
    let mut start = after;
    if with_state {
        let listing = api.store.list(&resource.table, &filter.prefix);
        start = listing.revision;
        initial
            .extend(listing.entries.into_iter().filter(|(key, entry)| filter.accepts(key, entry)));
    }
    let watch = match api.store.watch(&resource.table, start) {
        Ok(watch) => watch,
        Err(expired) => {
            let line = expired_line(after, expired.oldest);
            return Ok(serve::json(Body::from(line)));
        }
    };
    let now = Instant::now();
    let state = Stream {
        api: api.clone(),
        view,
        filter,
        watch,
        initial,
        initial_end: options.initial_events && options.bookmarks,
        bookmarks: options.bookmarks,
        next_bookmark: now + BOOKMARK_EVERY,
        end: now + options.timeout.unwrap_or(DEFAULT_TIMEOUT),
        gone: resource.custom.as_ref().map(|custom| custom.gone.clone()).unwrap_or_default(),
        over: false,
        headers: true,
    };
    let stream = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<_, io::Error>(chunk), state))
    });
    Ok(serve::json(Body::stream(stream)))
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        while !self.over {
            self.fill(&mut chunk);
            if !chunk.is_empty() {
                return Some(chunk.freeze());
            }
            if self.over {
                break;
            }
            tokio::select! {
                () = self.watch.changed() => {}
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    self.bookmark(&mut chunk, "");
                    return Some(chunk.freeze());
                }
                () = tokio::time::sleep_until(self.end) => self.over = true,
                () = self.gone.cancelled() => self.over = true,
                () = self.api.stop.cancelled() => self.over = true,
            }
        }
        None
    }

    /// Adds what there is to tell now.
    fn fill(&mut self, chunk: &mut BytesMut) {
        while let Some((_, entry)) = self.initial.pop_front() {
            push(chunk, "ADDED", &self.shown(&entry));
            if chunk.len() >= CHUNK {
                return;
            }
        }
        if std::mem::take(&mut self.initial_end) {
            self.bookmark(chunk, "\"annotations\":{\"k8s.io/initial-events-end\":\"true\"},");
        }
        match self.watch.take() {
            Ok(events) => {
                for event in events {
                    self.tell(chunk, &event);
                }
            }
            Err(expired) => {
                chunk.put(expired_line(self.watch.seen(), expired.oldest));
                self.over = true;
            }
        }
    }

    /// An event as this watch sees it: an object that begins or ceases to be selected is added or
    /// deleted here.
    fn tell(&mut self, chunk: &mut BytesMut, event: &Event) {
        let accepts = |entry: &Arc<Entry>| self.filter.accepts(&event.key, entry);
        let now = event.kind != EventKind::Deleted && accepts(&event.object);
        let before = event.previous.as_ref().is_some_and(accepts);
        let kind = match (before, now) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        let last = event.previous.as_ref().filter(|_| event.kind != EventKind::Deleted && !now);
        let shown = match last {
            // What leaves a selection is told as it was in it, at the revision of its leaving.
            Some(last) => {
                let revision = event.object.revision();
                self.shown(&Draft::of_entry(last).into_entry(revision))
            }
            None => self.shown(&event.object),
        };
        push(chunk, kind, &shown);
    }

    /// An object as this watch shows it: a table tells its columns once.
    fn shown(&mut self, entry: &Entry) -> Bytes {
        let headers = std::mem::take(&mut self.headers);
        self.view.event(entry, headers)
    }

    fn bookmark(&mut self, chunk: &mut BytesMut, annotations: &str) {
        let headers = std::mem::take(&mut self.headers);
        let object = self.view.bookmark(annotations, self.watch.seen(), headers);
        push(chunk, "BOOKMARK", &object);
    }
}

fn push(chunk: &mut BytesMut, kind: &str, object: &[u8]) {
    chunk.reserve(object.len() + kind.len() + 24);
    chunk.put_slice(b"{\"type\":\"");
    chunk.put_slice(kind.as_bytes());
    chunk.put_slice(b"\",\"object\":");
    chunk.put_slice(object);
    chunk.put_slice(b"}\n");
}

fn expired_line(wanted: u64, oldest: u64) -> Bytes {
    let status = Status::expired(format!("too old resource version: {wanted} ({oldest})"));
    let mut line = BytesMut::new();
    push(&mut line, "ERROR", &status.to_bytes());
    line.freeze()
}
