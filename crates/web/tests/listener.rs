//! The listener over real connections: limits, order of the stack, bad framing, a clean end.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::{any, get, post},
};
use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use web::{
    Error, Handler, Head, Kind,
    listener::{BindError, Drain, Limits, Stack, bind, read},
    metrics::{self, Requests},
};

const DEADLINE: Duration = Duration::from_secs(20);

fn render(error: &Error, _head: &Head) -> Response {
    let status = match error.kind() {
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = Body::from(format!("dialect: {}", error.message()));
    Response::builder().status(status).body(body).unwrap()
}

async fn start(router: impl Into<Handler>, limits: Limits) -> (SocketAddr, Drain) {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.address();
    let drain = Drain::new();
    tokio::spawn(listener.serve(router.into(), limits, drain.clone()));
    (address, drain)
}

fn app() -> Handler {
    stack().wrap(routes())
}

fn stack() -> Stack {
    Stack::new("test", render).body_limit(1000).answer_within(Duration::from_millis(200))
}

fn routes() -> Router {
    let length = |body: Body| async {
        match read(body).await {
            Ok(bytes) => Response::new(Body::from(bytes.len().to_string())),
            Err(error) => render(&error, &head()),
        }
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/page", get(|| async { axum::response::Html("<p>") }))
        .route("/extractor", post(|body: Bytes| async move { body.len().to_string() }))
        .route(
            "/raw",
            post(|body: Body| async { axum::response::IntoResponse::into_response(body) }),
        )
        .route("/length", post(length))
        .route("/panic", any(|| async { panic!("boom") as () }))
        .route("/slow", get(std::future::pending::<()>))
}

fn head() -> Head {
    Head::of(&Request::get("/").body(()).unwrap().into_parts().0)
}

/// Sends bytes and reads until the server closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let send = async {
        // The server may answer and close before it has taken everything.
        let _ = writer.write_all(request).await;
    };
    let receive = async {
        let _ = timeout(DEADLINE, reader.read_to_end(&mut answer)).await.expect("no answer");
    };
    tokio::join!(send, receive);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn request(address: SocketAddr, line: &str, more: &str) -> String {
    let text = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}");
    exchange(address, text.as_bytes()).await
}

#[tokio::test]
async fn every_answer_has_an_id_and_pages_have_their_headers() {
    let (address, _drain) = start(app(), Limits::default()).await;
    let plain = request(address, "GET /", "\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 200"), "{plain}");
    assert!(plain.contains("x-request-id: "), "{plain}");
    assert!(!plain.contains("content-security-policy"), "{plain}");
    let page = request(address, "GET /page", "\r\n").await;
    for name in ["content-security-policy: default-src 'self'", "x-frame-options: DENY"] {
        assert!(page.contains(name), "{page}");
    }
}

