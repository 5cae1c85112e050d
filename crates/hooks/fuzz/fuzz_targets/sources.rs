//! Every source, with headers and a body of a stranger's choice: verified, parsed, named.
#![no_main]

use arbitrary::Arbitrary;
use hooks::{
    model::{Inbound, Key, Keys},
    sources::{ALL, Options, named},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

/// Headers that sources look at.
const NAMES: [&str; 24] = [
    "content-type",
    "authorization",
    "x-github-event",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-gitlab-event",
    "x-gitlab-token",
    "x-event-key",
    "x-nexus-webhook-id",
    "x-nexus-webhook-signature",
    "x-gitea-event",
    "x-gitea-signature",
    "x-forgejo-event",
    "x-forgejo-signature",
    "x-gogs-event",
    "x-gogs-signature",
    "x-jfrog-event-auth",
    "x-signature",
    "x-amz-sns-message-type",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "ce-type",
    "ce-specversion",
];

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    source: u8,
    now: i32,
    headers: Vec<(u8, &'a [u8])>,
    body: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let name = ALL[usize::from(input.source) % ALL.len()];
    let options = Options { topics: vec!["arn".to_owned()], ..Options::default() };
    let Some(source) = named(name, &options) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in input.headers {
        let name = HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let request = Inbound { headers: &headers, body: input.body, now: input.now.into() };
    let keys = Keys(vec![Key::new(b"correct-horse-battery-staple-01".to_vec(), None)]);
    let _ = source.verify(&request, &keys);
    let _ = source.parse(&request);
    let _ = source.delivery_id(&request);
});
