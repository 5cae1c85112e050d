//! Who is calling (DESIGN §7).

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

    /// Whoever holds the token of a data directory: the owner of that machine's cluster.
    pub fn local() -> Self {
        Self { user: Self::LOCAL_USER.to_owned(), groups: vec!["system:masters".to_owned()] }
    }
}
