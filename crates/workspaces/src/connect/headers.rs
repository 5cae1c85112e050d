//! What changes in the headers on the way through: a pure function for each direction.
//!
//! Requests lose everything that is between the client and us (hop-by-hop, our cookies, tickets,
//! credentials, claims about who the caller is) and gain what the program may rely on. Responses
//! lose what would reach beyond the path of their workspace, because all workspaces share an origin.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority};
use secrecy::{ExposeSecret as _, SecretString};
use web::local::COOKIE_PREFIX;

use super::HeaderRules;

/// Headers that belong to one connection (RFC 9110 §7.6.1) and old relatives. `Trailer` stays: it
/// announces what the stream really ends with.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Headers by which proxies tell programs who the caller is or where they come from: whoever sends
/// them from outside lies. Compared with `_` read as `-`, as many programs do.
const CLAIMS: [&str; 9] = [
    "authorization",
    "expect",
    "forwarded",
    "kubeflow-groups",
    "kubeflow-userid",
    "remote-user",
    "true-client-ip",
    "x-client-ip",
    "x-real-ip",
];
const CLAIM_FAMILIES: [&str; 7] = [
    "impersonate-",
    "remote-",
    "x-auth-request-",
    "x-forwarded-",
    "x-goog-",
    "x-remote-",
    "x-webauth-",
];

/// Response headers that would reach beyond the workspace's own path.
const BEYOND: [&str; 5] = [
    "alt-svc",
    "clear-site-data",
    "public-key-pins",
    "service-worker-allowed",
    "strict-transport-security",
];

/// What a request's headers are made from.
pub(super) struct Outgoing<'a> {
    /// The host as the browser sent it: programs compare it with `Origin`.
    pub(super) host: &'a Authority,
    /// The other end of the connection.
    pub(super) peer: Option<IpAddr>,
    /// The path of the port, without the last slash, if the program does not see it.
    pub(super) removed_prefix: Option<&'a str>,
    /// The workspace's own secret.
    pub(super) secret: Option<&'a SecretString>,
    /// The kind's wishes.
    pub(super) rules: &'a HeaderRules,
}

/// The protocol that a request wants to change to.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = listed(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(header::UPGRADE)?;
    (asked && !protocol.is_empty()).then(|| protocol.clone())
}

