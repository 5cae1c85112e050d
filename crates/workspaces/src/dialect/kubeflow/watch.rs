//! A list of workspaces that goes on: every item first, then every change, as server-sent events.
//!
//! A watcher owns next to nothing. It walks the kept list from key to key, then follows the journal
//! that all watchers share; so it costs the same whether its client reads or not. One that is too
//! far behind is told so and ended, and its client lists again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use cluster::Key;
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    compress::Live,
    error::Problem,
    list_cache::{Event, ListCache, TooOld},
    list_query::Filter,
    lists::WorkspaceLists,
};
use crate::model::Workspace;

/// What is taken from the list or the journal at a time.
const PIECE: usize = 16;

/// How long nothing is said before a client is told that the server is there.
const QUIET: Duration = Duration::from_secs(15);

/// How long a watch goes on. Its client then comes back with the last event's id and misses nothing,
/// and is asked again whether it may watch.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Clears the client's last event id, so that it starts over.
const BEHIND: &[u8] = b"id\ndata: {\"type\":\"ERROR\",\"object\":{\"code\":\"410\",\"message\":\"too far behind: start over\"}}\n\n";

/// Answers with the items of a namespace, or all of them, and their changes.
pub(crate) async fn respond(
    lists: Arc<WorkspaceLists>,
    scope: Option<String>,
    filter: Filter,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let kept = lists.current().await?;
    let shown = headers.get("last-event-id").filter(|id| !id.is_empty());
    let news = kept.end();
    let position = *news.borrow();
    let mut watcher = Watcher {
        scope,
        filter,
        position,
        news,
        walk: Some(Walk::default()),
        walked: Vec::new(),
        ready: VecDeque::new(),
        ends_at: Instant::now() + LONGEST,
        lists: Arc::clone(&lists),
    };
    if let Some(shown) = shown {
        let position = shown.to_str().ok().and_then(|token| kept.position(token));
        match position.filter(|position| kept.since(*position, 0).is_ok()) {
            Some(position) => (watcher.position, watcher.walk) = (position, None),
            None => watcher.ready.push_back(Bytes::from_static(BEHIND)),
        }
    }
    let events = stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), watcher))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.extensions_mut().insert(Live);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Watcher {
    lists: Arc<WorkspaceLists>,
    scope: Option<String>,
    filter: Filter,
    /// The next change in the journal.
    position: u64,
    news: watch::Receiver<u64>,
    /// The walk through the list, until it is done.
    walk: Option<Walk>,
    /// Up to which key the list was read when the journal had got where: changes before that are
    /// in what was read.
    walked: Vec<(Key, u64)>,
    ready: VecDeque<Bytes>,
    ends_at: Instant,
}

#[derive(Default)]
struct Walk {
    after: Option<Key>,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.news.has_changed().is_err() || Instant::now() >= self.ends_at {
                return None;
            }
            if let Some(walk) = self.walk.take() {
                self.walk(walk);
                continue;
            }
            self.news.mark_unchanged();
            let lists = Arc::clone(&self.lists);
            match lists.kept().since(self.position, PIECE) {
                Ok(events) if events.is_empty() => {
                    tokio::select! {
                        _ = self.news.changed() => {}
                        () = sleep(QUIET) => return Some(Bytes::from_static(b":\n\n")),
                        () = sleep_until(self.ends_at) => {}
                    }
                }
                Ok(events) => events.iter().for_each(|event| self.show(lists.kept(), event)),
                Err(TooOld) => {
                    self.ends_at = Instant::now();
                    return Some(Bytes::from_static(BEHIND));
                }
            }
        }
    }

    /// Shows the next few items of the list.
    fn walk(&mut self, walk: Walk) {
        let lists = Arc::clone(&self.lists);
        let after =
            walk.after.or_else(|| self.scope.as_ref().map(|scope| Key::new(Some(scope), "")));
        let (rows, end) = lists.kept().after(after.as_ref(), PIECE);
        let mut over = rows.len() < PIECE;
        for (key, row) in &rows {
            if self.scope.as_deref().is_some_and(|scope| key.namespace() != Some(scope)) {
                over = true;
                break;
            }
            if self.filter.matches(&row.object) {
                // A copy: a slice would keep its block for as long as this client does not read.
                let text = [b"data: {\"type\":\"ADDED\",\"object\":", &row.bytes[..], b"}\n\n"];
                self.ready.push_back(text.concat().into());
            }
        }
        let last = rows.into_iter().next_back().map(|(key, _)| key);
        if let Some(last) = last.clone().filter(|_| end > self.position) {
            self.walked.push((last, end));
        }
        if over {
            // Nothing lies behind the last key: what comes there comes later.
            let id = format!("id: {}\n\n", lists.kept().token(self.position));
            self.ready.push_back(id.into());
        } else {
            self.walk = Some(Walk { after: last });
        }
    }

    /// Shows a change, if it is one for this watcher.
    fn show(&mut self, kept: &ListCache<Arc<Workspace>>, event: &Event<Arc<Workspace>>) {
        let position = self.position;
        self.position += 1;
        let elsewhere = self.scope.as_deref().is_some_and(|s| event.key.namespace() != Some(s));
        if elsewhere || self.was_read(&event.key, position) {
            return;
        }
        let matches = |object: &Option<Arc<Workspace>>| {
            object.as_ref().is_some_and(|object| self.filter.matches(object))
        };
        let head: &[u8] = match (matches(&event.old), matches(&event.new)) {
            (false, false) => return,
            (true, true) if event.same => return,
            (false, true) => b"data: {\"type\":\"ADDED\",\"object\":",
            (true, true) => b"data: {\"type\":\"MODIFIED\",\"object\":",
            (true, false) => b"data: {\"type\":\"DELETED\",\"object\":",
        };
        let id = format!("}}\nid: {}\n\n", kept.token(self.position));
        self.ready.extend([Bytes::from_static(head), event.bytes.clone(), id.into()]);
    }

    /// Whether the walk has shown the item after this change.
    fn was_read(&mut self, key: &Key, position: u64) -> bool {
        let newest = self.walked.last().map_or(0, |(_, end)| *end);
        if position >= newest {
            self.walked = Vec::new();
            return false;
        }
        let part = self.walked.partition_point(|(last, _)| last < key);
        self.walked.get(part).is_some_and(|(_, end)| position < *end)
    }
}
