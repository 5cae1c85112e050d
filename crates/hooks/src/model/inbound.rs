//! One request as a source sees it: headers, raw body, the time. No sockets, no clocks.

use http::HeaderMap;

/// A request whose body was read within its limits.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The raw body.
    pub body: &'a [u8],
    /// Unix seconds; a field, so that rules about time can be tested.
    pub now: i64,
}

/// What a request says under one header name. Proxies and programs disagree about which of two
/// different values counts, so two different ones are nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header<'a> {
    /// The header is missing.
    Missing,
    /// The value; several equal ones count as one.
    One(&'a [u8]),
    /// At least two different values.
    Differ,
}

impl<'a> Header<'a> {
    /// The value, unless it is missing or in doubt.
    pub fn one(self) -> Option<&'a [u8]> {
        match self {
            Self::One(value) => Some(value),
            Self::Missing | Self::Differ => None,
        }
    }

    /// Whether there is any.
    pub fn present(self) -> bool {
        self != Self::Missing
    }
}

impl<'a> Inbound<'a> {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Header<'a> {
        let mut values = self.headers.get_all(name).iter();
        let Some(first) = values.next() else { return Header::Missing };
        if values.all(|value| value == first) {
            Header::One(first.as_bytes())
        } else {
            Header::Differ
        }
    }

    /// The value of a header as text; missing, doubtful and non-ASCII ones are no text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.header(name).one()?).ok()
    }

    /// The trace that the request belongs to, as the W3C writes it; anything else is none.
    pub fn traceparent(&self) -> Option<&'a str> {
        let text = self.text("traceparent")?;
        let mut parts = text.split('-').map(str::len);
        let lengths = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-';
        let right = lengths == [Some(2), Some(32), Some(16), Some(2), None];
        (right && text.bytes().all(hex)).then_some(text)
    }

    /// Whether a header has exactly this value.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.header(name) == Header::One(value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbound(headers: &HeaderMap) -> Inbound<'_> {
        Inbound { headers, body: b"", now: 0 }
    }

    #[test]
    fn traces_are_those_of_the_standard() {
        let mut headers = HeaderMap::new();
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (value, trace) in [
            (good, Some(good)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", None),
            ("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("", None),
        ] {
            headers.insert("traceparent", value.parse().unwrap());
            assert_eq!(inbound(&headers).traceparent(), trace, "{value}");
        }
    }

    #[test]
    fn two_different_values_are_nobodys() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", "1".parse().unwrap());
        assert_eq!(inbound(&headers).header("X-A"), Header::One(b"1"));
        headers.append("x-a", "1".parse().unwrap());
        assert_eq!(inbound(&headers).header("X-A"), Header::One(b"1"));
        headers.append("x-a", "2".parse().unwrap());
        assert_eq!(inbound(&headers).header("X-A"), Header::Differ);
        assert_eq!(inbound(&headers).header("X-B"), Header::Missing);
    }
}
