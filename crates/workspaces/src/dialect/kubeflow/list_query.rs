//! What a list of workspaces is asked for: shape, filters, order, pages.
//!
//! All of it is optional and beyond the contract; without it, lists are what they always were.

use std::{cmp::Ordering, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use cluster::Key;
use http::HeaderMap;
use kube::core::{Selector, SelectorExt};
use serde::{Deserialize, Serialize, de::IntoDeserializer};
use web::Cause;

use super::{
    conditions::{accepts_events, has_version},
    error::Problem,
    extract::Query,
    list_cache::{List, ListCache},
    lists::Shape,
    profile::Profile,
};
use crate::{
    decide::{
        names::{NOT_SUPPORTED, invalid},
        selector,
    },
    model::{Workspace, WorkspaceState, annotation},
};

/// The longest page.
const LONGEST_PAGE: usize = 500;

/// What a list of workspaces is asked for.
#[derive(Debug)]
pub(crate) struct ListQuery {
    pub(crate) shape: Shape,
    pub(crate) filter: Filter,
    /// Whether changes are wanted as they happen.
    pub(crate) watch: bool,
    sort: Option<Sort>,
    page: Option<Page>,
}

/// Which workspaces are wanted: those that all of it is true of.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    kind: Option<String>,
    image: Option<String>,
    pod: Option<String>,
    states: Option<Vec<WorkspaceState>>,
    owner: Option<String>,
    name_contains: Option<String>,
    labels: Option<Selector>,
}

/// An order other than by namespace and name.
#[derive(Debug, Clone, Copy)]
struct Sort {
    by: SortKey,
    descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SortKey {
    Name,
    Kind,
    State,
    Created,
    LastActivity,
    LastRunning,
    Paused,
}

#[derive(Debug)]
struct Page {
    size: usize,
    after: Option<Mark>,
}

/// Where a page ends: what a token holds. Items that come or go in between shift nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    rank: Rank,
    namespace: String,
    name: String,
}

/// What an item is ordered by before its namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Rank {
    Number(i64),
    Text(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    next_page_token: Option<String>,
    total: usize,
}

impl ListQuery {
    /// Reads a query string; all that is wrong is said at once.
    pub(crate) fn read(
        query: &Query,
        headers: &HeaderMap,
        profile: Profile,
    ) -> Result<Self, Problem> {
        let mut causes = Vec::new();
        let full = match query.get("view") {
            None => false,
            Some("full") => true,
            Some(other) => {
                causes.push(unsupported("view", other, &["full"]));
                false
            }
        };
        let shape = if full && !profile.is_old() { Shape::Full } else { profile.shape() };
        let watch = query.flag("watch", &mut causes) && accepts_events(headers);
        let filter = Filter::read(query, &mut causes);
        let sort = query.get("sortBy").and_then(|text| Sort::read(text, &mut causes));
        let page = Page::read(query, &mut causes);
        if !causes.is_empty() {
            return Err(Problem::query(causes));
        }
        Ok(Self { shape, filter, watch, sort, page })
    }

    /// Whether every item is wanted in the usual order.
    pub(crate) fn is_plain(&self) -> bool {
        self.sort.is_none() && self.page.is_none() && self.filter.is_empty()
    }

