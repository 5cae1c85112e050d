//! What the log says about a request, and what it must not say. Alone in its program, because other
//! tests without a subscriber would switch the call sites off.

use std::sync::Arc;

use axum::{Router, response::IntoResponse as _, routing::get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use web::{
    Error, Head, Lines,
    listener::{Drain, Limits, Stack, bind},
    local::{Guard, Local, Token},
};

#[tokio::test]
async fn tickets_and_tokens_do_not_reach_the_log() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .event_format(Lines::default())
        .with_max_level(tracing::Level::TRACE)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let render = |_: &Error, _: &Head| "refused".into_response();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let guard = Guard::new(Local::new(Token::generate().unwrap()), 1, render);
    let router =
        Stack::new("test", render).wrap(guard.pages(|_, path| path == "/").protect(router));
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.address();
    tokio::spawn(listener.serve(router, Limits::default(), Drain::new()));
    for target in ["/?ticket=S3CRET", "/other?ticket=S3CRET"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer S3CRET\r\ncookie: quartermaster-1=S3CRET\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("request answered"), "{text}");
    let answered = text.lines().find(|line| line.contains("request answered")).unwrap();
    assert!(answered.contains("DEBUG request{listener=\"test\" id="), "{answered}");
    assert!(answered.contains("method=GET path=\"/\"}: web::listener::stack: "), "{answered}");
    let ours = text.lines().filter(|line| !line.contains("hyper::")).collect::<String>();
    assert!(!ours.contains("S3CRET"), "{ours}");
}
