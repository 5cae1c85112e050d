//! Deliveries: listed, looked at, made again, forgotten.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Admin,
    answer::{Problem, Said, accepted, ok},
    gate::{Caller, Want},
};
use crate::{
    journal::{Again, Delivery, Id, Journal, RedeliverError},
    receive::Entry,
    targets::Request,
};

/// The most deliveries of one answer.
const MAX_LIMIT: usize = 200;
/// The most deliveries that are made again by one request.
const MAX_AGAIN: usize = 1000;
/// The most deliveries that are looked at for one answer; a cursor goes on from there.
const MAX_SCAN: usize = 10_000;
/// How many are read at a time.
const PAGE: usize = 500;

/// Which deliveries.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Filter {
    endpoint: Option<String>,
    state: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    repo: Option<String>,
    q: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// One line of a list.
enum Line {
    Kept(Box<Delivery>),
    Seen(Arc<Entry>),
}

impl Line {
    fn id(&self) -> Id {
        match self {
            Self::Kept(delivery) => delivery.id,
            Self::Seen(entry) => entry.id,
        }
    }

    fn endpoint(&self) -> &str {
        match self {
            Self::Kept(delivery) => &delivery.endpoint,
            Self::Seen(entry) => &entry.endpoint,
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Self::Kept(delivery) => delivery.word(),
            Self::Seen(entry) => entry.state,
        }
    }

    fn shown(&self) -> Value {
        match self {
            Self::Kept(delivery) => shown(delivery),
            Self::Seen(entry) => {
                let value = serde_json::to_value(&**entry).unwrap_or_default();
                with_time(value, entry.id)
            }
        }
    }
}

impl Filter {
    fn cursor(&self) -> Result<Option<Id>, Problem> {
        let cursor = self.cursor.as_deref().map(str::parse::<Id>).transpose();
        cursor.map_err(|_| Problem::bad("cursor is none"))
    }

    fn passes(&self, line: &Line) -> bool {
        let at = line.id().received_ms();
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|one| one == is);
        same(&self.endpoint, line.endpoint())
            && same(&self.state, line.state())
            && self.since.is_none_or(|since| at >= since.as_millisecond())
            && self.until.is_none_or(|until| at < until.as_millisecond())
            && self.repo.as_deref().is_none_or(|repo| is_about(line, repo))
            && self.q.as_deref().is_none_or(|text| mentions(line, text))
    }

    /// Whether nothing older can pass.
    fn ends_before(&self, id: Id) -> bool {
        self.since.is_some_and(|since| id.received_ms() < since.as_millisecond())
    }
}

/// Whether a delivery is about this repository, image or bucket.
fn is_about(line: &Line, repo: &str) -> bool {
    let Line::Kept(delivery) = line else { return false };
    let plain = crate::decide::filter::plain_url(repo);
    delivery.events.iter().any(|event| {
        let git = event.repo.as_ref().is_some_and(|known| {
            let url = |url: &String| crate::decide::filter::plain_url(url) == plain;
            known.full_name == repo || known.urls.iter().any(url)
        });
        let image = event.image.as_ref().is_some_and(|image| {
            image.name == repo || format!("{}/{}", image.domain, image.name) == repo
        });
        git || image || event.object.as_ref().is_some_and(|object| object.bucket == repo)
    })
}

/// Whether any of its words holds this text, in any case.
fn mentions(line: &Line, text: &str) -> bool {
    let text = text.to_lowercase();
    let holds = |word: &str| word.to_lowercase().contains(&text);
    match line {
        Line::Seen(entry) => {
            holds(&entry.endpoint)
                || holds(&entry.address)
                || entry.reason.as_deref().is_some_and(holds)
                || entry.delivery_id.as_deref().is_some_and(holds)
        }
        Line::Kept(delivery) => {
            holds(&delivery.id.to_string())
                || holds(&delivery.endpoint)
                || delivery.delivery_id.as_deref().is_some_and(holds)
                || delivery.notifications.iter().any(|one| {
                    holds(&one.target)
                        || holds(&one.subject)
                        || one.last_error.as_deref().is_some_and(holds)
                })
        }
    }
}

/// A delivery as it is shown.
fn shown(delivery: &Delivery) -> Value {
    let mut value = serde_json::to_value(delivery).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("id".to_owned(), delivery.id.to_string().into());
        fields.insert("state".to_owned(), delivery.word().into());
        fields.insert("verification".to_owned(), "passed".into());
    }
    with_time(value, delivery.id)
}

fn with_time(mut value: Value, id: Id) -> Value {
    let received = Timestamp::from_millisecond(id.received_ms()).ok();
    value["receivedAt"] = received.map(|at| at.to_string()).into();
    value
}

