//! The `header` mode: an authenticating proxy in front says who calls, in two headers.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, HeaderName, request::Parts};
use ipnet::IpNet;

use super::{Authenticate, Identity};
use crate::{Error, Kind, listener::Peer};

/// Networks whose connections are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted(Vec<IpNet>);

impl Trusted {
    /// Reads networks such as `10.0.0.0/8`, or single addresses.
    pub fn parse<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let parse = |text: &str| {
            let network = text.parse::<IpNet>();
            network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
                format!("`{text}` is no network: expected one such as 10.0.0.0/8 or fd00::/8")
            })
        };
        networks.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Every connection: only where nothing but the proxy can reach the listener.
    pub fn everybody() -> Self {
        Self::parse(["0.0.0.0/0", "::/0"]).unwrap_or(Self(Vec::new()))
    }

    /// Whether a connection from there is believed. An IPv4 address means the same as its form in
    /// IPv6, which is how dual-stack listeners see it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Default for Trusted {
    /// This machine, or this pod: a proxy beside us.
    fn default() -> Self {
        Self::parse(["127.0.0.0/8", "::1/128"]).unwrap_or(Self(Vec::new()))
    }
}

/// How the proxy says who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderSettings {
    /// Header with the user.
    pub user: HeaderName,
    /// Header with one group per occurrence.
    pub groups: HeaderName,
    /// What is taken off the start of the user, once.
    pub user_prefix: String,
    /// What separates groups within one occurrence; nothing does unless it is set.
    pub groups_separator: Option<char>,
    /// Who is believed.
    pub trusted: Trusted,
}

impl Default for HeaderSettings {
    fn default() -> Self {
        Self {
            user: HeaderName::from_static("kubeflow-userid"),
            groups: HeaderName::from_static("kubeflow-groups"),
            user_prefix: ":".to_owned(),
            groups_separator: None,
            trusted: Trusted::default(),
        }
    }
}

/// Believes what trusted peers say about the caller.
#[derive(Debug)]
pub struct ProxyHeaders {
    settings: HeaderSettings,
    /// Whether the log was told about an untrusted peer: once is enough to find the setting.
    told: AtomicBool,
}

impl ProxyHeaders {
    /// Reads these headers from these peers.
    pub fn new(settings: HeaderSettings) -> Self {
        Self { settings, told: AtomicBool::new(false) }
    }

    fn read(&self, headers: &mut HeaderMap, peer: Option<IpAddr>) -> Result<Identity, Error> {
        let HeaderSettings { user, groups, user_prefix, groups_separator, trusted } =
            &self.settings;
        let users = take(headers, user);
        let groups = take(headers, groups);
        if !peer.is_some_and(|peer| trusted.contains(peer)) {
            if !users.is_empty() && !self.told.swap(true, Ordering::Relaxed) {
                let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
                tracing::warn!(
                    peer,
                    "identity headers of a peer that is not trusted were dropped (told once): if \
                     it is your authenticating proxy, add it to auth.header.trustedPeers"
                );
            }
            return Err(nobody("the peer is not trusted to say who calls"));
        }
        let user = users.into_iter().find(|value| !value.is_empty());
        let user = user.ok_or_else(|| nobody("the proxy does not say who calls"))?;
        let user = String::from_utf8(user).map_err(|_| nobody("the user is not UTF-8"))?;
        let user = user.strip_prefix(user_prefix.as_str()).unwrap_or(&user);
        if user.is_empty() {
            return Err(nobody("the user is empty without its prefix"));
        }
        let groups = groups.into_iter().filter_map(|group| String::from_utf8(group).ok());
        let groups = match groups_separator {
            None => groups.filter(|group| !group.is_empty()).collect(),
            Some(separator) => {
                let split = |group: String| -> Vec<String> {
                    let parts = group.split(*separator).map(str::trim);
                    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
                };
                groups.flat_map(split).collect()
            }
        };
        Ok(Identity { user: user.to_owned(), groups })
    }
}

