//! The configuration file: flux-recv's own fields, and ours beside them.
#![no_main]

use hooks::dialect::flux_recv;
use libfuzzer_sys::fuzz_target;

/// Between them, all that the file may say.
const FILES: [&str; 3] = [
    r#"fluxRecvVersion: 1
api: http://localhost:3030/api/flux
apiTokenPath: token
strict: true
trustedProxies: [10.0.0.0/8, "fd00::/8"]
delivery: {ack: downstream, store: /var/lib/hooks, inlineTimeout: 5s, replay: reject, replayWindow: 5m,
  replayRetention: 24h, schedule: [0s, 5s], retention: 1h, deadRetention: 720h, maxStoreBytes: 1000000,
  deadLetterTarget: ci, storePayload: failed, payloadRetention: 1h, encryptionKeyPath: k}
limits: {maxBodyBytes: 1000, maxHeaderBytes: 1000, maxHeaders: 10, readHeaderTimeout: 5s, readTimeout: 30s,
  minBodyRate: 10, idleTimeout: 1m, maxConnections: 10, maxConnectionsPerAddress: 2, maxInflightBytes: 1000,
  handlerTimeout: 1m, rate: {perEndpoint: {perSecond: 1, burst: 2}, perAddress: {perMinute: 0.5, burst: 1},
  exempt: [10.0.0.0/8]}}
targets:
  ci: {type: http, url: "https://ci.example.com/in", urls: [a], forwardAuth: true, allowHTTP: true,
    allowCIDRs: [10.0.0.1/32], signingKeyPath: s, timeout: 5s, maxConcurrency: 2, rate: 1.5, probe: 1s,
    filter: {branches: [main, "!old/*"], repos: ["team/*"], tags: ["v*"], refs: ["refs/**"]}}
endpoints:
- {source: GitHub, keyPath: k}
"#,
    r#"fluxRecvVersion: 1
endpoints:
- {name: code, source: GitHub, keyPath: code.key, keyPaths: [a, {path: b, notAfter: "2031-01-01T00:00:00Z"}],
   path: /hook/a, allowEmptyKey: true, minAlgorithm: sha256, signature: require, ignoreDeletes: true,
   events: [push], strictStatus: true, ignoreUnwanted: true, targets: [ci], insecure: true,
   filter: {branches: [main, "release/**"], images: [a], imageTags: [b], buckets: [c], keys: [d], paths: [e],
     ignoreDeletes: true, cel: "!event.deleted && req.repository.name.startsWith('a')"},
   allowCIDRs: [10.0.0.0/8], allowedOrigins: ["*"], delivery: {ack: stored, replay: suppress},
   limits: {maxBodyBytes: 5, rate: {perEndpoint: {perSecond: 1e3, burst: 2}}}}
- {source: GoogleContainerRegistry, keyPath: k, gcr: {audience: a, email: b, jwksURL: c, issuers: [d], tokenInfoURL: e},
   auth: {type: basic, usernamePath: u, passwordPath: p}}
- {source: GenericHMAC, header: X-Sig, hmac: {algorithm: sha512, encoding: base64, prefix: "v1=", list: ",",
   signedContent: "{timestamp}.{body}", timestampHeader: X-Time, idHeader: X-Id, tolerance: 5},
   auth: {type: header, name: X-Key, valuePath: v}}
- {source: SNS, topics: [arn], autoConfirm: true, auth: {type: bearer, tokenPath: t}}
- {source: GenericOIDC, issuers: [{url: "https://i.example", audience: a, validations: [{cel: "claims.sub == 'a'", message: m}]}], auth: {type: mtls, subjects: [a]}}
- {source: GitLab, signingKeyPath: s, auth: {type: oidc, issuers: []}}
"#,
    r#"fluxRecvVersion: 1.0
x: &a [1, {b: !!str 2, <<: {c: 0x1f}}]
y: *a
endpoints:
- SOURCE: "Quay"
  KeyPath: >-
    a
    b
  keyPath: |
    c
"#,
];

fuzz_target!(init: hooks_fuzz::seeds(FILES), |text: &str| {
    let _ = flux_recv::warnings(text);
});