    /// Picks from the kept items. A client that has this version is spared the work.
    pub(crate) fn pick(
        &self,
        kept: &ListCache<Arc<Workspace>>,
        scope: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<List, Problem> {
        let tag = kept.any_change();
        if has_version(headers, &tag) {
            return Ok(List::of(tag, [], None));
        }
        let mut found: Vec<(Rank, Key, Bytes)> = Vec::new();
        kept.each(scope, |key, workspace, bytes| {
            if self.filter.matches(workspace) {
                found.push((self.rank(workspace), key.clone(), bytes));
            }
        });
        if self.sort.is_some() {
            found.sort_unstable_by(|one, two| self.compare((&one.0, &one.1), (&two.0, &two.1)));
        }
        let Some(page) = &self.page else {
            return Ok(List::of(tag, found.into_iter().map(|(_, _, bytes)| bytes), None));
        };
        let first = page.after.as_ref().map_or(0, |mark| {
            let key = Key::new(Some(&mark.namespace), &mark.name);
            found.partition_point(|(rank, own, _)| {
                self.compare((rank, own), (&mark.rank, &key)) != Ordering::Greater
            })
        });
        let total = found.len();
        let shown = &found[first..total.min(first + page.size)];
        let more = first + shown.len() < total;
        let next_page_token = shown.last().filter(|_| more).map(token).transpose()?;
        let metadata = Metadata { next_page_token, total };
        let metadata = serde_json::to_string(&metadata).map_err(web::Error::internal)?;
        Ok(List::of(tag, shown.iter().map(|(_, _, bytes)| bytes.clone()), Some(&metadata)))
    }

    fn rank(&self, workspace: &Workspace) -> Rank {
        self.sort.map_or(Rank::Number(0), |sort| sort.by.rank(workspace))
    }

    fn compare(&self, one: (&Rank, &Key), two: (&Rank, &Key)) -> Ordering {
        let by_rank = one.0.cmp(two.0);
        let descending = self.sort.is_some_and(|sort| sort.descending);
        let by_rank = if descending { by_rank.reverse() } else { by_rank };
        by_rank.then_with(|| one.1.cmp(two.1))
    }
}

fn unsupported(field: &str, value: &str, supported: &[&str]) -> Cause {
    let supported: Vec<_> = supported.iter().map(|value| format!("{value:?}")).collect();
    let supported = supported.join(", ");
    let message = format!("Unsupported value: {value:?}: supported values: {supported}");
    Cause::internal(NOT_SUPPORTED, field, message)
}

fn token((rank, key, _): &(Rank, Key, Bytes)) -> Result<String, Problem> {
    let mark = Mark {
        rank: rank.clone(),
        namespace: key.namespace().unwrap_or_default().to_owned(),
        name: key.name().to_owned(),
    };
    let json = serde_json::to_vec(&mark).map_err(web::Error::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

impl Filter {
    fn read(query: &Query, causes: &mut Vec<Cause>) -> Self {
        let text = |name: &str| query.get(name).map(str::to_owned);
        let labels = query.get("labelSelector").and_then(|text| match selector::parse(text) {
            Ok(selector) => Some(selector),
            Err(why) => {
                causes.push(invalid("labelSelector", text, &why));
                None
            }
        });
        Self {
            kind: text("workspaceKind"),
            image: text("imageConfig"),
            pod: text("podConfig"),
            states: query.get("state").map(|text| states(text, causes)),
            owner: text("owner"),
            name_contains: query.get("nameContains").map(str::to_lowercase),
            labels,
        }
    }

    fn is_empty(&self) -> bool {
        let Self { kind, image, pod, states, owner, name_contains, labels } = self;
        let texts = [kind, image, pod, owner, name_contains];
        texts.iter().all(|text| text.is_none()) && states.is_none() && labels.is_none()
    }

    /// Whether a workspace is wanted.
    pub(crate) fn matches(&self, workspace: &Workspace) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        let metadata = &workspace.metadata;
        let spec = &workspace.spec;
        let options = &spec.pod_template.options;
        let owner = metadata.annotations.as_ref().and_then(|all| all.get(annotation::CREATED_BY));
        let named = |part: &String| {
            let names = [metadata.name.as_deref(), spec.display_name.as_deref()];
            names.into_iter().flatten().any(|name| name.to_lowercase().contains(part.as_str()))
        };
        is(&self.kind, &spec.kind)
            && is(&self.image, &options.image_config)
            && is(&self.pod, &options.pod_config)
            && is(&self.owner, owner.map_or("", String::as_str))
            && self.states.as_ref().is_none_or(|states| states.contains(&state(workspace)))
            && self.name_contains.as_ref().is_none_or(named)
            && self.labels.as_ref().is_none_or(|selector| match &metadata.labels {
                Some(labels) => selector.matches(labels),
                None => selector.matches(&Default::default()),
            })
    }
}

fn state(workspace: &Workspace) -> WorkspaceState {
    workspace.status.as_ref().map(|status| status.state).unwrap_or_default()
}

/// One state or several with commas between them.
fn states(text: &str, causes: &mut Vec<Cause>) -> Vec<WorkspaceState> {
    let read = |text: &str| {
        let name = IntoDeserializer::<serde::de::value::Error>::into_deserializer(text);
        WorkspaceState::deserialize(name).ok()
    };
    let mut states = Vec::new();
    for word in text.split(',').map(str::trim) {
        match read(word) {
            Some(state) if states.contains(&state) => {}
            Some(state) => states.push(state),
            None => {
                let all = ["Running", "Terminating", "Paused", "Pending", "Error", "Unknown"];
                causes.push(unsupported("state", word, &all));
                break;
            }
        }
    }
    states
}

impl Sort {
    const KEYS: [(&'static str, SortKey); 7] = [
        ("name", SortKey::Name),
        ("workspaceKind", SortKey::Kind),
        ("state", SortKey::State),
        ("createdAt", SortKey::Created),
        ("lastActivity", SortKey::LastActivity),
        ("lastRunningTime", SortKey::LastRunning),
        ("pausedTime", SortKey::Paused),
    ];

    /// A minus before the key turns the order round.
    fn read(text: &str, causes: &mut Vec<Cause>) -> Option<Self> {
        let (key, descending) = match text.strip_prefix('-') {
            Some(key) => (key, true),
            None => (text, false),
        };
        let known = Self::KEYS.iter().find(|(name, _)| *name == key);
        if known.is_none() {
            causes.push(unsupported("sortBy", text, &Self::KEYS.map(|(name, _)| name)));
        }
        known.map(|(_, by)| Self { by: *by, descending })
    }
}

impl SortKey {
    fn rank(self, workspace: &Workspace) -> Rank {
        let metadata = &workspace.metadata;
        let status = workspace.status.as_ref();
        let created =
            || metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
        match self {
            Self::Name => Rank::Text(metadata.name.clone().unwrap_or_default()),
            Self::Kind => Rank::Text(workspace.spec.kind.clone()),
            Self::State => Rank::Text(state(workspace).to_string()),
            Self::Created => Rank::Number(created()),
            Self::LastActivity => {
                Rank::Number(status.map_or(0, |status| status.activity.last_activity))
            }
            Self::LastRunning => Rank::Number(status.map_or(0, |status| status.last_running_time)),
            Self::Paused => Rank::Number(status.map_or(0, |status| status.pause_time)),
        }
    }
}

impl Page {
    fn read(query: &Query, causes: &mut Vec<Cause>) -> Option<Self> {
        let size = |text: &str| text.parse().ok().filter(|n| (1..=LONGEST_PAGE).contains(n));
        let rule = format!("must be an integer from 1 to {LONGEST_PAGE}");
        let size = query.parse("pageSize", &rule, size, causes);
        let mark = |text: &str| {
            let json = URL_SAFE_NO_PAD.decode(text).ok()?;
            serde_json::from_slice(&json).ok()
        };
        let rule = "must be the nextPageToken of an earlier page";
        let after = query.parse("nextPageToken", rule, mark, causes);
        let wanted = size.is_some() || after.is_some();
        wanted.then(|| Self { size: size.unwrap_or(LONGEST_PAGE), after })
    }
}
