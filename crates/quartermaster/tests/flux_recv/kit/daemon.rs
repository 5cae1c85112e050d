//! What the receiver talks to: records everything, and fails in whatever way it is told.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// How calls are answered.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    /// 202, empty.
    #[default]
    Accept,
    /// This status and body, with these extra header lines.
    Say(u16, &'static str, &'static str),
    /// Never.
    Hang,
    /// The connection is cut.
    Reset,
    /// 200 with a body that does not end.
    Stream,
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    calls: Vec<Call>,
}

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// A file with one endpoint of this source, telling this daemon.
    pub(crate) fn config(&self, endpoints: &str) -> String {
        format!(
            "fluxRecvVersion: 1\napi: http://{}/api/flux\nendpoints:\n{endpoints}\n",
            self.address
        )
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The bodies of all calls so far.
    pub(crate) fn told(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.body).collect()
    }

    /// The bodies of all calls since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.state.lock().unwrap().calls);
        calls.into_iter().map(|call| call.body).collect()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(call) = read(&mut reader) {
        let behaviour = {
            let mut state = state.lock().unwrap();
            state.calls.push(call);
            state.behaviour.clone()
        };
        let answer = match behaviour {
            Behaviour::Accept => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Behaviour::Say(status, body, headers) => format!(
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            Behaviour::Hang => {
                let _ = writer.set_read_timeout(Some(Duration::from_secs(60)));
                let _ = reader.read(&mut [0]);
                return;
            }
            Behaviour::Reset => {
                let _ = writer.shutdown(Shutdown::Both);
                return;
            }
            Behaviour::Stream => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
                while writer.write_all(&[b' '; 65536]).is_ok() {}
                return;
            }
        };
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Call> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().into())),
            None => break,
        }
    }
    let length = headers
        .iter()
        .find(|(name, _): &&(String, String)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Call { line: line.trim().into(), headers, body })
}
