//! The editable view of a workspace as kept bytes, for clients that ask for the same ones again.

use std::{collections::HashMap, sync::Arc};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::RwLock;
use serde::Serialize;
use web::Error;

use super::{
    conditions::has_version,
    envelope::{Data, raw_json},
    error::Problem,
    wire::workspace::WorkspaceUpdate,
};
use crate::model::Workspace;

/// How many views are kept; the next one makes room by forgetting them all.
const MOST: usize = 1024;

/// An answer with its revision as entity tag.
#[derive(Debug, Clone)]
pub(crate) struct View {
    tag: HeaderValue,
    body: Bytes,
}

impl View {
    pub(crate) fn new<T: Serialize>(revision: &str, data: &T) -> Result<Self, Problem> {
        let tag = HeaderValue::try_from(format!("\"{revision}\"")).map_err(Error::internal)?;
        let body = serde_json::to_vec(&Data { data }).map_err(Error::internal)?;
        Ok(Self { tag, body: body.into() })
    }

    /// The answer with its body, whatever the client has.
    pub(crate) fn whole(self) -> Response {
        self.respond(&HeaderMap::new())
    }

    /// The answer; without a body if the client has this version.
    pub(crate) fn respond(self, headers: &HeaderMap) -> Response {
        let known = headers.contains_key(header::IF_NONE_MATCH)
            && has_version(headers, self.tag.to_str().unwrap_or_default());
        let mut response = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => raw_json(StatusCode::OK, self.body),
        };
        response.headers_mut().insert(header::ETAG, self.tag);
        response
    }
}

/// The views that were asked for lately.
///
/// A view belongs to one cached object, not to a name: the cache puts a new object in the place of
/// a changed one. Each view holds its object, so no address can come to mean another.
#[derive(Debug, Default)]
pub(crate) struct Views(RwLock<HashMap<usize, (Arc<Workspace>, View)>>);

impl Views {
    /// The view of an object of the cache.
    pub(crate) fn of(&self, workspace: Arc<Workspace>) -> Result<View, Problem> {
        let address = Arc::as_ptr(&workspace).addr();
        if let Some((_, view)) = self.0.read().get(&address) {
            return Ok(view.clone());
        }
        let update = WorkspaceUpdate::from(&*workspace);
        let view = View::new(update.revision(), &update)?;
        let mut views = self.0.write();
        if views.len() >= MOST {
            views.clear();
        }
        views.insert(address, (workspace, view.clone()));
        Ok(view)
    }
}
