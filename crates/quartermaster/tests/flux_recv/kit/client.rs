//! A sender that writes exactly the bytes it is told to.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use hooks::decide::{digest::hex, signature::Algorithm};

use super::{KEY, Server};

/// An answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Status and body, for comparison.
    pub(crate) fn said(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

/// Sends bytes and reads one answer; nothing when the connection ends without one.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    // A server that has answered already may have stopped reading.
    let _ = stream.write_all(bytes);
    answer(&mut stream)
}

/// Reads one answer.
pub(crate) fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0_usize);
            if body.len() >= length {
                let status = head.split(' ').nth(1)?.parse().ok()?;
                return Some(Answer { status, head: head.into(), body: body.into() });
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&chunk[..count]),
        }
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nHost: hooks\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// Posts a body.
pub(crate) fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    exchange(server.address, &request("POST", path, headers, body.as_bytes())).expect("an answer")
}

/// The SHA-256 signature of a body under [`KEY`].
pub(crate) fn signed(body: &str) -> String {
    format!("sha256={}", hex(&Algorithm::Sha256.hmac(KEY.as_bytes(), &[body.as_bytes()])))
}

/// A well-signed GitHub push of this branch.
pub(crate) fn github(server: &Server, branch: &str) -> Answer {
    let body = format!(
        r#"{{"ref":"refs/heads/{branch}","repository":{{"ssh_url":"git@code.example.com:team/app.git"}}}}"#
    );
    let headers = [
        ("X-GitHub-Event", "push"),
        ("Content-Type", "application/json"),
        ("X-Hub-Signature-256", &signed(&body)),
    ];
    post(server, &Server::path(KEY), &headers, &body)
}
