//! A request as it came, for targets that pass it on and for operators who look at it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lz4_flex::block;

use crate::model::Inbound;

/// Headers that hold secrets whoever sends them.
const SECRET: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "x-gitlab-token", "x-api-key"];
/// Of those, the ones that prove to another receiver who sends.
const PROOF: [&str; 3] = ["authorization", "x-gitlab-token", "x-api-key"];

/// What a target needs of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Wants {
    /// Nothing.
    #[default]
    Nothing,
    /// Headers and body.
    Request,
    /// Also what the sender proves itself with.
    Secrets,
}

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The headers that say something about the sender and the body.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Request {
    /// What is kept of a request. `own` says which headers hold a secret of the endpoint.
    pub(crate) fn of(
        request: &Inbound<'_>,
        body: &Bytes,
        wants: Wants,
        own: impl Fn(&str) -> bool,
    ) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            let text = name.as_str();
            let known = text.starts_with("x-")
                || text.starts_with("webhook-")
                || text.starts_with("svix-")
                || text.starts_with("ce-")
                || ["content-type", "user-agent", "traceparent"].contains(&text);
            let own = own(text);
            let secret = Self::is_secret(text) || own;
            let proof = wants == Wants::Secrets && (PROOF.contains(&text) || own);
            if proof || known && !secret {
                let mut value = value.clone();
                value.set_sensitive(secret);
                headers.append(name.clone(), value);
            }
        }
        Self { headers, body: body.clone() }
    }

    /// The headers, and whether each is a secret: whoever sends it, or because it is the endpoint's own.
    pub(crate) fn marked(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue, bool)> {
        self.headers.iter().map(|(name, value)| {
            (name, value, value.is_sensitive() || Self::is_secret(name.as_str()))
        })
    }

    /// Whether a header holds a secret whoever sends it.
    pub(crate) fn is_secret(name: &str) -> bool {
        SECRET.contains(&name)
    }

    /// As bytes, for the journal: small, because all of them are written to disk and most are never
    /// read.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let packed = block::compress_prepend_size(&self.body);
        let (end, body) = match packed.len() < self.body.len() {
            true => (PACKED, &*packed),
            false => (PLAIN, &*self.body),
        };
        let mut bytes = Vec::with_capacity(body.len() + 512);
        for (name, value) in &self.headers {
            let mark = if value.is_sensitive() { OWN } else { 0 };
            for (part, mark) in [(name.as_str().as_bytes(), 0), (value.as_bytes(), mark)] {
                let length = u32::try_from(part.len()).unwrap_or_default();
                bytes.extend_from_slice(&(length | mark).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(&end.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// What [`Self::to_bytes`] wrote.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut headers = HeaderMap::new();
        loop {
            let (length, rest) = bytes.split_first_chunk()?;
            let length = match u32::from_be_bytes(*length) {
                PLAIN => return Some(Self { headers, body: Bytes::copy_from_slice(rest) }),
                PACKED => return Some(Self { headers, body: unpacked(rest)? }),
                length => usize::try_from(length).ok()?,
            };
            let (name, rest) = rest.split_at_checked(length)?;
            let (length, rest) = rest.split_first_chunk()?;
            let length = u32::from_be_bytes(*length);
            let (value, rest) = rest.split_at_checked(usize::try_from(length & !OWN).ok()?)?;
            let name = HeaderName::from_bytes(name).ok()?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(length & OWN != 0);
            headers.append(name, value);
            bytes = rest;
        }
    }
}

/// What stands in the place of a header's length after the last one: the body follows as it came, or
/// packed by LZ4 behind its length.
const PLAIN: u32 = u32::MAX;
const PACKED: u32 = u32::MAX - 1;
/// Marks the length of a value that is a secret. Values are far shorter.
const OWN: u32 = 1 << 31;
/// A byte of LZ4 stands for no more than these.
const MOST_UNPACKED: usize = 255;

fn unpacked(packed: &[u8]) -> Option<Bytes> {
    let (length, rest) = block::uncompressed_size(packed).ok()?;
    // Memory is not taken for what cannot be in there.
    if length > rest.len().saturating_mul(MOST_UNPACKED) {
        return None;
    }
    let body = block::decompress(rest, length).ok()?;
    (body.len() == length).then(|| body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wants: Wants, own: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in [
            "x-github-event",
            "x-gitlab-token",
            "authorization",
            "cookie",
            "content-type",
            "accept",
            "x-mine",
            "webhook-id",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        let body = Bytes::from_static(b"{}");
        let inbound = Inbound { headers: &headers, body: &body, now: 0 };
        let request = Request::of(&inbound, &body, wants, |name| name == own);
        assert_eq!(Request::from_bytes(&request.to_bytes()).as_ref(), Some(&request));
        let mut names: Vec<_> = request.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn secrets_are_left_out_unless_somebody_needs_them() {
        let plain = ["content-type", "webhook-id", "x-github-event"];
        assert_eq!(of(Wants::Request, "x-mine"), plain);
        let all =
            ["authorization", "content-type", "webhook-id", "x-github-event", "x-gitlab-token"];
        assert_eq!(of(Wants::Secrets, ""), [&all[..], &["x-mine"]].concat());
    }

    #[test]
    fn what_is_secret_stays_known() {
        let mut headers = HeaderMap::new();
        for name in ["x-mine", "x-other", "x-gitlab-token"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        let body = Bytes::new();
        let inbound = Inbound { headers: &headers, body: &body, now: 0 };
        let kept = Request::of(&inbound, &body, Wants::Secrets, |name| name == "x-mine");
        let read = Request::from_bytes(&kept.to_bytes()).unwrap();
        for request in [kept, read] {
            let secret = request.marked().filter(|(.., secret)| *secret);
            let mut names: Vec<_> = secret.map(|(name, ..)| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["x-gitlab-token", "x-mine"]);
        }
    }

    #[test]
    fn what_was_written_without_marks_is_read() {
        let read = Request::from_bytes(b"\0\0\0\x03x-a\0\0\0\x01v\xff\xff\xff\xff{}").unwrap();
        assert_eq!(read.headers["x-a"], "v");
        assert_eq!(&*read.body, b"{}");
    }

    fn with(body: impl Into<Bytes>) -> Request {
        Request { headers: HeaderMap::new(), body: body.into() }
    }

    #[test]
    fn bodies_are_packed_if_that_makes_them_smaller() {
        let same = with("0123456789".repeat(700));
        let written = same.to_bytes();
        assert!(written.len() < 100, "{}", written.len());
        assert_eq!(Request::from_bytes(&written), Some(same));
        let zeros = with(vec![0; 10 << 20]);
        assert_eq!(Request::from_bytes(&zeros.to_bytes()), Some(zeros));
        let short = with("{}");
        assert_eq!(short.to_bytes(), b"\xff\xff\xff\xff{}");
    }

    #[test]
    fn lengths_that_are_not_true_take_no_memory() {
        let mut written = with("0123456789".repeat(700)).to_bytes();
        for length in [0_u32, 6999, 7001, u32::MAX] {
            written[4..8].copy_from_slice(&length.to_le_bytes());
            assert_eq!(Request::from_bytes(&written), None, "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>) {
            let _ = Request::from_bytes(&bytes);
            bytes.splice(..0, PACKED.to_be_bytes());
            let _ = Request::from_bytes(&bytes);
        }

        #[test]
        fn what_is_written_is_read(body: Vec<u8>, times in 1_usize..20) {
            let request = with(body.repeat(times));
            assert_eq!(Request::from_bytes(&request.to_bytes()), Some(request));
        }
    }
}
