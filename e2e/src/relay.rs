//! A way to a server that a test can cut: for servers that restart, are away, or hang.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They go through.
    Open,
    /// They are closed, and new ones as soon as they come.
    Closed,
    /// They stay, and nothing moves.
    Stuck,
}

/// A port that leads to another one, as long as the test wants it to.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Leads to this address.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (way, ways) = watch::channel(Way::Open);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(client, target, ways.clone()));
            }
        });
        Self { address, way, connections, task }
    }

    /// Changes what happens to connections, those that are open included.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// How many connections were ever made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr, mut ways: watch::Receiver<Way>) {
    if *ways.borrow() == Way::Closed {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let way = *ways.borrow_and_update();
        match way {
            Way::Closed => return,
            Way::Stuck => {
                if ways.changed().await.is_err() {
                    return;
                }
            }
            Way::Open => {
                let went_on = tokio::select! {
                    changed = ways.changed() => changed.is_ok(),
                    read = client.read(&mut up) => forward(read, &up, &mut server).await,
                    read = server.read(&mut down) => forward(read, &down, &mut client).await,
                };
                if !went_on {
                    return;
                }
            }
        }
    }
}

async fn forward(read: std::io::Result<usize>, bytes: &[u8], to: &mut TcpStream) -> bool {
    match read {
        Ok(length) if length > 0 => to.write_all(&bytes[..length]).await.is_ok(),
        _ => false,
    }
}