/// Goes through what came in, newest first, and gives what passes the filter and the caller may
/// see; also where to go on, if there may be more.
struct Walk<'a> {
    filter: &'a Filter,
    caller: &'a mut Caller,
    want: Want,
    most: usize,
    found: Vec<Line>,
}

impl Walk<'_> {
    /// Looks at these, newest first; says whether it has enough.
    async fn look(&mut self, lines: impl IntoIterator<Item = Line>) -> Result<bool, Problem> {
        for line in lines {
            if self.filter.passes(&line) && self.caller.may(self.want, line.endpoint()).await? {
                self.found.push(line);
                if self.found.len() == self.most {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// What is read in a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Everything that came in.
    All,
    /// What the journal keeps.
    Kept,
    /// What was given up.
    Dead,
}

async fn walk(admin: &Admin, walk: &mut Walk<'_>, which: Which) -> Result<Option<Id>, Problem> {
    let mut cursor = walk.filter.cursor()?;
    let journal = admin.journal();
    let mut seen = match which {
        Which::All => admin.receiver.recent().before(cursor),
        Which::Kept | Which::Dead => Vec::new(),
    }
    .into_iter()
    .peekable();
    for _ in 0..MAX_SCAN / PAGE {
        let page = page(journal.clone(), which, cursor).await?;
        let last = page.last().map(|delivery| delivery.id);
        let mut lines = Vec::with_capacity(page.len());
        for delivery in page {
            while let Some(entry) = seen.next_if(|entry| entry.id > delivery.id) {
                lines.push(Line::Seen(entry));
            }
            lines.push(Line::Kept(Box::new(delivery)));
        }
        if last.is_none() {
            lines.extend(seen.by_ref().map(Line::Seen));
        }
        if walk.look(lines).await? {
            return Ok(walk.found.last().map(Line::id));
        }
        match last {
            Some(id) if !walk.filter.ends_before(id) => cursor = Some(id),
            _ => return Ok(None),
        }
    }
    Ok(cursor)
}

/// Reads a page of the journal, away from the threads that serve connections.
async fn page(
    journal: Option<Journal>,
    which: Which,
    before: Option<Id>,
) -> Result<Vec<Delivery>, Problem> {
    let Some(journal) = journal else { return Ok(Vec::new()) };
    let read = tokio::task::spawn_blocking(move || match which {
        Which::Dead => journal.dead(before, PAGE),
        Which::All | Which::Kept => journal.deliveries(before, PAGE),
    });
    let read = read.await.unwrap_or(Err(crate::journal::Unavailable));
    Ok(read?)
}

fn query(query: Result<Query<Filter>, QueryRejection>) -> Result<Filter, Problem> {
    query.map(|Query(filter)| filter).map_err(|error| Problem::bad(error.body_text()))
}

async fn listed(admin: &Admin, mut caller: Caller, filter: Filter, which: Which) -> Said {
    let most = filter.limit.unwrap_or(50).clamp(1, MAX_LIMIT);
    let mut looking =
        Walk { filter: &filter, caller: &mut caller, want: Want::See, most, found: Vec::new() };
    let next = walk(admin, &mut looking, which).await?;
    let items: Vec<Value> = looking.found.iter().map(Line::shown).collect();
    ok(json!({ "items": items, "next": next.map(|id| id.to_string()) }))
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Said {
    listed(&admin, caller, query(filter)?, Which::All).await
}

pub(super) async fn dead(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Said {
    listed(&admin, caller, query(filter)?, Which::Dead).await
}

/// The delivery of this id, if there is one that the caller may see.
async fn find(
    admin: &Admin,
    caller: &mut Caller,
    want: Want,
    id: &str,
) -> Result<(Journal, Delivery), Problem> {
    let missing = || Problem::not_found("delivery");
    let id = id.parse::<Id>().map_err(|_| missing())?;
    let journal = admin.journal().ok_or_else(missing)?;
    let delivery = journal.delivery(id)?.ok_or_else(missing)?;
    caller.demand(want, &delivery.endpoint).await?;
    Ok((journal, delivery))
}

pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    mut caller: Caller,
    Path(id): Path<String>,
) -> Said {
    if let Ok(id) = id.parse::<Id>()
        && let Some(entry) = admin.receiver.recent().before(None).into_iter().find(|e| e.id == id)
    {
        caller.demand(Want::See, &entry.endpoint).await?;
        return ok(Line::Seen(entry).shown());
    }
    let (journal, delivery) = find(&admin, &mut caller, Want::See, &id).await?;
    let mut value = shown(&delivery);
    if caller.may(Want::Do, &delivery.endpoint).await?
        && let Some(request) = journal.request(delivery.id)?
    {
        value["request"] = as_came(&request);
    }
    ok(value)
}

/// A request as it is shown: no secrets, and a body that is no text as base64.
fn as_came(request: &Request) -> Value {
    let header = |(name, value, secret): (&http::HeaderName, &http::HeaderValue, bool)| {
        let value = match secret {
            true => "(secret)".into(),
            false => String::from_utf8_lossy(value.as_bytes()),
        };
        json!({ "name": name.as_str(), "value": value })
    };
    let headers: Vec<Value> = request.marked().map(header).collect();
    match std::str::from_utf8(&request.body) {
        Ok(body) => json!({ "headers": headers, "body": body }),
        Err(_) => json!({ "headers": headers, "bodyBase64": STANDARD.encode(&request.body) }),
    }
}

/// What is made again.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Wish {
    targets: Vec<String>,
    force: bool,
}

pub(super) async fn redeliver(
    State(admin): State<Arc<Admin>>,
    mut caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Said {
    let Wish { targets, force } = read(body).await?;
    let (journal, delivery) = find(&admin, &mut caller, Want::Do, &id).await?;
    journal.redeliver(delivery.id, Again { targets, force }).await?;
    accepted(json!({ "id": delivery.id.to_string(), "status": "accepted" }))
}

pub(super) async fn forget(
    State(admin): State<Arc<Admin>>,
    mut caller: Caller,
    Path(id): Path<String>,
) -> Said {
    let (journal, delivery) = find(&admin, &mut caller, Want::Do, &id).await?;
    journal.forget(delivery.id).await?;
    ok(json!({ "id": delivery.id.to_string(), "status": "deleted" }))
}

/// Which deliveries are made again. Without a state those that were given up.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Wishes {
    endpoint: Option<String>,
    state: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    repo: Option<String>,
    q: Option<String>,
    targets: Vec<String>,
    force: bool,
    dry_run: bool,
}

pub(super) async fn redeliver_all(
    State(admin): State<Arc<Admin>>,
    mut caller: Caller,
    body: Body,
) -> Said {
    let wishes: Wishes = read(body).await?;
    let Wishes { endpoint, state, since, until, repo, q, targets, force, dry_run } = wishes;
    let state = Some(state.unwrap_or_else(|| "dead".to_owned()));
    let which = if state.as_deref() == Some("dead") { Which::Dead } else { Which::Kept };
    let filter = Filter { endpoint, state, since, until, repo, q, limit: None, cursor: None };
    let mut looking = Walk {
        filter: &filter,
        caller: &mut caller,
        want: Want::Do,
        most: MAX_AGAIN,
        found: Vec::new(),
    };
    let more = walk(&admin, &mut looking, which).await?.is_some();
    let ids: Vec<Id> = looking.found.iter().map(Line::id).collect();
    let (mut made, mut skipped) = (Vec::new(), Vec::new());
    for id in ids {
        let again = Again { targets: targets.clone(), force };
        let outcome = match admin.journal() {
            _ if dry_run => Ok(()),
            Some(journal) => journal.redeliver(id, again).await,
            None => Err(RedeliverError::Unknown),
        };
        match outcome {
            Ok(()) => made.push(id.to_string()),
            Err(error @ RedeliverError::Unavailable(_)) => return Err(error.into()),
            Err(error) => {
                skipped.push(json!({ "id": id.to_string(), "reason": error.to_string() }))
            }
        }
    }
    let answer = json!({ "ids": made, "skipped": skipped, "dryRun": dry_run, "more": more });
    if dry_run { ok(answer) } else { accepted(answer) }
}

/// A body of JSON; none is an empty object.
pub(super) async fn read<T: DeserializeOwned + Default>(body: Body) -> Result<T, Problem> {
    const MOST: usize = 11 << 20;
    let body = axum::body::to_bytes(body, MOST).await;
    let body = body.map_err(|_| Problem::bad("the body is too long or broke off"))?;
    if body.is_empty() {
        return Ok(T::default());
    }
    let read = serde_json::from_slice(&body);
    read.map_err(|error| Problem::bad(format!("the body cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let mut own = http::HeaderValue::from_static("s3cret");
        own.set_sensitive(true);
        let mut headers = http::HeaderMap::new();
        headers.insert("x-mine", own);
        headers.insert("x-gitlab-token", http::HeaderValue::from_static("s3cret"));
        headers.insert("x-a", http::HeaderValue::from_static("shown"));
        let shown = as_came(&Request { headers, body: bytes::Bytes::new() }).to_string();
        assert!(!shown.contains("s3cret") && shown.contains("shown"), "{shown}");
    }
}
