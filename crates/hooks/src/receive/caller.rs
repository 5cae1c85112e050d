//! Who called: the peer, or whom a trusted proxy names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;

use crate::limits::Network;

/// The right-most hop that is no proxy of ours. What is left of it anybody may have written; so may
/// what is left of a hop that cannot be read, and then the peer counts.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let trusted = |address| proxies.iter().any(|network| network.contains(address));
    if !trusted(peer) {
        return peer;
    }
    let values = headers.get_all("x-forwarded-for").iter().rev();
    for hop in values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
        match read(hop) {
            Some(hop) if trusted(hop) => {}
            Some(hop) => return hop,
            None => return peer,
        }
    }
    peer
}

/// An address as proxies write it, with or without a port.
fn read(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = || hop.parse::<IpAddr>().ok();
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || {
        let inside = hop.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    bare().or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(&["192.0.2.1"], "192.0.2.1")]
    #[case(&["6.6.6.6, 192.0.2.1:5678"], "192.0.2.1")]
    #[case(&["6.6.6.6, [2001:db8::1]:443"], "2001:db8::1")]
    #[case(&["6.6.6.6,[2001:db8::1]"], "2001:db8::1")]
    #[case(&["6.6.6.6, 2001:db8::1"], "2001:db8::1")]
    #[case(&["6.6.6.6, 192.0.2.1, 10.0.0.2, 10.0.0.3:80"], "192.0.2.1")]
    #[case(&["6.6.6.6", "192.0.2.1, 10.0.0.2"], "192.0.2.1")]
    #[case(&["::ffff:192.0.2.1"], "192.0.2.1")]
    #[case(&["6.6.6.6, unknown"], "10.0.0.1")]
    #[case(&["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.1")]
    #[case(&["6.6.6.6, "], "10.0.0.1")]
    #[case(&["6.6.6.6", "\u{e9}"], "10.0.0.1")]
    #[case(&["6.6.6.6, [192.0.2.1]"], "10.0.0.1")]
    #[case(&["10.0.0.2"], "10.0.0.1")]
    #[case(&[], "10.0.0.1")]
    fn the_last_stranger_called(#[case] named: &[&str], #[case] caller: IpAddr) {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in named {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append("x-forwarded-for", value);
        }
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(address(peer, &headers, &proxies), caller);
        // Strangers name nobody.
        assert_eq!(address(peer, &headers, &[]), peer);
    }
}
