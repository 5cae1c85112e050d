//! Who sends a request.

use std::{collections::BTreeMap, sync::Arc};

use http::request::Parts;

/// The group whose members may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The group of everybody who is known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody who is not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of whom nobody knows.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// How the user names of service accounts begin.
const ACCOUNT: &str = "system:serviceaccount:";

/// Who sends a request, as Kubernetes knows users.
///
/// Put it into the extensions of a request to [`ApiService`](crate::ApiService), after checking who
/// it is. A request without one comes from the machine itself, which may do everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// What tells it from another user of the same name; may be empty.
    pub uid: String,
    /// All groups, also `system:authenticated`.
    pub groups: Vec<String>,
    /// What else the authenticator said.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user who is known, by name and groups; `system:authenticated` is added.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        groups.push(AUTHENTICATED.into());
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// The administrator of the cluster, who is also who works inside it.
    pub fn administrator() -> Self {
        Self::new("kubernetes-admin", [MASTERS])
    }

    /// Who said nothing about itself.
    pub fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self { name: ANONYMOUS.into(), groups, ..Self::default() }
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let name = format!("{ACCOUNT}{namespace}:{name}");
        Self { uid: uid.into(), ..Self::new(name, account_groups(namespace)) }
    }

    /// Whether every request is allowed.
    pub fn is_superuser(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// The groups of all service accounts of a namespace.
pub(super) fn account_groups(namespace: &str) -> [String; 2] {
    ["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

/// Namespace and name of a service account, from the name of its user.
pub(super) fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT)?.split_once(':')?;
    let sound = crate::schema::names::label(namespace).is_empty()
        && crate::schema::names::subdomain(name).is_empty();
    sound.then_some((namespace, name))
}

/// Who is behind a request: a user, or the machine itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller(Option<Arc<User>>);

impl Caller {
    /// The caller of a request that was let through.
    pub(crate) fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    pub(super) fn new(user: User) -> Self {
        Self(Some(Arc::new(user)))
    }

    /// The user; the machine acts as the administrator.
    pub(crate) fn user(&self) -> Arc<User> {
        self.0.clone().unwrap_or_else(|| Arc::new(User::administrator()))
    }

    /// Whether nothing needs to be asked.
    pub(crate) fn is_superuser(&self) -> bool {
        self.0.as_ref().is_none_or(|user| user.is_superuser())
    }
}
