//! Local security (DESIGN §7): who may talk to a server on the loopback interface of a machine that
//! has other users, with browsers that visit other sites.
//!
//! [`Token`] is the secret of a data directory. [`Local`] is what all listeners of one process
//! share: the token, the open tickets, the key of the session cookies. [`Guard`] is the layer of one
//! listener; [`source`] holds its rules about `Host`, `Origin` and `Sec-Fetch-*` as pure functions.
//! [`Authority`] makes certificates for listeners that speak TLS.

mod authority;
mod guard;
mod link;
mod private;
mod routes;
mod session;
pub mod source;
mod ticket;
mod token;

use std::{fmt, net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use hmac::Hmac;
use http::{HeaderMap, header};
use jiff::Timestamp;
use sha2::Sha256;

pub use authority::{Authority, AuthorityError};
pub use guard::{Guard, Proof};
pub use link::{query_value, redirect_with_cookie, without_query};
pub use private::replace_private;
pub use routes::{START_TICKET, TICKETS_PATH, routes, start_url};
pub use session::{COOKIE_PREFIX, SessionCookie};
pub use token::{Token, TokenError};

use crate::{Error, Kind};

/// What a ticket or a cookie is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// Everything that the API listener serves.
    pub fn api() -> Self {
        Self::new("api", &[])
    }

    /// A purpose and the parts that pin it down.
    pub fn new(purpose: &str, parts: &[&str]) -> Self {
        let mut text = purpose.to_owned();
        for part in parts {
            text.push('|');
            // Escaped, so that one list of parts never reads like another.
            text.push_str(&part.replace('%', "%25").replace('|', "%7C"));
        }
        Self(text)
    }

    fn text(&self) -> &str {
        &self.0
    }
}

/// Tells the time; injected so that tests own it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

struct Inner {
    token: Token,
    open: bool,
    tickets: ticket::Tickets,
    clock: Clock,
}

/// The local security of one process, shared by its listeners.
#[derive(Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("open", &self.inner.open).finish_non_exhaustive()
    }
}

impl Local {
    /// Wants the token, or a cookie that it signed.
    pub fn new(token: Token) -> Self {
        Self::make(token, false, Arc::new(Timestamp::now))
    }

    /// `--auth none`: everybody who reaches the port is the owner. The rules about `Host`, `Origin`
    /// and `Sec-Fetch-Site` stay, so that a web page still cannot act.
    pub fn without_auth(token: Token) -> Self {
        tracing::warn!(
            "authentication is off: every user and program of this machine may do everything here"
        );
        Self::make(token, true, Arc::new(Timestamp::now))
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self::make(self.inner.token.clone(), self.inner.open, clock)
    }

    fn make(token: Token, open: bool, clock: Clock) -> Self {
        Self { inner: Arc::new(Inner { token, open, tickets: ticket::Tickets::default(), clock }) }
    }

    /// Whether callers must prove anything.
    pub fn wants_proof(&self) -> bool {
        !self.inner.open
    }

    /// Whether the request carries the token as `Authorization: Bearer`.
    pub fn bearer(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|candidate| self.inner.token.matches(candidate))
    }

    /// Makes a ticket.
    pub fn ticket(&self, scope: Scope, lifetime: Duration) -> Result<String, Error> {
        self.inner.tickets.issue(scope, lifetime, self.now()).map_err(Error::internal)
    }

    /// Uses a ticket up; says whether it was good.
    pub fn redeem(&self, scope: &Scope, ticket: &str) -> bool {
        self.inner.tickets.redeem(scope, ticket, self.now())
    }

    fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    fn mac(&self) -> Hmac<Sha256> {
        session::keyed(self.inner.token.expose())
    }
}

/// The one bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Refuses to bind a listener of `local` mode where the network could reach it.
pub fn require_loopback(address: SocketAddr) -> Result<(), Error> {
    let loopback = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    if loopback {
        return Ok(());
    }
    Err(Error::new(
        Kind::Invalid,
        format!(
            "{address} is not a loopback address: `up` serves this machine only; use 127.0.0.1 or \
             [::1], and reach it from elsewhere through ssh -L"
        ),
    ))
}
