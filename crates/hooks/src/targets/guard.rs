//! Where calls may go: never to this machine or its neighbours, unless the owner says so.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::{client, limits::Network};

/// Ranges that are not the public internet.
const SPECIAL: [&str; 21] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
    "2001:db8::/32",
    "100::/64",
];

/// Which addresses may be called.
#[derive(Debug, Clone)]
pub struct Guard {
    allowed: Vec<Network>,
    special: Vec<Network>,
    /// Whether TLS may be missing.
    plain: bool,
}

impl Guard {
    /// The public internet, and these ranges.
    pub fn new(allowed: Vec<Network>) -> Self {
        Self {
            allowed,
            special: SPECIAL.iter().filter_map(|text| text.parse().ok()).collect(),
            plain: false,
        }
    }

    /// The same, also without TLS.
    #[must_use]
    pub fn without_tls(self, plain: bool) -> Self {
        Self { plain, ..self }
    }

    /// Whether a URL may be called, as far as it names an address.
    pub(super) fn admits_url(&self, url: &reqwest::Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host.parse::<IpAddr>().map_or(true, |address| self.admits(address))
    }

    /// Whether a URL that a stranger chose may be called, as far as the URL tells.
    pub(crate) fn check(&self, url: &reqwest::Url) -> Result<(), &'static str> {
        match url.scheme() {
            "https" => {}
            "http" if self.plain => {}
            _ => return Err("the URL is not https"),
        }
        if self.admits_url(url) { Ok(()) } else { Err("the URL is an address that is not public") }
    }

    /// A client that calls only whom it may. No proxy: it would look names up by itself, past the
    /// guard.
    pub(crate) fn builder(&self, timeout: Duration) -> reqwest::ClientBuilder {
        client::builder(timeout).no_proxy().dns_resolver(Arc::new(self.clone()))
    }

    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let address = inner(address);
        let within =
            |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        within(&self.allowed) || !within(&self.special)
    }
}

/// The address that is reached in the end: some of version 6 carry one of version 4.
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address.to_canonical() else { return address.to_canonical() };
    let carried = |prefix: Ipv6Addr| (six.to_bits() >> 32) == (prefix.to_bits() >> 32);
    if carried(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0)) {
        let [.., a, b, c, d] = six.octets();
        return IpAddr::from([a, b, c, d]);
    }
    if six.segments()[0] == 0x2002 {
        let [_, _, a, b, c, d, ..] = six.octets();
        return IpAddr::from([a, b, c, d]);
    }
    IpAddr::V6(six)
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> =
                found.filter(|found| guard.admits(found.ip())).collect();
            if admitted.is_empty() {
                return Err(io::Error::other("no address that may be called").into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("93.184.216.34", true)]
    #[case("2606:2800:220:1::1", true)]
    #[case("127.0.0.1", false)]
    #[case("10.1.2.3", false)]
    #[case("172.31.0.1", false)]
    #[case("192.168.1.1", false)]
    #[case("169.254.169.254", false)]
    #[case("100.100.1.1", false)]
    #[case("0.0.0.0", false)]
    #[case("255.255.255.255", false)]
    #[case("::1", false)]
    #[case("::", false)]
    #[case("fd00::1", false)]
    #[case("fe80::1", false)]
    #[case("::ffff:10.0.0.1", false)]
    #[case("64:ff9b::a00:1", false)]
    #[case("2002:a00:1::", false)]
    fn neighbours_are_not_called(#[case] address: IpAddr, #[case] admitted: bool) {
        assert_eq!(Guard::new(Vec::new()).admits(address), admitted);
    }

    #[test]
    fn every_range_is_one() {
        assert_eq!(Guard::new(Vec::new()).special.len(), SPECIAL.len());
    }

    #[test]
    fn owners_may_allow_ranges() {
        let guard = Guard::new(vec!["10.1.0.0/16".parse().unwrap()]);
        assert!(guard.admits("10.1.2.3".parse().unwrap()));
        assert!(!guard.admits("10.2.2.3".parse().unwrap()));
    }
}
