//! Short words for the tests of sources.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Outcome, Source};
use crate::model::{Inbound, Key, Keys, Refusal};

/// The key of the contract's vectors.
pub(super) const KEY: &[u8] = b"correct-horse-battery-staple-01";

pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn said(refusal: Refusal) -> (u16, String) {
    (refusal.answer.status, refusal.answer.text.into_owned())
}

/// What `verify` says about a request.
pub(super) fn verified(
    source: &dyn Source,
    pairs: &[(&str, &str)],
    body: &str,
) -> Result<(), (u16, String)> {
    let headers = headers(pairs);
    let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
    source.verify(&request, &Keys(vec![Key::new(KEY.to_vec(), None)])).map_err(said)
}

/// The notifications that `parse` makes, as the bytes a Flux v1 daemon gets; otherwise the answer.
pub(super) fn told(
    source: &dyn Source,
    pairs: &[(&str, &str)],
    body: &str,
) -> Result<Vec<String>, (u16, String)> {
    let headers = headers(pairs);
    let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
    match source.parse(&request).map_err(said)? {
        Outcome::Nothing(answer) => Err((answer.status, answer.text.into_owned())),
        Outcome::Events(events) => Ok(events
            .iter()
            .filter_map(|event| event.notice.as_ref())
            .map(|notice| serde_json::to_string(notice).unwrap())
            .collect()),
    }
}

/// The digests of the images that `parse` finds.
pub(super) fn digests(source: &dyn Source, body: &str) -> Vec<Option<String>> {
    let headers = headers(&[]);
    let request = Inbound { headers: &headers, body: body.as_bytes(), now: 0 };
    match source.parse(&request) {
        Ok(Outcome::Events(events)) => {
            events.into_iter().map(|event| event.image.and_then(|image| image.digest)).collect()
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn git(url: &str, branch: &str) -> String {
    format!(r#"{{"Kind":"git","Source":{{"URL":"{url}","Branch":"{branch}"}}}}"#)
}

pub(super) fn image(domain: &str, name: &str) -> String {
    format!(r#"{{"Kind":"image","Source":{{"Name":{{"Domain":"{domain}","Image":"{name}"}}}}}}"#)
}
