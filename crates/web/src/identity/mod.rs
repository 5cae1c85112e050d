//! Who is calling (DESIGN §7).
//!
//! [`Door`] is the layer that puts an [`Identity`] on every request of a listener; an
//! [`Authenticate`] tells it who. [`ProxyHeaders`] believes an authenticating proxy; tokens are the
//! business of `cluster`. The `local` mode has a guard of its own, [`crate::local::Guard`].

mod door;
mod headers;

use std::future::Future;

use http::request::Parts;

pub use door::Door;
pub use headers::{HeaderSettings, ProxyHeaders, Trusted};

use crate::Error;

/// The caller of a request, put into the request's extensions by the listener's identity layer.
/// Handlers that find none answer 401.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// User name as Kubernetes knows it.
    pub user: String,
    /// Groups as Kubernetes knows them.
    pub groups: Vec<String>,
}

impl Identity {
    /// The name of the one user of a machine in `local` mode.
    pub const LOCAL_USER: &'static str = "local";
    const LOCAL_GROUP: &'static str = "system:masters";

    /// Whoever holds the token of a data directory: the owner of that machine's cluster.
    pub fn local() -> Self {
        Self { user: Self::LOCAL_USER.to_owned(), groups: vec![Self::LOCAL_GROUP.to_owned()] }
    }

    /// Whether it is that owner.
    pub fn is_local(&self) -> bool {
        self.user == Self::LOCAL_USER && self.groups == [Self::LOCAL_GROUP]
    }
}

/// Tells who sends a request.
pub trait Authenticate: Send + Sync + 'static {
    /// Reads the credential and takes it off the request, whatever it is worth: nothing behind this
    /// may see it.
    fn authenticate(
        &self,
        parts: &mut Parts,
    ) -> impl Future<Output = Result<Identity, Error>> + Send;
}

/// Takes everybody for the owner of the machine: authentication is off.
#[derive(Debug, Clone, Copy)]
pub struct Anybody;

impl Authenticate for Anybody {
    async fn authenticate(&self, _: &mut Parts) -> Result<Identity, Error> {
        Ok(Identity::local())
    }
}

impl<A: Authenticate> Authenticate for std::sync::Arc<A> {
    fn authenticate(
        &self,
        parts: &mut Parts,
    ) -> impl Future<Output = Result<Identity, Error>> + Send {
        A::authenticate(self, parts)
    }
}
