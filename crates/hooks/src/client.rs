//! The one way out over HTTP: no redirects (whoever answers could send us anywhere), a time-out,
//! answers of bounded length.

use std::{net::IpAddr, time::Duration};

use reqwest::{Client, ClientBuilder, Response, Url, redirect::Policy};

/// What every client of ours has in common; who calls adds what is special.
pub(crate) fn builder(timeout: Duration) -> ClientBuilder {
    // reqwest is built without a provider of its own; the first one installed stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder()
        .redirect(Policy::none())
        .timeout(timeout)
        .http1_only()
        .pool_idle_timeout(Duration::from_secs(30))
}

/// The same for calls to `url`: a proxy of the environment is obeyed, but never used for this
/// machine itself.
pub(crate) fn builder_for(url: &Url, timeout: Duration) -> ClientBuilder {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let builder = builder(timeout);
    if local { builder.no_proxy() } else { builder }
}

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It broke off.
    Broken(reqwest::Error),
    /// It is absurdly long.
    TooLong,
}

/// The body of an answer of at most so many bytes.
pub(crate) async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + chunk.len() > most {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