/// The headers of a request as the program in the workspace gets them.
pub(super) fn request(mut headers: HeaderMap, outgoing: &Outgoing<'_>) -> HeaderMap {
    let upgrade = upgrade(&headers);
    let trailers = headers
        .get_all(header::TE)
        .iter()
        .any(|value| value.to_str().is_ok_and(|te| te.to_ascii_lowercase().contains("trailers")));
    remove_hop_by_hop(&mut headers);
    remove_where(&mut headers, is_claim);
    remove_own_cookies(&mut headers);

    insert(&mut headers, header::HOST, outgoing.host.as_str());
    insert(&mut headers, name("x-forwarded-host"), outgoing.host.as_str());
    insert(&mut headers, name("x-forwarded-proto"), "http");
    if let Some(peer) = outgoing.peer {
        insert(&mut headers, name("x-forwarded-for"), &peer.to_string());
    }
    if let Some(prefix) = outgoing.removed_prefix {
        insert(&mut headers, name("x-forwarded-prefix"), prefix);
    }
    if let Some(secret) = outgoing.secret
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", secret.expose_secret()))
    {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    apply(&mut headers, outgoing.rules);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    headers
}

/// The kind's wishes. What frames the message is not for wishes.
fn apply(headers: &mut HeaderMap, rules: &HeaderRules) {
    let free = |text: &str| {
        let name = HeaderName::from_bytes(text.as_bytes()).ok()?;
        let framing = HOP_BY_HOP.contains(&name.as_str())
            || name == header::CONTENT_LENGTH
            || name == header::TRAILER;
        (!framing).then_some(name)
    };
    for (text, value) in &rules.set {
        if let (Some(name), Ok(value)) = (free(text), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    for (text, value) in &rules.add {
        if let (Some(name), Ok(value)) = (free(text), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    for name in rules.remove.iter().filter_map(|text| free(text)) {
        headers.remove(name);
    }
}

fn remove_own_cookies(headers: &mut HeaderMap) {
    let kept: Vec<String> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|pair| !pair.is_empty() && !is_own_cookie(pair))
        .map(str::to_owned)
        .collect();
    headers.remove(header::COOKIE);
    if !kept.is_empty() {
        insert(headers, header::COOKIE, &kept.join("; "));
    }
}

fn is_own_cookie(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default().trim();
    name.get(..COOKIE_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE_PREFIX))
}

fn is_claim(name: &str) -> bool {
    let name = name.replace('_', "-");
    CLAIMS.contains(&name.as_str()) || CLAIM_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Takes away what is for one connection: the known names and those that `Connection` lists.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> =
        listed(headers).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
    for name in listed {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn listed(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn remove_where(headers: &mut HeaderMap, unwanted: fn(&str) -> bool) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Values are hosts, addresses and validated paths; one that is none is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

/// What a response's headers are made from.
pub(super) struct Incoming<'a> {
    /// The host as the browser sent it.
    pub(super) host: &'a Authority,
    /// Where the response comes from.
    pub(super) address: SocketAddr,
    /// The path of the workspace, with its last slash: cookies stay below.
    pub(super) workspace: &'a str,
    /// The path of the port, without the last slash.
    pub(super) prefix: &'a str,
    /// Whether the program does not see that path.
    pub(super) prefix_removed: bool,
}

/// The headers of a response as the browser gets them.
pub(super) fn response(headers: &mut HeaderMap, incoming: &Incoming<'_>) {
    remove_hop_by_hop(headers);
    for name in BEYOND {
        headers.remove(name);
    }
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    if let Some(location) = location.and_then(|location| moved(location, incoming)) {
        insert(headers, header::LOCATION, &location);
    }
    let cookies: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(|cookie| confined(cookie, incoming))
        .filter_map(|cookie| HeaderValue::from_str(&cookie).ok())
        .collect();
    headers.remove(header::SET_COOKIE);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Where a redirect really leads, if it has to be said in another way: programs know neither our
/// address nor, sometimes, their path.
fn moved(location: &str, incoming: &Incoming<'_>) -> Option<String> {
    let path = own_path(location, incoming)?;
    let known = path
        .strip_prefix(incoming.prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    let path = if incoming.prefix_removed && !known {
        format!("{}{path}", incoming.prefix)
    } else {
        path.to_owned()
    };
    (path != location).then_some(path)
}

/// The path, query and fragment of a location on this host; nothing for others and relative ones.
fn own_path<'a>(location: &'a str, incoming: &Incoming<'_>) -> Option<&'a str> {
    let rest = location
        .strip_prefix("http://")
        .or_else(|| location.strip_prefix("https://"))
        .or_else(|| location.strip_prefix("//"));
    let Some(rest) = rest else {
        return location.starts_with('/').then_some(location);
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let own = authority.eq_ignore_ascii_case(incoming.host.as_str())
        || authority == incoming.address.to_string();
    match path {
        _ if !own => None,
        // Two slashes would name another host.
        path if path.starts_with('/') && !path.starts_with("//") => Some(path),
        "" => Some("/"),
        _ => None,
    }
}

/// A cookie that stays within its workspace; nothing for one that poses as ours.
fn confined(cookie: &str, incoming: &Incoming<'_>) -> Option<String> {
    let mut parts = cookie.split(';').map(str::trim);
    let pair = parts.next()?;
    if is_own_cookie(pair) {
        return None;
    }
    let mut path = None;
    let mut kept = vec![pair.to_owned()];
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key.trim().to_ascii_lowercase().as_str() {
            "path" => path = Some(value.trim()),
            "domain" | "" => {}
            _ => kept.push(part.to_owned()),
        }
    }
    let path = match path {
        Some(path) if path.starts_with(incoming.workspace) => path.to_owned(),
        Some(path) if path.starts_with('/') && incoming.prefix_removed => {
            format!("{}{path}", incoming.prefix)
        }
        _ => incoming.workspace.to_owned(),
    };
    kept.push(format!("Path={path}"));
    Some(kept.join("; "))
}

#[cfg(test)]
mod tests;
