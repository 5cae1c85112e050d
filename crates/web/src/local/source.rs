//! Where a request comes from, judged by what browsers cannot be made to lie about (DESIGN §7).
//!
//! Pure functions: request head in, verdict out. They hold with and without a credential.

use http::{HeaderMap, HeaderName, Method, header, request::Parts, uri::Authority};

use crate::{Error, Kind};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Checks `Host`, `Origin` and `Sec-Fetch-*` of a request. `page` says whether the path is one that
/// a person may navigate to. Gives back the authority under which the caller knows this listener.
pub fn check(parts: &Parts, page: bool) -> Result<Authority, Error> {
    let host = host(parts)?;
    if !is_loopback(host.host()) {
        return Err(Error::new(
            Kind::Forbidden,
            "this server answers to loopback names only: use localhost, 127.0.0.1 or [::1]",
        ));
    }
    check_origin(&parts.headers, &host)?;
    check_fetch(parts, page)?;
    Ok(host)
}

/// Checks the site that a browser says a request comes from, for listeners behind a proxy: what
/// changes something or opens a tunnel must come from a page of the same origin.
pub fn check_site(parts: &Parts) -> Result<(), Error> {
    if parts.method.is_safe() && !parts.headers.contains_key(header::UPGRADE) {
        return Ok(());
    }
    check_fetch(parts, false)
}

/// The one host that a request names.
pub fn host(parts: &Parts) -> Result<Authority, Error> {
    let malformed = |text: &str| Error::new(Kind::Malformed, text);
    let header = single(&parts.headers, &header::HOST)?
        .ok_or_else(|| malformed("the Host header is missing"))?;
    let host: Authority =
        header.parse().map_err(|_| malformed("the Host header cannot be read"))?;
    if host.as_str().contains('@') {
        return Err(malformed("the Host header cannot be read"));
    }
    // A target with a host of its own is meant for proxies; it must not name another host.
    match parts.uri.authority() {
        Some(target) if !target.as_str().eq_ignore_ascii_case(host.as_str()) => {
            Err(malformed("the request target and the Host header name different hosts"))
        }
        _ => Ok(host),
    }
}

/// Names that mean this machine without asking a resolver.
fn is_loopback(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    if let Some(ip) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return ip.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.is_loopback());
    }
    host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), Error> {
    let Some(origin) = single(headers, &header::ORIGIN)? else { return Ok(()) };
    let own = ["http://", "https://"].iter().any(|scheme| {
        origin.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && origin[scheme.len()..].eq_ignore_ascii_case(host.as_str())
    });
    if own {
        return Ok(());
    }
    Err(Error::new(Kind::Forbidden, "requests from pages of another origin are refused"))
}

/// Another port of this host is another origin and yet "same-site": only `same-origin` and `none`
/// (typed by the user) pass, and following a link to a page.
fn check_fetch(parts: &Parts, page: bool) -> Result<(), Error> {
    let Some(site) = single(&parts.headers, &SEC_FETCH_SITE)? else { return Ok(()) };
    if matches!(site, "same-origin" | "none") {
        return Ok(());
    }
    let mode = single(&parts.headers, &SEC_FETCH_MODE)?;
    let dest = single(&parts.headers, &SEC_FETCH_DEST)?;
    let navigation =
        parts.method == Method::GET && mode == Some("navigate") && dest == Some("document");
    if page && navigation {
        return Ok(());
    }
    Err(Error::new(Kind::Forbidden, "requests from pages of another origin are refused"))
}

