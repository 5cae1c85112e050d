//! Session cookies without a store: `EXPIRY.MAC`, where the MAC binds name, path, scope and expiry
//! to the token of the data directory. A restart keeps browsers signed in; a new token signs all out.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use super::{Local, Scope};

/// Start of the name of every cookie of ours; the connect proxy strips by it.
pub const COOKIE_PREFIX: &str = "quartermaster-";

/// A cookie that proves a scope.
#[derive(Debug, Clone)]
pub struct SessionCookie {
    name: String,
    path: String,
    scope: Scope,
    lifetime: Duration,
}

impl SessionCookie {
    /// The cookie that signs a browser in to the API listener. Its name holds the port, because
    /// browsers share cookies between the ports of a host.
    pub fn api(port: u16) -> Self {
        Self {
            name: format!("{COOKIE_PREFIX}{port}"),
            path: "/".to_owned(),
            scope: Scope::api(),
            lifetime: Duration::from_secs(30 * 24 * 3600),
        }
    }

    /// A cookie for one path of another listener.
    pub fn scoped(purpose: &str, port: u16, path: &str, scope: Scope, lifetime: Duration) -> Self {
        let name = format!("{COOKIE_PREFIX}{purpose}-{port}");
        Self { name, path: path.to_owned(), scope, lifetime }
    }

    /// The `Set-Cookie` value.
    pub fn issue(&self, local: &Local) -> HeaderValue {
        let seconds = self.lifetime.as_secs();
        let expires = local.now().as_second().saturating_add_unsigned(seconds);
        let mac = URL_SAFE_NO_PAD.encode(self.mac(local, expires).finalize().into_bytes());
        let text = format!(
            "{}={expires}.{mac}; Path={}; Max-Age={seconds}; HttpOnly; SameSite=Strict",
            self.name, self.path
        );
        // Names, paths and scopes are made from validated identifiers; anything else signs nobody in.
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Whether one of the request's cookies proves the scope now.
    pub fn is_in(&self, local: &Local, headers: &HeaderMap) -> bool {
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| name == self.name && self.proves(local, value))
    }

    fn proves(&self, local: &Local, value: &str) -> bool {
        let Some((expires, mac)) = value.split_once('.') else { return false };
        let Ok(expires) = expires.parse::<i64>() else { return false };
        let Ok(mac) = URL_SAFE_NO_PAD.decode(mac) else { return false };
        expires > local.now().as_second() && self.mac(local, expires).verify_slice(&mac).is_ok()
    }

    fn mac(&self, local: &Local, expires: i64) -> Hmac<Sha256> {
        let mut mac = local.mac();
        for part in ["session", &self.name, &self.path, self.scope.text(), &expires.to_string()] {
            // The length in front keeps one list of parts from reading like another.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

/// The MAC under the data directory's token.
pub(super) fn keyed(secret: &str) -> Hmac<Sha256> {
    // HMAC fills short keys up with zeros; doing so here makes a key that cannot be refused.
    let mut key = [0_u8; 64];
    key[..32].copy_from_slice(&Sha256::digest(secret.as_bytes()));
    Hmac::new(&key.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::local::Token;

    fn headers(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        headers
    }

    fn pair(cookie: &SessionCookie, local: &Local) -> String {
        cookie.issue(local).to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_cookie_survives_a_restart_and_not_another_token() {
        let token = Token::generate().unwrap();
        let local = Local::new(token.clone());
        let cookie = SessionCookie::api(4000);
        let headers = headers(&format!("other=1; {}; more=2", pair(&cookie, &local)));
        assert!(cookie.is_in(&local, &headers));
        assert!(cookie.is_in(&Local::new(token), &headers), "restarted");
        assert!(!cookie.is_in(&Local::new(Token::generate().unwrap()), &headers), "another token");
    }

    #[test]
    fn the_value_is_bound_to_port_scope_path_and_time() {
        let token = Token::generate().unwrap();
        let local = Local::new(token.clone()).with_clock(Arc::new(|| Timestamp::UNIX_EPOCH));
        let day = Duration::from_secs(86_400);
        let make = |port, path, uid| {
            SessionCookie::scoped("connect", port, path, Scope::new("connect", &[uid]), day)
        };
        let good = make(4004, "/a/", "1");
        let value = pair(&good, &local).split_once('=').unwrap().1.to_owned();
        for (other, what) in [
            (make(4005, "/a/", "1"), "port"),
            (make(4004, "/b/", "1"), "path"),
            (make(4004, "/a/", "2"), "scope"),
        ] {
            assert!(!other.proves(&local, &value), "{what}");
        }
        assert!(good.proves(&local, &value));
        let late =
            Local::new(token).with_clock(Arc::new(|| Timestamp::from_second(86_400).unwrap()));
        assert!(!good.proves(&late, &value), "expired");
        let stretched = format!("9{value}");
        assert!(!good.proves(&local, &stretched), "a longer life needs another MAC");
        for broken in ["", ".", "1", "1.", "x.y", "99999999999999999999.AAAA"] {
            assert!(!good.proves(&local, broken), "{broken:?}");
        }
    }

    #[test]
    fn the_attributes_keep_scripts_and_other_sites_out() {
        let local = Local::new(Token::generate().unwrap());
        let text = SessionCookie::api(4000).issue(&local);
        let text = text.to_str().unwrap();
        assert!(text.starts_with("quartermaster-4000="), "{text}");
        assert!(text.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict"), "{text}");
    }
}
