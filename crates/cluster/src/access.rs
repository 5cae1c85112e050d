//! May this caller do that? Kubernetes' own question, asked before every request.

mod reviews;
mod tokens;

use prometheus_client::registry::Registry;
use web::{Error, Identity, Kind};

pub use self::{reviews::Reviews, tokens::TokenReviews};

/// What a request wants to do, in the words of a SubjectAccessReview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes<'a> {
    /// `get`, `list`, `create`, `update`, `delete`, …
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// Plural of the kind.
    pub resource: &'static str,
    /// Namespace; none means all of them, or a cluster-wide kind.
    pub namespace: Option<&'a str>,
    /// Name; none for lists.
    pub name: Option<&'a str>,
}

/// Who decides.
#[derive(Debug, Clone)]
pub enum Access {
    /// The owner of the machine may do everything, nobody else anything.
    Local,
    /// The cluster, by SubjectAccessReview.
    Reviewed(Reviews),
}

impl Access {
    /// Lets a registry show how often the cluster was asked.
    pub fn register(&self, registry: &mut Registry) {
        if let Self::Reviewed(reviews) = self {
            reviews.register(registry);
        }
    }

    /// Passes if the caller may do it.
    pub async fn check(
        &self,
        identity: &Identity,
        attributes: &Attributes<'_>,
    ) -> Result<(), Error> {
        let allowed = match self {
            Self::Local => identity.is_local(),
            Self::Reviewed(reviews) => reviews.allowed(identity, attributes).await?,
        };
        if allowed {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, "you are not authorized to access this resource")
            .with_context(format!("{} may not {attributes:?}", identity.user)))
    }
}

#[cfg(test)]
mod tests;
