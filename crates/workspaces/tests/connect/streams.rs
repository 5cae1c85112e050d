//! Streams and tunnels: nothing is held, and both ends learn of the other's end.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::Response,
    routing::{any, get},
};
use futures::{SinkExt as _, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message, client::IntoClientRequest as _, handshake::derive_accept_key, protocol::Role,
    },
};
use workspaces::connect::Limits;

use crate::kit::{self, DEADLINE, PATH, Setup, until};

fn channel_body() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let stream = stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Bytes>| async {
        receiver.recv().await.map(|bytes| (Ok::<_, Infallible>(bytes), receiver))
    });
    (sender, Body::from_stream(stream))
}

#[tokio::test]
async fn bytes_pass_as_they_come_in_both_directions_at_once() {
    let echo = any(|request: Request| async { Response::new(request.into_body()) });
    let setup = Setup::new(kit::program(Router::new().fallback(echo)).await).await;
    let (sender, body) = channel_body();
    sender.send(Bytes::from_static(b"first")).unwrap();
    let mut answer = setup.open(Method::POST, PATH, body).await.into_body();
    for word in [&b"first"[..], b"second", b"third"] {
        if word != b"first" {
            sender.send(Bytes::copy_from_slice(word)).unwrap();
        }
        let frame = timeout(DEADLINE, answer.frame()).await.expect("in time").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(sender);
    assert!(timeout(DEADLINE, answer.frame()).await.expect("in time").is_none());
}

#[tokio::test]
async fn events_arrive_one_by_one_and_leaving_ends_the_program_s_work() {
    let gone = Arc::new(AtomicBool::new(false));
    struct Mark(Arc<AtomicBool>);
    impl Drop for Mark {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (sender, receiver) = mpsc::unbounded_channel::<&str>();
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let flag = Arc::clone(&gone);
    let events = get(move || {
        let mark = Mark(Arc::clone(&flag));
        let receiver = Arc::clone(&receiver);
        async move {
            let events = stream::unfold((receiver, mark), |(receiver, mark)| async {
                let event = receiver.lock().await.recv().await?;
                Some((Ok::<_, Infallible>(Bytes::from(event)), (receiver, mark)))
            });
            ([("content-type", "text/event-stream")], Body::from_stream(events))
        }
    });
    let setup = Setup::new(kit::program(Router::new().fallback(events)).await).await;
    let response = setup.open(Method::GET, PATH, Body::empty()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(event).unwrap();
        let frame = timeout(DEADLINE, body.frame()).await.expect("in time").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    assert!(!gone.load(Ordering::SeqCst));
    drop(body);
    until("the program's stream is dropped", || gone.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn leaving_before_the_answer_ends_the_program_s_work() {
    let state = Arc::new(AtomicU64::new(0));
    struct Mark(Arc<AtomicU64>);
    impl Drop for Mark {
        fn drop(&mut self) {
            self.0.store(2, Ordering::SeqCst);
        }
    }
    let shared = Arc::clone(&state);
    let handler = move || {
        let mark = Mark(Arc::clone(&shared));
        async move {
            mark.0.store(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
    };
    let setup = Setup::new(kit::program(Router::new().fallback(handler)).await).await;
    let mut stream = tokio::net::TcpStream::connect(setup.apps).await.unwrap();
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\n\r\n",
        setup.apps,
        setup.bearer()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    until("the program works", || state.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    until("the program is told", || state.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_mistaken_for_a_whole_one() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let program = socket.local_addr().unwrap();
    tokio::spawn(async move {
        for framing in
            ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf"]
        {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\n{framing}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let setup = Setup::new(program).await;
    for _ in 0..2 {
        let response = setup.open(Method::GET, PATH, Body::empty()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.into_body().collect().await.is_err());
    }
}

#[tokio::test]
async fn a_stream_without_life_is_given_up() {
    let silent = || async { Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()) };
    let program = kit::program(Router::new().fallback(silent)).await;
    let limits = Limits { idle: Duration::from_millis(50), ..Limits::default() };
    let setup = Setup::with_limits(program, limits).await;
    let response = setup.open(Method::GET, PATH, Body::empty()).await;
    let end = timeout(DEADLINE, response.into_body().collect()).await.expect("in time");
    assert!(end.is_err());
}

#[tokio::test]
async fn too_many_requests_at_once_are_told_to_wait() {
    let silent = || async { Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()) };
    let program = kit::program(Router::new().fallback(silent)).await;
    let limits = Limits { concurrent: 1, ..Limits::default() };
    let setup = Setup::with_limits(program, limits).await;
    let held = setup.open(Method::GET, PATH, Body::empty()).await;
    let refused = setup.get(PATH).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "1");
    drop(held);
}

#[tokio::test]
async fn trailers_arrive() {
    let handler = || async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"body"))),
            Ok(Frame::trailers(trailers)),
        ];
        let mut response = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        response
    };
    let setup = Setup::new(kit::program(Router::new().fallback(handler)).await).await;
    let bearer = setup.bearer();
    let headers = [("authorization", bearer.as_str()), ("te", "trailers")];
    let response = kit::request(setup.apps, Method::GET, PATH, &headers, Body::empty()).await;
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "42");
    assert_eq!(collected.to_bytes(), "body");
}

/// A program that echoes WebSocket messages.
fn echo() -> Router {
    let handler = |mut request: Request| async move {
        let key = request.headers()["sec-websocket-key"].as_bytes().to_vec();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err()
                {
                    break;
                }
            }
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", derive_accept_key(&key))
            .body(Body::empty())
            .unwrap()
    };
    Router::new().fallback(handler)
}

async fn websocket(setup: &Setup) -> WebSocketStream<tokio::net::TcpStream> {
    let mut request = format!("ws://{}{PATH}channels", setup.apps).into_client_request().unwrap();
    request.headers_mut().insert("authorization", setup.bearer().parse().unwrap());
    let origin = format!("http://{}", setup.apps);
    request.headers_mut().insert("origin", origin.parse().unwrap());
    let stream = tokio::net::TcpStream::connect(setup.apps).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

#[tokio::test]
async fn a_websocket_is_a_tunnel() {
    let setup = Setup::new(kit::program(echo()).await).await;
    let mut socket = websocket(&setup).await;
    for size in [0, 1, 125, 70_000, 3_000_000] {
        let message = Message::binary(vec![7; size]);
        socket.send(message.clone()).await.unwrap();
        let answer = timeout(DEADLINE, socket.next()).await.expect("in time");
        assert_eq!(answer.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    let end = timeout(DEADLINE, socket.next()).await.expect("in time");
    assert!(matches!(end, Some(Ok(Message::Close(_))) | None), "{end:?}");
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_websocket() {
    let setup = Setup::new(kit::program(echo()).await).await;
    let mut request = format!("ws://{}{PATH}", setup.apps).into_client_request().unwrap();
    request.headers_mut().insert("authorization", setup.bearer().parse().unwrap());
    let origin = format!("http://{}", setup.api);
    request.headers_mut().insert("origin", origin.parse().unwrap());
    let stream = tokio::net::TcpStream::connect(setup.apps).await.unwrap();
    let error = client_async(request, stream).await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
}

#[tokio::test]
async fn a_stop_ends_tunnels_after_the_grace() {
    let setup = Setup::new(kit::program(echo()).await).await;
    let mut socket = websocket(&setup).await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    let drain = setup.drain.clone();
    let clean = timeout(DEADLINE, drain.stop(Duration::from_millis(50))).await.expect("in time");
    assert!(!clean, "the tunnel outlasted the grace");
    let end = timeout(DEADLINE, socket.next()).await.expect("in time");
    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
}

#[tokio::test]
async fn an_idle_tunnel_is_closed() {
    let limits = Limits { idle: Duration::from_millis(50), ..Limits::default() };
    let setup = Setup::with_limits(kit::program(echo()).await, limits).await;
    let mut socket = websocket(&setup).await;
    let end = timeout(DEADLINE, socket.next()).await.expect("in time");
    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_refused() {
    let handler = || async {
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "anything")
            .body(Body::empty())
            .unwrap()
    };
    let setup = Setup::new(kit::program(Router::new().fallback(handler)).await).await;
    assert_eq!(setup.get(PATH).await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn an_upgrade_to_any_protocol_passes_raw_bytes() {
    let handler = |mut request: Request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            io.read_exact(&mut word).await.unwrap();
            word.reverse();
            io.write_all(&word).await.unwrap();
            io.shutdown().await.unwrap();
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "backwards")
            .body(Body::empty())
            .unwrap()
    };
    let setup = Setup::new(kit::program(Router::new().fallback(handler)).await).await;
    let mut stream = tokio::net::TcpStream::connect(setup.apps).await.unwrap();
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\nconnection: upgrade\r\n\
         upgrade: backwards\r\n\r\nabcd",
        setup.apps,
        setup.bearer()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ndcba"), "{answer}");
}
