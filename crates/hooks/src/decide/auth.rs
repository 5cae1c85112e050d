//! Extra authentication of an endpoint, for senders that cannot sign (contract §3.5).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::signature::equal;
use crate::{model::Inbound, oidc::Oidc};

/// What a request must bring beside what its source asks for.
#[derive(Clone)]
pub enum Auth {
    /// User name and password.
    Basic {
        /// The name.
        username: Vec<u8>,
        /// The password.
        password: Vec<u8>,
    },
    /// A bearer token.
    Bearer(Vec<u8>),
    /// A token that an issuer made; see there who asks it.
    Oidc(Arc<Oidc>),
    /// A certificate by an authority of the listener's, with one of these names; see there who looks.
    Mtls(Vec<String>),
    /// A header with exactly this value.
    Header {
        /// The header.
        name: String,
        /// Its value.
        value: Vec<u8>,
    },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
            Self::Header { .. } => "Header",
            Self::Oidc(_) => "Oidc",
            Self::Mtls(_) => "Mtls",
        })
    }
}

impl Auth {
    /// Whether a request brings it.
    pub fn passes(&self, request: &Inbound<'_>) -> bool {
        let authorization = |scheme: &str| {
            let value = request.header("authorization").one()?;
            let at = value.iter().position(|&byte| byte == b' ')?;
            value[..at].eq_ignore_ascii_case(scheme.as_bytes()).then(|| value[at..].trim_ascii())
        };
        let offered = match self {
            Self::Basic { username, password } => {
                let Some(sent) = authorization("basic").and_then(|sent| STANDARD.decode(sent).ok())
                else {
                    return false;
                };
                return equal(&sent, &[username, &b":"[..], password].concat());
            }
            // The issuer has to be asked, which takes time; a certificate is the connection's.
            Self::Oidc(_) | Self::Mtls(_) => return false,
            Self::Bearer(token) => (authorization("bearer"), token),
            Self::Header { name, value } => (request.header(name).one(), value),
        };
        offered.0.is_some_and(|sent| equal(sent, offered.1))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn passes(auth: &Auth, name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        auth.passes(&Inbound { headers: &headers, body: b"", now: 0 })
    }

    #[test]
    fn each_kind_takes_its_own_only() {
        let basic = Auth::Basic { username: b"us:er".to_vec(), password: b"pass".to_vec() };
        let bearer = Auth::Bearer(b"t0ken".to_vec());
        let header = Auth::Header { name: "x-key".into(), value: b"v".to_vec() };
        assert!(passes(&basic, "authorization", "Basic dXM6ZXI6cGFzcw=="));
        assert!(!passes(&basic, "authorization", "Basic dXM6ZXI6cGFzcx=="));
        assert!(!passes(&basic, "authorization", "Bearer dXM6ZXI6cGFzcw=="));
        assert!(passes(&bearer, "authorization", "bearer t0ken"));
        assert!(!passes(&bearer, "authorization", "t0ken"));
        assert!(!passes(&bearer, "authorization", "Bearer t0ken2"));
        assert!(passes(&header, "x-key", "v"));
        assert!(!passes(&header, "x-key", "w"));
        assert!(!passes(&header, "authorization", "v"));
        assert!(!format!("{basic:?}{bearer:?}{header:?}").contains("t0ken"));
    }
}