impl Authenticate for ProxyHeaders {
    async fn authenticate(&self, parts: &mut Parts) -> Result<Identity, Error> {
        let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.ip());
        self.read(&mut parts.headers, peer)
    }
}

/// All values of a header, which the request loses.
fn take(headers: &mut HeaderMap, name: &HeaderName) -> Vec<Vec<u8>> {
    let values = headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
    headers.remove(name);
    values
}

fn nobody(reason: &str) -> Error {
    Error::new(Kind::Unauthenticated, "nobody is signed in").with_context(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PROXY: &str = "127.0.0.6";

    fn read(settings: HeaderSettings, peer: &str, headers: &[(&str, &str)]) -> Option<Identity> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = ProxyHeaders::new(settings).read(&mut map, peer.parse().ok());
        assert!(map.is_empty(), "nothing behind may see them: {map:?}");
        found.inspect_err(|error| assert_eq!(error.kind(), Kind::Unauthenticated)).ok()
    }

    #[rstest]
    #[case::plain(&[("kubeflow-userid", "ada@example.org")], Some("ada@example.org"))]
    #[case::prefix_once(&[("kubeflow-userid", "::ada")], Some(":ada"))]
    #[case::only_the_prefix(&[("kubeflow-userid", ":")], None)]
    #[case::empty(&[("kubeflow-userid", "")], None)]
    #[case::first_that_is_not_empty(
        &[("kubeflow-userid", ""), ("kubeflow-userid", "ada"), ("kubeflow-userid", "eve")],
        Some("ada")
    )]
    #[case::beyond_ascii(&[("kubeflow-userid", "ådå")], Some("ådå"))]
    #[case::missing(&[], None)]
    #[case::only_groups(&[("kubeflow-groups", "staff")], None)]
    fn the_user_is_the_first_value_without_its_prefix(
        #[case] headers: &[(&str, &str)],
        #[case] user: Option<&str>,
    ) {
        let found = read(HeaderSettings::default(), PROXY, headers);
        assert_eq!(found.map(|found| found.user).as_deref(), user);
    }

    #[test]
    fn groups_are_occurrences_and_split_only_when_asked_to() {
        let headers = [
            ("kubeflow-userid", "ada"),
            ("kubeflow-groups", "a,b"),
            ("kubeflow-groups", ""),
            ("kubeflow-groups", "c"),
        ];
        let found = read(HeaderSettings::default(), PROXY, &headers).unwrap();
        assert_eq!(found.groups, ["a,b", "c"]);
        let settings = HeaderSettings { groups_separator: Some(','), ..HeaderSettings::default() };
        assert_eq!(read(settings, PROXY, &headers).unwrap().groups, ["a", "b", "c"]);
    }

    #[rstest]
    #[case("127.0.0.1", true)]
    #[case("::1", true)]
    #[case("::ffff:127.0.0.1", true)]
    #[case("10.0.0.1", false)]
    #[case("::ffff:10.0.0.1", false)]
    #[case("", false)]
    fn only_trusted_peers_are_believed(#[case] peer: &str, #[case] believed: bool) {
        let found = read(HeaderSettings::default(), peer, &[("kubeflow-userid", "ada")]);
        assert_eq!(found.is_some(), believed);
    }

    #[test]
    fn networks_and_addresses_are_read() {
        let trusted = Trusted::parse(["10.1.0.0/16", "192.0.2.7", "fd00::/8"]).unwrap();
        for (address, want) in [
            ("10.1.2.3", true),
            ("10.2.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd12::1", true),
            ("::ffff:10.1.0.9", true),
        ] {
            assert_eq!(trusted.contains(address.parse().unwrap()), want, "{address}");
        }
        let error = Trusted::parse(["10.0.0.0/40"]).unwrap_err();
        assert!(error.contains("10.0.0.0/40") && error.contains("10.0.0.0/8"), "{error}");
    }
}
