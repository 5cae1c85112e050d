//! Where webhooks come in: paths, and what belongs to each.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    decide::{auth::Auth, filter::Filter, replay::Replay},
    journal::Journal,
    limits::{Bucket, Network},
    meters::{EndpointMeter, Meters},
    model::Keys,
    sources::Source,
    targets::{Target, Wants},
};

/// One configured endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in logs and metrics; never its path, which is a secret.
    pub name: String,
    /// Who sends.
    pub source: Box<dyn Source>,
    /// The secrets shared with the sender.
    pub keys: Keys,
    /// What it asks for beside what its source does.
    pub auth: Option<Auth>,
    /// Which events are told.
    pub filter: Filter,
    /// Who is told.
    pub targets: Vec<Arc<dyn Target>>,
    /// Who is told of notifications that are given up, beside them.
    pub dead_letter: Option<String>,
    /// Its own limit for bodies.
    pub body_bytes: Option<usize>,
    /// How often it may be called.
    pub rate: Bucket,
    /// What is kept of its requests.
    pub keep: Keep,
    /// How long all notifications of one request together may take while the sender waits.
    pub inline_time: Duration,
    /// Who may call at all, by address; everybody if there are none.
    pub allow: Vec<Network>,
    /// Whether it works.
    pub pause: Pause,
}

/// Whether an endpoint works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pause {
    /// It does.
    #[default]
    No,
    /// Senders are told to come again later.
    Refuse,
    /// Senders are answered once the event is kept, and no target is told before the pause ends.
    Buffer,
}

impl Endpoint {
    /// Whether a header holds a secret of this endpoint, beside those that always do.
    pub(crate) fn is_secret(&self, header: &str) -> bool {
        let own = matches!(&self.auth, Some(Auth::Header { name, .. }) if name == header);
        own || self.source.secret_header() == Some(header)
    }

    /// What its targets need of requests.
    pub(crate) fn wants(&self) -> Wants {
        self.targets.iter().map(|target| target.wants()).max().unwrap_or_default()
    }
}

/// What the journal gets of an endpoint's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: an error is the sender's to repeat.
    Nothing,
    /// Notifications that failed, because the sender is told that all went well.
    Failures,
    /// Everything, before any target is told.
    Everything {
        /// Whether the sender is answered then; otherwise after the targets were told once.
        first: bool,
        /// What repeats mean.
        replay: Replay,
    },
}

/// One path of an endpoint.
#[derive(Debug, Clone)]
pub struct Route {
    endpoint: Arc<Endpoint>,
    meter: Arc<EndpointMeter>,
    not_after: Option<i64>,
}

impl Route {
    /// What is there.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Where its requests are counted.
    pub fn meter(&self) -> &EndpointMeter {
        &self.meter
    }
}

/// All paths.
#[derive(Debug, Default)]
pub struct Table {
    /// Where their requests are kept, if any of them keeps something.
    pub journal: Option<Journal>,
    routes: HashMap<String, Route>,
}

impl Table {
    /// Adds a path that is found until the given Unix second. If it is taken, says by whom.
    pub fn add(
        &mut self,
        path: String,
        endpoint: &Arc<Endpoint>,
        not_after: Option<i64>,
    ) -> Result<(), String> {
        if let Some(taken) = self.routes.get(&path) {
            return Err(taken.endpoint.name.clone());
        }
        let meter = Arc::default();
        self.routes.insert(path, Route { endpoint: Arc::clone(endpoint), meter, not_after });
        Ok(())
    }

    /// Counts requests there.
    pub(super) fn measure(&mut self, meters: &Meters) {
        for route in self.routes.values_mut() {
            route.meter = meters.endpoint(&route.endpoint.name);
        }
    }

    /// Whose a path is.
    pub fn taken(&self, path: &str) -> Option<&str> {
        self.routes.get(path).map(|route| &*route.endpoint.name)
    }

    /// All endpoints with their paths, by name.
    pub fn endpoints(&self) -> Vec<(Arc<Endpoint>, Vec<String>)> {
        let mut found = BTreeMap::<&str, (Arc<Endpoint>, Vec<String>)>::new();
        for (path, route) in &self.routes {
            let entry = found
                .entry(&route.endpoint.name)
                .or_insert_with(|| (Arc::clone(&route.endpoint), Vec::new()));
            entry.1.push(path.clone());
        }
        let mut list: Vec<_> = found.into_values().collect();
        list.iter_mut().for_each(|(_, paths)| paths.sort());
        list
    }

    /// The endpoint of this name.
    pub fn named(&self, name: &str) -> Option<Route> {
        self.routes.values().find(|route| route.endpoint.name == name).cloned()
    }

    /// Whether any endpoint needs the journal.
    pub fn keeps(&self) -> bool {
        self.routes.values().any(|route| route.endpoint.keep != Keep::Nothing)
    }

    /// What a path leads to.
    pub fn find(&self, path: &str, now: i64) -> Option<Route> {
        let route = self.routes.get(path)?;
        let over = route.not_after.is_some_and(|end| now > end);
        (!over).then(|| route.clone())
    }
}
