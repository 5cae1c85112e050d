//! Which compressed form a client gets: zstd before gzip when it likes both the same.

use http::{HeaderMap, HeaderValue, header};

/// Answers smaller than this go out as they are.
pub(crate) const SMALLEST: usize = 1024;

/// In the extensions of a response whose body goes on as things happen: it must reach the client
/// piece by piece, and a compressor would hold it back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live;

/// A form in which a body can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The best form that the client takes. Plain is always possible: a client that rules it out
    /// together with all others gets it anyway, which RFC 9110 permits.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Self {
        let mut zstd = None;
        let mut gzip = None;
        let mut others = None;
        let mut identity = None;
        let values = headers.get_all(header::ACCEPT_ENCODING);
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        for entry in texts.flat_map(|text| text.split(',')) {
            let (name, quality) = entry.split_once(';').unwrap_or((entry, "q=1"));
            let quality = Some(thousandths(quality.trim()));
            let is = |known: &str| name.trim().eq_ignore_ascii_case(known);
            if is("zstd") {
                zstd = quality;
            } else if is("gzip") || is("x-gzip") {
                gzip = quality;
            } else if is("identity") {
                identity = quality;
            } else if is("*") {
                others = quality;
            }
        }
        let zstd = zstd.or(others).unwrap_or(0);
        let gzip = gzip.or(others).unwrap_or(0);
        let identity = identity.unwrap_or(0);
        if zstd == 0 && gzip == 0 || identity > zstd.max(gzip) {
            Self::Identity
        } else if zstd >= gzip {
            Self::Zstd
        } else {
            Self::Gzip
        }
    }

    /// The value of `Content-Encoding`; `None` for a plain body.
    pub(crate) fn header(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }
}

/// Reads `q=0.5` as 500. What cannot be read counts as wanted.
fn thousandths(text: &str) -> u16 {
    let quality = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="));
    let quality = quality.and_then(|value| value.trim().parse::<f32>().ok()).unwrap_or(1.0);
    // In range after clamping, and a NaN becomes 0.
    (quality.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing(None, Encoding::Identity)]
    #[case::browser(Some("gzip, deflate, br, zstd"), Encoding::Zstd)]
    #[case::older_browser(Some("gzip, deflate, br"), Encoding::Gzip)]
    #[case::prefers_gzip(Some("zstd;q=0.5, gzip;q=0.9"), Encoding::Gzip)]
    #[case::zstd_ruled_out(Some("zstd;q=0, gzip"), Encoding::Gzip)]
    #[case::anything(Some("*"), Encoding::Zstd)]
    #[case::plain_first(Some("identity, gzip;q=0.5"), Encoding::Identity)]
    #[case::unknown(Some("br"), Encoding::Identity)]
    #[case::nonsense(Some(";;,q=,gzip;q=x"), Encoding::Gzip)]
    fn negotiation(#[case] header: Option<&'static str>, #[case] expected: Encoding) {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        assert_eq!(Encoding::negotiate(&headers), expected);
    }
}
