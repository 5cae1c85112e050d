//! Who may see and do what.

use std::{collections::HashMap, sync::Arc};

use axum::extract::{FromRef, FromRequestParts};
use cluster::{Access, access::Attributes};
use http::request::Parts;
use web::{Error, Identity, Kind};

use super::{Admin, answer::Problem};

/// Who decides.
#[derive(Debug, Clone)]
pub enum Gate {
    /// Whoever gets here may do everything: the listener lets operators in only.
    Operators,
    /// The rights that callers have on `Hook` objects.
    Objects(Access),
}

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Want {
    /// To see.
    See,
    /// To do.
    Do,
}

/// The caller of one request, with what was found out about it.
pub(super) struct Caller {
    identity: Option<Identity>,
    admin: Arc<Admin>,
    known: HashMap<(String, Want), bool>,
}

impl Caller {
    /// Whether the caller may do that with the endpoint of this name.
    pub(super) async fn may(&mut self, want: Want, endpoint: &str) -> Result<bool, Problem> {
        let Gate::Objects(access) = &self.admin.gate else { return Ok(true) };
        let Some(identity) = &self.identity else {
            return Err(Error::new(Kind::Unauthenticated, "nobody is signed in").into());
        };
        let (namespace, name) = endpoint.split_once('/').unwrap_or((endpoint, ""));
        let key = (endpoint.to_owned(), want);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let attributes = Attributes {
            verb: match want {
                Want::See => "get",
                Want::Do => "update",
            },
            group: "quartermaster.io",
            version: "v1alpha1",
            resource: "hooks",
            namespace: Some(namespace),
            name: (!name.is_empty()).then_some(name),
        };
        let allowed = match access.check(identity, &attributes).await {
            Ok(()) => true,
            Err(error) if error.kind() == Kind::Forbidden => false,
            Err(error) => return Err(error.into()),
        };
        self.known.insert(key, allowed);
        Ok(allowed)
    }

    /// Forgets what was found out.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Lets nobody pass who may not. Who may not even see learns nothing.
    pub(super) async fn demand(&mut self, want: Want, endpoint: &str) -> Result<(), Problem> {
        if !self.may(Want::See, endpoint).await? {
            return Err(Problem::not_found("delivery or endpoint"));
        }
        if want == Want::Do && !self.may(Want::Do, endpoint).await? {
            let text = "you are not authorized to change this hook";
            return Err(Error::new(Kind::Forbidden, text).into());
        }
        Ok(())
    }
}

impl<S> FromRequestParts<S> for Caller
where
    Arc<Admin>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let identity = parts.extensions.get::<Identity>().cloned();
        Ok(Self { identity, admin: Arc::from_ref(state), known: HashMap::new() })
    }
}
