use std::{io::Write, net::SocketAddr};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::{
    decide::{
        filter::Filter,
        replay::{Policy, Replay},
    },
    listener,
    model::Keys,
    sources,
    targets::Log,
};

const PATH: &str = "/hook/0123456789abcdef";

fn endpoint(source: &str) -> Endpoint {
    Endpoint {
        name: "apps/code".to_owned(),
        source: sources::named(source, &sources::Options::default()).unwrap(),
        keys: Keys::default(),
        auth: None,
        filter: Filter::default(),
        targets: vec![Arc::new(Log::new("log"))],
        dead_letter: None,
        body_bytes: Some(100),
        rate: Bucket::new(Rate { per_second: 1000.0, burst: 1000.0 }),
        keep: Keep::Nothing,
        inline_time: Duration::from_secs(10),
        allow: Vec::new(),
        pause: Pause::No,
    }
}

fn receiver(endpoint: Endpoint, limits: Limits) -> Arc<Receiver> {
    let mut table = Table::default();
    table.add(PATH.to_owned(), &Arc::new(endpoint), None).unwrap();
    Receiver::new(table, limits, Arc::default())
}

async fn tried(receiver: &Arc<Receiver>, body: &'static str) -> Tried {
    let route = receiver.endpoint("apps/code").unwrap();
    receiver.try_out(route, HeaderMap::new(), Bytes::from_static(body.as_bytes())).await.unwrap()
}

#[tokio::test]
async fn what_nobody_is_told_of_is_remembered_however_often_it_comes() {
    let receiver = receiver(endpoint("ACR"), Limits::default());
    for _ in 0..50 {
        assert_eq!(tried(&receiver, r#"{"action":"delete"}"#).await.state, "ignored");
    }
    assert_eq!(receiver.recent().before(None).len(), 50);
    for _ in 0..50 {
        assert_eq!(tried(&receiver, "{").await.state, "rejected");
    }
    assert!(receiver.recent().before(None).len() < 100);
}

#[tokio::test]
async fn without_its_journal_nothing_is_promised() {
    let keep = Keep::Everything { first: true, replay: Replay::new(Policy::Allow) };
    let lost = receiver(Endpoint { keep, ..endpoint("Quay") }, Limits::default());
    assert!(!lost.keeps());
    assert_eq!(tried(&lost, r#"{"docker_url":"a.io/b"}"#).await.status, 503);
    assert!(receiver(endpoint("Quay"), Limits::default()).keeps());
}

/// Where the log goes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The status of the answer to a request that may be cut short.
async fn sent(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_is_turned_away_is_logged_and_listed() {
    let log = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _logs = tracing::subscriber::set_default(subscriber);
    let limits = Limits { trusted_proxies: Network::loopback(), ..Limits::default() };
    let receiver = receiver(endpoint("Quay"), limits);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    let limits = listener::Limits::default();
    tokio::spawn(listener::serve(socket, limits, None, Arc::clone(&receiver), stopped));

    let post = |path: &str, headers: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 192.0.2.1\r\n{headers}\r\n")
    };
    let unknown = post("/hook/ffffffffffffffff", "");
    assert!(sent(address, &unknown).await.ends_with("404"));
    assert!(sent(address, &post(PATH, "content-length: 101\r\n")).await.ends_with("413"));
    let packed = post(PATH, "content-length: 1\r\ncontent-encoding: gzip\r\n");
    assert!(sent(address, &packed).await.ends_with("415"));
    receiver
        .endpoint("apps/code")
        .unwrap()
        .meter()
        .paused
        .store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(sent(address, &post(PATH, "content-length: 0\r\n")).await.ends_with("503"));

    let listed = receiver.recent().before(None);
    let mut statuses: Vec<u16> = listed.iter().map(|entry| entry.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [413, 415, 503]);
    assert!(listed.iter().all(|entry| {
        (&*entry.endpoint, &*entry.address, entry.state) == ("apps/code", "192.0.2.1", "rejected")
            && entry.reason.is_some()
    }));
    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    assert!(log.contains("/hook/ffff…") && log.contains("404 page not found"), "{log}");
    assert!(log.contains("/hook/0123…") && log.contains("request body too large"), "{log}");
    assert!(!log.contains("/hook/01234") && !log.contains("/hook/fffff"), "{log}");
}

#[test]
fn paths_are_masked() {
    for (path, shown) in [
        ("/hook/0123456789", "/hook/0123…"),
        ("/hook/", "/hook/"),
        ("/", "/"),
        ("/wp-admin/setup.php", "/wp-…"),
        ("/\u{1b}[0m", "/\\u{1b}[0…"),
    ] {
        assert_eq!(masked(path), shown);
    }
}
