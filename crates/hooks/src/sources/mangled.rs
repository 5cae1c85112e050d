//! What senders send, and what owners write, with a few things wrong in it: nothing of that may end
//! the program. The fuzz targets look further, and take longer.

use proptest::{collection::vec, prelude::*};

use super::{ALL, Options, named, sample};
use crate::{
    dialect::flux_recv,
    model::{Inbound, Key, Keys},
    receive::Endpoint,
};

const CONFIG: &str = r#"fluxRecvVersion: 1
api: http://localhost:3030/api/flux
delivery: {ack: downstream, store: /var/lib/hooks, schedule: [0s, 5s], storePayload: failed}
limits: {maxBodyBytes: 1000, rate: {perEndpoint: {perSecond: 1, burst: 2}, exempt: [10.0.0.0/8]}}
targets:
  ci: {type: http, url: "https://ci.example.com/in", filter: {branches: [main, "!old/*"]}}
endpoints:
- {name: code, source: GitHub, keyPath: code.key, keyPaths: [a, {path: b, notAfter: "2031-01-01T00:00:00Z"}],
   filter: {branches: [main, "release/**"], cel: "!event.deleted && req.repository.name.startsWith('a')"}}
- {source: GoogleContainerRegistry, keyPath: k, gcr: {audience: a, email: b}, auth: {type: basic, usernamePath: u, passwordPath: p}}
"#;

/// What is put where something else was.
const PIECES: [&str; 28] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "1e999999",
    "true",
    "\"\\ud800\"",
    "{\"",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\u{0}",
    "\u{feff}",
    "é",
    "refs/heads/",
    "refs/tags/",
    "@sha256:",
    "//",
    "..",
    "%zz",
    "\n- ",
    "&a [*a]",
];

/// One thing that is done to a text: from where, how much goes, what comes, how often.
type Edit = (u16, u8, u8, u8);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    vec((any::<u16>(), 0..24_u8, any::<u8>(), 0..4_u8), 1..6)
}

fn mangled(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for &(at, gone, piece, often) in edits {
        let at = usize::from(at) % (bytes.len() + 1);
        let end = (at + usize::from(gone)).min(bytes.len());
        let piece = PIECES[usize::from(piece) % PIECES.len()].repeat(usize::from(often));
        bytes.splice(at..end, piece.bytes());
    }
    bytes
}

fn endpoint(name: &str) -> Endpoint {
    let key = match name {
        "StandardWebhooks" => "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        _ => "correct-horse-battery-staple-01",
    };
    sample::tests::endpoint(name, key)
}

proptest! {
    #[test]
    fn no_sender_ends_the_program(index in 0..ALL.len(), edits in edits(), other in edits()) {
        let name = ALL[index];
        let endpoint = endpoint(name);
        // Who signs with keys of its own has no sample; what another sends is as good.
        let (mut headers, body) = sample::request(&endpoint, None, None, 1000)
            .or_else(|_| sample::request(&self::endpoint("S3"), None, None, 1000))
            .unwrap();
        let body = mangled(&body, &edits);
        let options = Options { topics: vec!["arn".to_owned()], ..Options::default() };
        let loose = named(name, &options).unwrap();
        let keys = Keys(vec![Key::new(Vec::new(), None)]);
        for source in [&endpoint.source, &loose] {
            let request = Inbound { headers: &headers, body: &body, now: 1000 };
            let _ = source.verify(&request, &endpoint.keys);
            let _ = source.verify(&request, &keys);
            let _ = source.parse(&request);
            let _ = source.delivery_id(&request);
        }
        // And the same with odd headers.
        for (_, value) in &mut headers {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if let Ok(odd) = http::HeaderValue::from_bytes(&mangled(&text, &other)) {
                *value = odd;
            }
        }
        let request = Inbound { headers: &headers, body: &body, now: i64::MAX };
        let _ = endpoint.source.verify(&request, &endpoint.keys);
        let _ = endpoint.source.parse(&request);
        let _ = endpoint.source.delivery_id(&request);
    }

    #[test]
    fn no_file_ends_the_program(edits in edits()) {
        let _ = flux_recv::warnings(&String::from_utf8_lossy(&mangled(CONFIG, &edits)));
    }
}
