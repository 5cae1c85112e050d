//! Senders that prove themselves with tokens of an issuer: rows 40 and 41 of §5, and from end to end.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::kit::*;

#[test]
fn row_40_tokens_that_are_none() {
    let daemon = Daemon::start();
    let config = daemon.config("- {source: GoogleContainerRegistry, keyPath: k, gcr: {audience: me, jwksURL: \"http://127.0.0.1:1/\"}}");
    let server = Server::start(&config, &[("k", KEY)]);
    let long = format!("Bearer {}", "a".repeat(40_000));
    // {"alg":"none"}, {"alg":"HS256","kid":"1"}, {"alg":"RS256","kid":"1"}
    for token in [
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Bearer eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.e30.AA",
        "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.AA",
        "Bearer x",
        "Bearer",
        "",
        &long,
    ] {
        let answer = post(&server, &Server::path(KEY), &[("Authorization", token)], "{}");
        assert_eq!(answer.said(), (200, "Cannot authorize request\n"));
    }
    assert_eq!(daemon.take(), [""; 0]);
}

/// A key of a token issuer, and tokens signed with it.
struct Issuer(aws_lc_rs::rsa::KeyPair);

impl Issuer {
    fn new() -> Self {
        Self(aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap())
    }

    /// The key set, under the id `1`.
    fn keys(&self) -> &'static str {
        use aws_lc_rs::signature::KeyPair as _;
        let public = self.0.public_key();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (n, e) = (public.modulus(), public.exponent());
        let (n, e) =
            (part(n.big_endian_without_leading_zero()), part(e.big_endian_without_leading_zero()));
        let keys = format!(
            r#"{{"keys":[{{"kty":"RSA","alg":"RS256","use":"sig","kid":"1","n":"{n}","e":"{e}"}}]}}"#
        );
        Box::leak(keys.into_boxed_str())
    }

    fn token(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        let how = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
        self.0.sign(how, &random, text.as_bytes(), &mut signature).unwrap();
        format!("Bearer {text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

const CLAIMS: &str =
    r#"{"iss":"accounts.google.com","aud":"me","exp":99999999999,"iat":1,"email_verified":true}"#;

#[test]
fn row_41_keys_are_kept_while_their_issuer_is_away() {
    let (daemon, keys) = (Daemon::start(), Daemon::start());
    let issuer = Issuer::new();
    // Stale at once: only the pause between two looks and the patience with old keys count.
    keys.set(Behaviour::Say(200, issuer.keys(), "Cache-Control: max-age=0\r\n"));
    let config = daemon.config(&format!(
        "- {{source: GoogleContainerRegistry, keyPath: k, gcr: {{audience: me, jwksURL: \"http://{}/\"}}}}",
        keys.address
    ));
    let server = Server::start(&config, &[("k", KEY)]);
    // {"action":"INSERT","tag":"gcr.io/p/app:1"}
    let body = r#"{"message":{"data":"eyJhY3Rpb24iOiJJTlNFUlQiLCJ0YWciOiJnY3IuaW8vcC9hcHA6MSJ9"}}"#;
    let send = |token: &str| {
        let answer = post(&server, &Server::path(KEY), &[("Authorization", token)], body);
        (answer.status, answer.body)
    };
    let refused = (200, "Cannot authorize request\n".to_owned());
    let good = issuer.token(r#"{"alg":"RS256","kid":"1"}"#, CLAIMS);
    assert_eq!(send(&good), (200, String::new()));
    keys.set(Behaviour::Reset);
    assert_eq!(send(&good), (200, String::new()));
    assert_eq!(daemon.take().len(), 2);
    let none = issuer.token(r#"{"alg":"RS256","kid":"2"}"#, CLAIMS);
    assert_eq!(send(&none), refused);
    let other = Issuer::new().token(r#"{"alg":"RS256","kid":"1"}"#, CLAIMS);
    assert_eq!(send(&other), refused);
    for claims in [CLAIMS.replace("\"me\"", "\"you\""), CLAIMS.replace("99999999999", "9")] {
        assert_eq!(send(&issuer.token(r#"{"alg":"RS256","kid":"1"}"#, &claims)), refused);
    }
    assert_eq!(daemon.take(), [""; 0]);
    assert_eq!(keys.take().len(), 1, "one look within a minute, whatever is asked for");
}

#[test]
fn row_41_a_slow_issuer_is_not_waited_for() {
    let (daemon, keys) = (Daemon::start(), Daemon::start());
    keys.set(Behaviour::Hang);
    let config = daemon.config(&format!(
        "- {{source: GoogleContainerRegistry, keyPath: k, gcr: {{audience: me, jwksURL: \"http://{}/\"}}}}",
        keys.address
    ));
    let server = Server::start(&config, &[("k", KEY)]);
    let token = Issuer::new().token(r#"{"alg":"RS256","kid":"1"}"#, CLAIMS);
    let start = Instant::now();
    let answer = post(&server, &Server::path(KEY), &[("Authorization", &token)], "{}");
    assert_eq!(answer.said(), (200, "Cannot authorize request\n"));
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert_eq!(daemon.take(), [""; 0]);
}

const HEADER: &str = r#"{"alg":"RS256","kid":"1"}"#;

/// A running issuer: its description and its keys in one, whatever it is asked for.
struct Published {
    issuer: Issuer,
    daemon: Daemon,
}

impl Published {
    fn start() -> Self {
        let (issuer, daemon) = (Issuer::new(), Daemon::start());
        let keys = issuer.keys().strip_prefix('{').unwrap();
        let url = format!("http://{}", daemon.address);
        let text = format!(r#"{{"issuer":"{url}","jwks_uri":"{url}/keys",{keys}"#);
        daemon.set(Behaviour::Say(200, Box::leak(text.into_boxed_str()), ""));
        Self { issuer, daemon }
    }

    fn url(&self) -> String {
        format!("http://{}", self.daemon.address)
    }

    /// A token with these claims beside the usual ones, which they may replace.
    fn token(&self, change: &[(&str, &str)]) -> String {
        let url = format!("\"{}\"", self.url());
        let mut claims = vec![
            ("iss", &*url),
            ("aud", "\"hooks\""),
            ("exp", "99999999999"),
            ("iat", "1"),
            ("repository", "\"team/app\""),
        ];
        for (name, value) in change {
            claims.retain(|(known, _)| known != name);
            claims.push((name, value));
        }
        claims.retain(|(_, value)| !value.is_empty());
        let claims = claims.iter().map(|(name, value)| format!("\"{name}\":{value}"));
        let claims = format!("{{{}}}", claims.collect::<Vec<_>>().join(","));
        self.issuer.token(HEADER, &claims)
    }
}

#[test]
fn senders_with_a_token_of_the_issuer_are_let_in() {
    let (daemon, published) = (Daemon::start(), Published::start());
    let issuers = format!(
        "issuers: [{{url: \"{}\", audience: hooks, validations: [{{cel: \"claims.repository == 'team/app'\", message: another repository}}]}}]",
        published.url()
    );
    let config = format!(
        "fluxRecvVersion: 1\ntargets: {{ci: {{type: http, url: \"http://{}/in\", allowHTTP: true, allowCIDRs: [127.0.0.0/8]}}}}\n\
         endpoints:\n\
         - {{source: Quay, keyPath: k1, targets: [ci], auth: {{type: oidc, {issuers}}}}}\n\
         - {{source: GenericOIDC, keyPath: k2, targets: [ci], {issuers}, filter: {{cel: \"claims.ref != 'refs/heads/old'\"}}}}\n",
        daemon.address
    );
    let server = Server::start(&config, &[("k1", KEY), ("k2", "another-key-of-a-length")]);
    let paths = [Server::path(KEY), Server::path("another-key-of-a-length")];
    let send = |path: &str, token: &str| {
        let headers = [("Authorization", token), ("Content-Type", "application/json")];
        let answer = post(&server, path, &headers, r#"{"docker_url":"quay.io/team/app"}"#);
        (answer.status, answer.body)
    };
    let main = ("ref", "\"refs/heads/main\"");
    for path in &paths {
        assert_eq!(send(path, &published.token(&[main])).0, 200);
        assert_eq!(daemon.take().len(), 1, "{path}");
        let many = published.token(&[main, ("aud", r#"["other","hooks"]"#)]);
        assert_eq!(send(path, &many).0, 200);
        assert_eq!(daemon.take().len(), 1, "{path}");
        let none = format!("Bearer {}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"1"}"#));
        let other = Published { issuer: Issuer::new(), daemon: Daemon::start() };
        for token in [
            published.token(&[main, ("repository", "\"team/other\"")]),
            published.token(&[main, ("repository", "")]),
            published.token(&[main, ("aud", "\"other\"")]),
            published.token(&[main, ("exp", "9")]),
            published.token(&[main, ("exp", "")]),
            published.token(&[main, ("iat", "99999999999")]),
            published.token(&[main, ("iss", "\"http://127.0.0.1:1\"")]),
            other.token(&[main]),
            other.token(&[main, ("iss", &format!("\"{}\"", published.url()))]),
            none,
            "Bearer".to_owned(),
        ] {
            assert_eq!(send(path, &token), (401, "invalid signature\n".to_owned()), "{token}");
        }
        assert_eq!(daemon.take(), [""; 0]);
    }
    // Filters see what the token says.
    let old = published.token(&[("ref", "\"refs/heads/old\"")]);
    assert_eq!(send(&paths[1], &old).0, 200);
    assert_eq!(daemon.take(), [""; 0]);
    let looks = published.daemon.calls();
    assert!(looks[0].line.contains("/.well-known/openid-configuration"), "{looks:?}");
    assert!(!server.stderr().contains("eyJ"), "no token is logged");
}

/// What the push service sends: `{"action":"INSERT","tag":"gcr.io/p/app:1"}`.
const PUSHED: &str =
    r#"{"message":{"data":"eyJhY3Rpb24iOiJJTlNFUlQiLCJ0YWciOiJnY3IuaW8vcC9hcHA6MSJ9"}}"#;

#[test]
fn pushes_of_google_are_those_of_the_right_account() {
    let (daemon, published) = (Daemon::start(), Published::start());
    let config = daemon.config(&format!(
        "- {{source: GoogleContainerRegistry, keyPath: k, gcr: {{audience: hooks, email: push@p.example, jwksURL: \"{}/keys\"}}}}",
        published.url()
    ));
    let server = Server::start(&config, &[("k", KEY)]);
    let send = |token: &str| {
        let answer = post(&server, &Server::path(KEY), &[("Authorization", token)], PUSHED);
        (answer.status, answer.body)
    };
    let google = ("iss", "\"https://accounts.google.com\"");
    let (account, verified) = (("email", "\"push@p.example\""), ("email_verified", "true"));
    assert_eq!(send(&published.token(&[google, account, verified])), (200, String::new()));
    let image = r#"{"Kind":"image","Source":{"Name":{"Domain":"gcr.io","Image":"p/app"}}}"#;
    assert_eq!(daemon.take(), [image]);
    for change in [
        &[google, account][..],
        &[google, account, ("email_verified", "false")],
        &[google, ("email", "\"else@p.example\""), verified],
        &[account, verified],
        &[],
    ] {
        let refused = (200, "Cannot authorize request\n".to_owned());
        assert_eq!(send(&published.token(change)), refused, "{change:?}");
    }
    assert_eq!(daemon.take(), [""; 0]);
}

#[test]
fn googles_own_service_can_be_asked_as_the_original_did() {
    let (daemon, service) = (Daemon::start(), Daemon::start());
    let config = daemon.config(&format!(
        "- {{source: GoogleContainerRegistry, keyPath: k, strictStatus: true, gcr: {{audience: hooks, tokenInfoURL: \"http://{}/tokeninfo\"}}}}",
        service.address
    ));
    let server = Server::start(&config, &[("k", KEY)]);
    let send =
        || post(&server, &Server::path(KEY), &[("Authorization", "Bearer a&b=c")], PUSHED).status;
    service.set(Behaviour::Say(200, r#"{"aud":"hooks"}"#, ""));
    assert_eq!(send(), 200);
    assert_eq!(daemon.take().len(), 1);
    let asked = service.calls().remove(0).line;
    assert_eq!(asked, "GET /tokeninfo?id_token=a%26b%3Dc HTTP/1.1");
    for behaviour in [
        Behaviour::Say(200, r#"{"aud":"other"}"#, ""),
        Behaviour::Say(200, "hooks", ""),
        Behaviour::Say(400, r#"{"aud":"hooks"}"#, ""),
        Behaviour::Reset,
    ] {
        service.set(behaviour);
        assert_eq!(send(), 401);
    }
    assert_eq!(daemon.take(), [""; 0]);
}