#[tokio::test]
async fn long_heads_are_answered_with_431() {
    let (address, _drain) = start(app(), Limits::default()).await;
    let long = "a".repeat(129 << 10);
    let answer = request(address, "GET /", &format!("x-long: {long}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = (0..300).map(|index| format!("x-{index}: 1\r\n")).collect::<String>();
    let answer = request(address, "GET /", &format!("{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let fits = "a".repeat(100 << 10);
    let answer = request(address, "GET /", &format!("x-long: {fits}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn the_body_limit_covers_every_way_of_reading() {
    let (address, _drain) = start(app(), Limits::default()).await;
    let body = "a".repeat(3000);
    let sized = format!("content-length: 3000\r\n\r\n{body}");
    let chunked = format!("transfer-encoding: chunked\r\n\r\nbb8\r\n{body}\r\n0\r\n\r\n");
    for path in ["/extractor", "/length", "/raw"] {
        let answer = request(address, &format!("POST {path}"), &sized).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        assert!(answer.ends_with("dialect: http: request body too large"), "{answer}");
    }
    for path in ["/extractor", "/length"] {
        let answer = request(address, &format!("POST {path}"), &chunked).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
    }
    let raw = request(address, "POST /raw", &chunked).await;
    assert!(!raw.contains(&body), "a raw body passed the limit");
    let fits = format!("content-length: 1000\r\n\r\n{}", "a".repeat(1000));
    let answer = request(address, "POST /extractor", &fits).await;
    assert!(answer.ends_with("\r\n\r\n1000"), "{answer}");
}

#[tokio::test]
async fn a_far_too_long_body_still_gets_its_answer() {
    let (address, _drain) = start(app(), Limits::default()).await;
    let sized = format!("content-length: 5242880\r\n\r\n{}", "a".repeat(5 << 20));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /extractor HTTP/1.1\r\nhost: localhost\r\n";
    let _ = stream.write_all(format!("{head}{sized}").as_bytes()).await;
    // Whether the answer survives the reset is up to the system; the server must survive.
    drop(stream);
    assert!(request(address, "GET /", "\r\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_panic_is_an_answer_in_the_words_of_the_dialect() {
    let (address, _drain) = start(app(), Limits::default()).await;
    let answer = request(address, "GET /panic", "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.contains("dialect: the server encountered a problem"), "{answer}");
    assert!(!answer.contains("boom"), "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");
}

#[tokio::test]
async fn a_handler_that_never_answers_is_answered_for() {
    let (address, _drain) = start(app(), Limits::default()).await;
    let answer = request(address, "GET /slow", "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let limits = Limits { header_time: Duration::from_millis(100), ..Limits::default() };
    let (address, _drain) = start(app(), limits).await;
    let answer = exchange(address, b"GET / HTTP/1.1\r\nhost: loc").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn a_connection_may_idle_longer_than_a_head_may_take() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let header_time = Duration::from_millis(100);
    let (address, _drain) = start(app(), Limits { header_time, ..Limits::default() }).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    for stream in [&mut idle, &mut slow] {
        stream.write_all(GET).await.unwrap();
        assert!(until(stream, b"hello").await);
    }
    slow.write_all(&GET[..20]).await.unwrap();
    assert!(!until(&mut slow, b"hello").await, "a later head has no more time than the first");
    idle.write_all(GET).await.unwrap();
    assert!(until(&mut idle, b"hello").await, "it was idle for as long");

    let limits = Limits { header_time, idle_time: header_time, ..Limits::default() };
    let (address, _drain) = start(app(), limits).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(GET).await.unwrap();
    assert!(until(&mut idle, b"hello").await);
    assert!(!until(&mut idle, b"hello").await, "not for ever");
}

/// Reads until these bytes have come, or the end.
async fn until(stream: &mut TcpStream, end: &[u8]) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        let read = timeout(DEADLINE, stream.read_buf(&mut seen)).await.expect("no answer");
        if read.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_tunnel_may_be_quiet_for_longer_than_a_head_may_take() {
    let tunnel = |mut request: axum::extract::Request| async move {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = hyper_util::rt::TokioIo::new(upgraded.await.unwrap());
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                stream.write_all(&byte).await.unwrap();
            }
        });
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        answer
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(Body::empty())
            .unwrap()
    };
    let limits = Limits { header_time: Duration::from_millis(50), ..Limits::default() };
    let router = stack().wrap(routes().route("/tunnel", get(tunnel)));
    let (address, _drain) = start(router, limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = b"GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert!(until(&mut stream, b"\r\n\r\n").await);
    for byte in [b"a", b"b"] {
        stream.write_all(byte).await.unwrap();
        assert!(until(&mut stream, byte).await);
        // Another connection waits for its head as long as this one is quiet.
        assert!(!exchange(address, b"GET / HTTP/1.1\r\nhost: loc").await.contains("200"));
    }
}

#[tokio::test]
async fn a_body_may_go_on_after_the_answer_has_begun() {
    let limits = Limits { header_time: Duration::from_millis(50), ..Limits::default() };
    let (address, _drain) = start(app(), limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /raw HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in ["one", "two"] {
        stream.write_all(format!("3\r\n{piece}\r\n").as_bytes()).await.unwrap();
        assert!(until(&mut stream, format!("{piece}\r\n").as_bytes()).await);
        // Another connection waits for its head as long as this one is quiet.
        assert!(!exchange(address, b"GET / HTTP/1.1\r\nhost: loc").await.contains("200"));
    }
}

#[tokio::test]
async fn ambiguous_framing_is_refused_or_read_one_way() {
    let (address, _drain) = start(app(), Limits::default()).await;
    let two_lengths = "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
    let answer = request(address, "POST /extractor", two_lengths).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let odd_coding = "transfer-encoding: chunked, identity\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = request(address, "POST /extractor", odd_coding).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    // Length and chunks at once: the chunks count, and what follows is no second request.
    let smuggled = "POST /extractor HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\
                    transfer-encoding: chunked\r\n\r\n1\r\nA\r\n0\r\n\r\nX";
    let answer = exchange(address, smuggled.as_bytes()).await;
    assert!(answer.matches("HTTP/1.1 200").count() <= 1, "{answer}");
    let folded = "x-a: 1\r\n host: evil.example\r\n\r\n";
    let answer = request(address, "GET /", folded).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_taken_port_is_explained() {
    let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let error = bind(first.address()).await.unwrap_err();
    assert!(matches!(error, BindError::InUse(_)));
    assert!(error.to_string().contains("is in use"), "{error}");
}

#[tokio::test]
async fn a_stop_waits_for_the_answer_that_is_due() {
    let arrived = Arc::new(Notify::new());
    let go_on = Arc::new(Notify::new());
    let (seen, gate) = (Arc::clone(&arrived), Arc::clone(&go_on));
    let handler = move || async move {
        seen.notify_one();
        gate.notified().await;
        "done"
    };
    let router = Stack::new("test", render).wrap(Router::new().route("/", get(handler)));
    let (address, drain) = start(router, Limits::default()).await;
    let client = tokio::spawn(async move { request(address, "GET /", "\r\n").await });
    arrived.notified().await;
    let stop = tokio::spawn(async move { drain.stop(DEADLINE).await });
    go_on.notify_one();
    assert!(client.await.unwrap().ends_with("done"));
    assert!(stop.await.unwrap(), "ended within the grace");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stop_ends_what_outlasts_the_grace() {
    let arrived = Arc::new(Notify::new());
    let seen = Arc::clone(&arrived);
    let handler = move || async move {
        seen.notify_one();
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/", get(handler));
    let (address, drain) = start(router, Limits::default()).await;
    let client = tokio::spawn(async move { request(address, "GET /", "\r\n").await });
    arrived.notified().await;
    assert!(!drain.stop(Duration::from_millis(50)).await);
    assert_eq!(client.await.unwrap(), "");
}

#[tokio::test]
async fn requests_are_counted_by_the_pattern_of_their_route() {
    let mut registry = metrics::registry();
    let requests = Requests::new(&mut registry);
    let router = Router::new()
        .route("/of/{name}", get(|| async { "hello" }))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/slow", get(std::future::pending::<()>));
    let router = Stack::new("test", render).counted(&requests).wrap(router);
    let (address, _drain) = start(router, Limits::default()).await;
    for path in ["/of/a", "/of/b", "/broken", "/nowhere", "/nowhere/else"] {
        request(address, &format!("GET {path}"), "\r\n").await;
    }
    request(address, "BREW /of/a", "\r\n").await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let text = async || {
        let answer = metrics::answer(&registry).unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let in_flight = |text: &str| text.contains("qm_http_requests_in_flight{listener=\"test\"} 1\n");
    within_deadline(async || in_flight(&text().await)).await;
    let all = text().await;
    let of = |method: &str, route: &str, status: &str, count: u8| {
        format!(
            "qm_http_requests_total{{listener=\"test\",method=\"{method}\",route=\"{route}\",\
             status=\"{status}\"}} {count}\n"
        )
    };
    for line in [
        of("GET", "/of/{name}", "2xx", 2),
        of("other", "/of/{name}", "4xx", 1),
        of("GET", "/broken", "5xx", 1),
        of("GET", "none", "4xx", 2),
    ] {
        assert!(all.contains(&line), "{line}{all}");
    }
    let times =
        "qm_http_request_seconds_count{listener=\"test\",method=\"GET\",route=\"/broken\"} 1\n";
    assert!(all.contains(times), "{all}");
    assert!(all.ends_with("# EOF\n"), "{all}");
    drop(slow);
    within_deadline(async || !in_flight(&text().await)).await;
}

async fn within_deadline(wanted: impl AsyncFn() -> bool) {
    let wait = async {
        while !wanted().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, wait).await.expect("it does not come true");
}
