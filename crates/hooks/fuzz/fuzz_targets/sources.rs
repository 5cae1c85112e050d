//! Every source, with headers and a body of a stranger's choice: verified, parsed, named; and what
//! becomes of it is filtered, kept and read again.
#![no_main]

mod requests;

use std::{sync::LazyLock, time::Duration};

use hooks::{
    decide::{
        filter::{Filter, Patterns},
        signature::Algorithm,
    },
    limits::{Bucket, Rate},
    model::{Event, Inbound, Key, Keys},
    receive::{Endpoint, Keep, Pause},
    sources::{
        ALL, Encoding, Google, Hmac, Options, Outcome, SignatureMode, TokenMode, named, sample,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "correct-horse-battery-staple-01";
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// When all of it happens: so that signatures of times stay right.
const NOW: i64 = 1000;
/// Sets of options that requests begin with: none, and every option at least once.
const OPTIONS: [u8; 4] = [0, 0b1111_1111, 0b0101_0110, 0b1010_1011];

static FILTER: LazyLock<Filter> = LazyLock::new(|| {
    let all = || Patterns(vec!["**".to_owned(), "!old/*".to_owned()]);
    Filter {
        events: all(),
        repos: all(),
        branches: all(),
        tags: all(),
        refs: all(),
        images: all(),
        image_tags: all(),
        buckets: all(),
        keys: all(),
        paths: all(),
        ..Filter::default()
    }
});

/// The options that these bits stand for.
fn options(bits: u8) -> Options {
    let set = |bit: u8| bits >> bit & 1 == 1;
    let some = |bit: u8, text: &str| if set(bit) { vec![text.to_owned()] } else { Vec::new() };
    let hmac = Hmac {
        header: Some("X-Sig".to_owned()),
        algorithm: Some(if set(1) { Algorithm::Sha512 } else { Algorithm::Sha256 }),
        encoding: Some(if set(2) { Encoding::Base64 } else { Encoding::Base64Url }),
        prefix: set(3).then(|| "v1=".to_owned()),
        list: Some(",".to_owned()),
        signed_content: Some("{id}.{timestamp}.{body}{".to_owned()),
        timestamp_header: Some("X-Time".to_owned()),
        id_header: Some("X-Id".to_owned()),
        tolerance: None,
    };
    Options {
        registry_host: some(0, "registry.invalid/").concat(),
        google: set(1).then(|| Google { audience: "a".to_owned(), ..Google::default() }),
        minimum: if set(2) { Algorithm::Sha256 } else { Algorithm::Sha1 },
        signature: if set(3) { SignatureMode::Require } else { SignatureMode::Auto },
        ignore_deletes: set(4),
        events: [some(5, "Tag Push Hook"), some(5, "System Hook"), some(5, "UPDATED")].concat(),
        strict_status: set(6),
        signing: set(7).then(|| Keys(vec![Key::new(SECRET.into(), None)])),
        hmac: if set(0) { hmac } else { Hmac::default() },
        topics: vec!["arn".to_owned()],
        auto_confirm: set(1),
        oidc: None,
        ignore_unwanted: set(5),
        allowed_origins: some(7, "*"),
        token_mode: if set(3) { TokenMode::Plain } else { TokenMode::Signature },
        azure_host: set(4).then(|| "ssh.invalid".to_owned()),
        opaque_token: set(6).then(|| Keys(vec![Key::new(KEY.into(), None)])),
    }
}

fn endpoint(source: usize, bits: u8) -> Option<Endpoint> {
    let name = ALL[source % ALL.len()];
    let key = if name == "StandardWebhooks" { SECRET } else { KEY };
    Some(Endpoint {
        name: "a".to_owned(),
        source: named(name, &options(bits))?,
        keys: Keys(vec![Key::new(key.into(), None)]),
        auth: None,
        filter: Filter::default(),
        targets: Vec::new(),
        dead_letter: None,
        body_bytes: None,
        rate: Bucket::new(Rate { per_second: 1.0, burst: 1.0 }),
        keep: Keep::Nothing,
        inline_time: Duration::ZERO,
        allow: Vec::new(),
        pause: Pause::No,
    })
}

/// An input: a byte for the source, one for its options, headers a line each, an empty line, the
/// body.
fn input(source: usize, bits: u8, headers: &HeaderMap, body: &str) -> Vec<u8> {
    let mut input = vec![u8::try_from(source).unwrap_or_default(), bits];
    for (name, value) in headers {
        input.extend([name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"].concat());
    }
    input.push(b'\n');
    input.extend_from_slice(body.as_bytes());
    input
}

/// What every source accepts, signed: its sample, and what else it reads.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let (open, close) = ("[".repeat(125), "]".repeat(125));
    let deep = format!(r#"{{"version":"4","status":"firing","alerts":[{open}{close}]}}"#);
    for (index, name) in ALL.into_iter().enumerate() {
        for bits in OPTIONS {
            let Some(endpoint) = endpoint(index, bits) else { continue };
            let others = requests::ALL.iter().filter(|(sources, ..)| sources.contains(&name));
            let bodies = others.map(|(_, event, body)| (Some(*event), Some((*body).to_owned())));
            for (event, body) in [(None, None)].into_iter().chain(bodies) {
                let plain = body.clone().unwrap_or_default();
                let event = event.filter(|event| !event.is_empty());
                let (headers, body) = sample::request(&endpoint, event, body, NOW)
                    .unwrap_or_else(|_| (requests::sns(), plain));
                seeds.push(input(index, bits, &headers, &body));
            }
            seeds.push(input(index, bits, &HeaderMap::new(), &deep));
        }
    }
    seeds
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let at = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..at], &line[at + 1..]);
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

/// Whether an event comes out of the journal as it went in. There it is part of more.
fn keeps(event: &Event) -> bool {
    let kept = serde_json::to_vec(&[[[event]]]).unwrap_or_default();
    serde_json::from_slice::<[[[Event; 1]; 1]; 1]>(&kept)
        .is_ok_and(|[[[read]]]| read.kind == event.kind && read.notice == event.notice)
}

fuzz_target!(init: hooks_fuzz::seeds(seeds()), |data: &[u8]| {
    let [source, bits, rest @ ..] = data else { return };
    let Some(endpoint) = endpoint((*source).into(), *bits) else { return };
    let mut headers = HeaderMap::new();
    let mut body = rest;
    while let Some(end) = body.iter().position(|&byte| byte == b'\n') {
        let line = &body[..end];
        body = &body[end + 1..];
        match header(line) {
            Some((name, value)) => _ = headers.append(name, value),
            None if line.is_empty() => break,
            None => {}
        }
    }
    let request = Inbound { headers: &headers, body, now: NOW };
    let source = &endpoint.source;
    let _ = source.verify(&request, &endpoint.keys);
    let _ = source.verify(&Inbound { now: i64::MIN, ..request }, &endpoint.keys);
    let _ = source.delivery_id(&request);
    let _ = request.text("origin").map(|origin| source.allows(origin));
    let _ = request.traceparent();
    let Ok(Outcome::Events(events)) = source.parse(&request) else { return };
    for event in events {
        let _ = FILTER.passes(&event);
        assert!(keeps(&event), "{event:?}");
    }
});
