//! The TLS side of a listener: the handshake, within a time, and a word to whoever speaks plain
//! HTTP to it.

use std::{io, sync::Arc, time::Duration};

use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// What Go's servers answer too, so that people find it.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// How much of a plain request is read before it is answered, so that the answer is not lost.
const PLAIN_BYTES: u64 = 64 << 10;

/// Answers the handshake of a connection. `None`: it ended without one.
pub(super) async fn accept(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    patience: Duration,
) -> Option<TlsStream<TcpStream>> {
    let handshake = async {
        if speaks_http(&stream).await? {
            tracing::debug!("a client speaks plain HTTP to a TLS port");
            refuse(&mut stream).await?;
            return Ok(None);
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        start.into_stream(config).await.map(Some)
    };
    match timeout(patience, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no TLS handshake");
            None
        }
        Err(_) => {
            tracing::debug!("no TLS handshake in time");
            None
        }
    }
}

/// A TLS client begins with the byte 22, an HTTP client with a letter of its method.
async fn speaks_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0].is_ascii_uppercase())
}

async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_HTTP).await?;
    stream.shutdown().await?;
    // A socket that closes with bytes unread is reset, and the client would not see the answer.
    let mut rest = stream.take(PLAIN_BYTES);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}
