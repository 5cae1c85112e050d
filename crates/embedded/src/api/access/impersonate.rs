//! Acting as somebody else: the `Impersonate-*` headers.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;

use super::{
    Attributes, User,
    user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, account_groups, account_of},
};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// One thing that somebody wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    Account { namespace: String, name: String },
    User(String),
    Group(String),
    Extra { key: String, value: String },
    Uid(String),
}

/// All that a request wants to be.
#[derive(Debug)]
pub(super) struct Impersonation(Vec<Wish>);

impl Impersonation {
    /// Reads the headers; `None` if there are none, or the reason why they make no sense.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, String> {
        if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
            return Ok(None);
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let first = |name: &str| headers.get(name).map(text).filter(|value| !value.is_empty());
        let mut wishes = Vec::new();
        let user = first(USER);
        if let Some(user) = &user {
            wishes.push(match account_of(user) {
                Some((namespace, name)) => {
                    Wish::Account { namespace: namespace.into(), name: name.into() }
                }
                None => Wish::User(user.clone()),
            });
        }
        wishes.extend(headers.get_all(GROUP).iter().map(|group| Wish::Group(text(group))));
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix(EXTRA) {
                wishes.push(Wish::Extra { key: unescape(key), value: text(value) });
            }
        }
        wishes.extend(first(UID).map(Wish::Uid));
        match (wishes.is_empty(), user) {
            (true, _) => Ok(None),
            (false, Some(_)) => Ok(Some(Self(wishes))),
            (false, None) => {
                let shown: Vec<String> = wishes.iter().map(Wish::shown).collect();
                Err(format!("requested [{}] without impersonating a user", shown.join(" ")))
            }
        }
    }

    /// What must be allowed, one after the other.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Attributes> {
        self.0.iter().map(Wish::attributes)
    }

    /// Who the request is by then.
    pub(super) fn user(self) -> User {
        let mut user = User::default();
        let specified = self.0.iter().any(|wish| matches!(wish, Wish::Group(_)));
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for wish in self.0 {
            match wish {
                Wish::Account { namespace, name } => {
                    user.name = User::service_account(&namespace, &name, "").name;
                    if !specified {
                        user.groups = account_groups(&namespace).into();
                    }
                }
                Wish::User(name) => user.name = name,
                Wish::Group(name) => user.groups.push(name),
                Wish::Extra { key, value } => extra.entry(key).or_default().push(value),
                Wish::Uid(uid) => user.uid = uid,
            }
        }
        let has = |name: &str| user.groups.iter().any(|group| group == name);
        if user.name == ANONYMOUS {
            if !has(UNAUTHENTICATED) {
                user.groups.push(UNAUTHENTICATED.into());
            }
        } else if !has(AUTHENTICATED) && !has(UNAUTHENTICATED) {
            user.groups.push(AUTHENTICATED.into());
        }
        User { extra, ..user }
    }
}

impl Wish {
    fn attributes(&self) -> Attributes {
        let on = |group: &str, resource: &str, name: &str| Attributes {
            verb: "impersonate".into(),
            group: group.into(),
            resource: resource.into(),
            name: name.into(),
            ..Attributes::default()
        };
        const AUTHENTICATION: &str = "authentication.k8s.io";
        match self {
            Self::Account { namespace, name } => {
                Attributes { namespace: namespace.clone(), ..on("", "serviceaccounts", name) }
            }
            Self::User(name) => on("", "users", name),
            Self::Group(name) => on("", "groups", name),
            Self::Extra { key, value } => {
                Attributes { subresource: key.clone(), ..on(AUTHENTICATION, "userextras", value) }
            }
            Self::Uid(uid) => on(AUTHENTICATION, "uids", uid),
        }
    }

    /// As the API server shows it: kind, namespace, name, uid, API version, revision, field.
    fn shown(&self) -> String {
        const VERSION: &str = "authentication.k8s.io/v1";
        let fields = match self {
            Self::Account { namespace, name } => {
                ["ServiceAccount", namespace, name, "", "", "", ""]
            }
            Self::User(name) => ["User", "", name, "", "", "", ""],
            Self::Group(name) => ["Group", "", name, "", "", "", ""],
            Self::Extra { key, value } => ["UserExtra", "", value, "", VERSION, "", key],
            Self::Uid(uid) => ["UID", "", uid, "", VERSION, "", ""],
        };
        format!("{{{}}}", fields.join(" "))
    }
}

/// Keys of extras may be percent-encoded; what is not well formed is taken as it is.
fn unescape(key: &str) -> String {
    percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut map, (name, value): (http::HeaderName, _)| {
                map.append(name, value);
                map
            })
    }

    fn becomes(pairs: &[(&'static str, &'static str)]) -> User {
        Impersonation::read(&headers(pairs)).unwrap().unwrap().user()
    }

    #[test]
    fn groups_follow_the_kind_of_user() {
        assert_eq!(becomes(&[(USER, "x")]).groups, ["system:authenticated"]);
        assert_eq!(becomes(&[(USER, "x"), (GROUP, "g")]).groups, ["g", "system:authenticated"]);
        let anonymous = becomes(&[(USER, ANONYMOUS)]);
        assert_eq!(anonymous, User::anonymous());
        let account = becomes(&[(USER, "system:serviceaccount:n:a")]);
        assert_eq!(account, User::service_account("n", "a", ""));
        let account = becomes(&[(USER, "system:serviceaccount:n:a"), (GROUP, "g")]);
        assert_eq!(account.groups, ["g", "system:authenticated"]);
    }

    #[test]
    fn extras_are_lists_with_decoded_keys() {
        let user = becomes(&[
            (USER, "x"),
            ("impersonate-extra-a%2fb", "1"),
            ("impersonate-extra-a%2fb", "2"),
            (UID, "u"),
        ]);
        assert_eq!(user.uid, "u");
        assert_eq!(user.extra["a/b"], ["1", "2"]);
    }

    #[test]
    fn nobody_is_only_a_group() {
        let problem = Impersonation::read(&headers(&[(GROUP, "g")])).unwrap_err();
        assert_eq!(problem, "requested [{Group  g    }] without impersonating a user");
        assert!(Impersonation::read(&headers(&[("accept", "x")])).unwrap().is_none());
    }
}
