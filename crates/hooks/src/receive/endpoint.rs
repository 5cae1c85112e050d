//! Where webhooks come in: paths, and what belongs to each.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{limits::Bucket, model::Keys, sources::Source, targets::Target};

/// One configured endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name in logs and metrics; never its path, which is a secret.
    pub name: String,
    /// Who sends.
    pub source: Box<dyn Source>,
    /// The secrets shared with the sender.
    pub keys: Keys,
    /// Who is told.
    pub targets: Vec<Arc<dyn Target>>,
    /// Its own limit for bodies.
    pub body_bytes: Option<usize>,
    /// How often it may be called.
    pub rate: Bucket,
    /// How long all notifications of one request together may take while the sender waits.
    pub inline_time: Duration,
}

/// One path of an endpoint.
#[derive(Debug, Clone)]
pub struct Route {
    endpoint: Arc<Endpoint>,
    not_after: Option<i64>,
}

/// All paths.
#[derive(Debug, Default)]
pub struct Table {
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
        self.routes.insert(path, Route { endpoint: Arc::clone(endpoint), not_after });
        Ok(())
    }

    /// The endpoint of a path.
    pub fn find(&self, path: &str, now: i64) -> Option<Arc<Endpoint>> {
        let route = self.routes.get(path)?;
        let over = route.not_after.is_some_and(|end| now > end);
        (!over).then(|| Arc::clone(&route.endpoint))
    }
}