/// The value of a header that may occur once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(Some(value.trim())),
        _ => Err(Error::new(Kind::Malformed, format!("the {name} header cannot be read"))),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use rstest::rstest;

    use super::*;

    fn verdict(target: &str, headers: &[(&str, &str)], page: bool) -> Result<(), Kind> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, page).map(drop).map_err(|error| error.kind())
    }

    #[rstest]
    #[case("localhost:4000", Ok(()))]
    #[case("LocalHost", Ok(()))]
    #[case("127.0.0.1:4000", Ok(()))]
    #[case("127.8.9.10", Ok(()))]
    #[case("[::1]:4000", Ok(()))]
    #[case("[0:0:0:0:0:0:0:1]", Ok(()))]
    #[case("evil.example", Err(Kind::Forbidden))]
    #[case("localhost.evil.example", Err(Kind::Forbidden))]
    #[case("evil.localhost", Err(Kind::Forbidden))]
    #[case("localhost.", Err(Kind::Forbidden))]
    #[case("127.0.0.1.nip.io", Err(Kind::Forbidden))]
    #[case("128.0.0.1", Err(Kind::Forbidden))]
    #[case("0.0.0.0", Err(Kind::Forbidden))]
    #[case("[::ffff:127.0.0.1]", Err(Kind::Forbidden))]
    #[case("[::2]", Err(Kind::Forbidden))]
    #[case("2130706433", Err(Kind::Forbidden))]
    #[case("0x7f.1", Err(Kind::Forbidden))]
    #[case("localhost@evil.example", Err(Kind::Malformed))]
    #[case("evil.example@localhost", Err(Kind::Malformed))]
    #[case("local host", Err(Kind::Malformed))]
    #[case("", Err(Kind::Malformed))]
    fn only_loopback_names_are_answered(#[case] host: &str, #[case] want: Result<(), Kind>) {
        assert_eq!(verdict("/", &[("host", host)], true), want);
    }

    #[rstest]
    #[case(&[], Err(Kind::Malformed))]
    #[case(&[("host", "localhost"), ("host", "localhost")], Err(Kind::Malformed))]
    #[case(&[("host", "localhost"), ("host", "evil.example")], Err(Kind::Malformed))]
    fn exactly_one_host_is_wanted(
        #[case] headers: &[(&str, &str)],
        #[case] want: Result<(), Kind>,
    ) {
        assert_eq!(verdict("/", headers, true), want);
    }

    #[rstest]
    #[case("http://localhost:1/x", "localhost:1", Ok(()))]
    #[case("http://evil.example/x", "localhost:1", Err(Kind::Malformed))]
    #[case("http://localhost:1/x", "evil.example", Err(Kind::Malformed))]
    #[case("http://evil.example/x", "evil.example", Err(Kind::Forbidden))]
    fn a_full_target_must_name_the_same_host(
        #[case] target: &str,
        #[case] host: &str,
        #[case] want: Result<(), Kind>,
    ) {
        assert_eq!(verdict(target, &[("host", host)], true), want);
    }

    #[rstest]
    #[case("http://localhost:4000", Ok(()))]
    #[case("https://LOCALHOST:4000", Ok(()))]
    #[case("http://localhost:4004", Err(Kind::Forbidden))]
    #[case("http://localhost", Err(Kind::Forbidden))]
    #[case("http://127.0.0.1:4000", Err(Kind::Forbidden))]
    #[case("http://localhost:4000.evil.example", Err(Kind::Forbidden))]
    #[case("https://evil.example", Err(Kind::Forbidden))]
    #[case("null", Err(Kind::Forbidden))]
    #[case("", Err(Kind::Forbidden))]
    fn a_foreign_origin_is_refused(#[case] origin: &str, #[case] want: Result<(), Kind>) {
        let headers = [("host", "localhost:4000"), ("origin", origin)];
        assert_eq!(verdict("/", &headers, true), want);
        let twice = [headers[0], headers[1], headers[1]];
        assert_eq!(verdict("/", &twice, true), Err(Kind::Malformed));
    }

    #[rstest]
    #[case("same-origin", "cors", "empty", false, Ok(()))]
    #[case("none", "navigate", "document", true, Ok(()))]
    #[case("same-site", "cors", "empty", true, Err(Kind::Forbidden))]
    #[case("same-site", "no-cors", "image", true, Err(Kind::Forbidden))]
    #[case("same-site", "navigate", "document", true, Ok(()))]
    #[case("same-site", "navigate", "document", false, Err(Kind::Forbidden))]
    #[case("cross-site", "navigate", "document", true, Ok(()))]
    #[case("cross-site", "navigate", "iframe", true, Err(Kind::Forbidden))]
    #[case("cross-site", "websocket", "websocket", true, Err(Kind::Forbidden))]
    #[case("nonsense", "navigate", "iframe", true, Err(Kind::Forbidden))]
    fn a_foreign_page_may_only_navigate(
        #[case] site: &str,
        #[case] mode: &str,
        #[case] dest: &str,
        #[case] page: bool,
        #[case] want: Result<(), Kind>,
    ) {
        let headers = [
            ("host", "localhost"),
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", dest),
        ];
        assert_eq!(verdict("/", &headers, page), want);
    }

    #[test]
    fn a_foreign_page_may_not_send_a_form() {
        let (parts, ()) = Request::post("/")
            .header("host", "localhost")
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .body(())
            .unwrap()
            .into_parts();
        assert_eq!(check(&parts, true).unwrap_err().kind(), Kind::Forbidden);
    }
}
