//! Who is connected, and what each connection is doing.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing: no byte of a next request has come.
    Idle = 0,
    /// A head is on its way.
    Head = 1,
    /// A request is being handled, its body included.
    Busy = 2,
}

/// One connection's state, written by its task, read by the reaper.
#[derive(Debug)]
pub(super) struct State {
    phase: AtomicU8,
    since: AtomicU64,
    start: Instant,
    close: Notify,
}

impl State {
    fn enter(&self, phase: Phase) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(now, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Bytes came.
    pub(super) fn read(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 {
            self.enter(Phase::Head);
        }
    }

    /// A head is complete.
    pub(super) fn busy(&self) {
        self.enter(Phase::Busy);
    }

    /// An answer is made.
    pub(super) fn idle(&self) {
        self.enter(Phase::Idle);
    }

    /// Resolves when the connection shall end.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    fn lasting(&self, phase: Phase) -> Option<Duration> {
        (self.phase.load(Ordering::Relaxed) == phase as u8).then(|| {
            self.start
                .elapsed()
                .saturating_sub(Duration::from_millis(self.since.load(Ordering::Relaxed)))
        })
    }
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    states: HashMap<u64, (IpAddr, Arc<State>)>,
    per_address: HashMap<IpAddr, usize>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    start: Instant,
    most: usize,
    most_per_address: usize,
    all: Mutex<All>,
}

/// A connection's place among the others, given up when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    pub(super) peer: IpAddr,
    pub(super) state: Arc<State>,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(limits: &super::Limits) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            most: limits.connections,
            most_per_address: limits.per_address,
            all: Mutex::default(),
        })
    }

    /// A place for a connection. When there is none, the longest idle one gives up its own: of the
    /// same address, if that is what there are too many of.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, exempt: bool) -> Option<Connection> {
        let mut all = self.all.lock();
        let of_peer = all.per_address.get(&peer).copied().unwrap_or_default();
        if !exempt && of_peer >= self.most_per_address {
            all.evict(Some(peer))?;
        } else if all.states.len() >= self.most {
            all.evict(None)?;
        }
        let id = all.next;
        all.next += 1;
        let state = Arc::new(State {
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            start: self.start,
            close: Notify::new(),
        });
        state.enter(Phase::Idle);
        all.states.insert(id, (peer, Arc::clone(&state)));
        *all.per_address.entry(peer).or_default() += 1;
        Some(Connection { id, peer, state, connections: Arc::clone(self) })
    }

    /// Ends connections whose head or whose next request does not come.
    pub(super) async fn reap(self: Arc<Self>, header_time: Duration, idle_time: Duration) {
        let pause = (header_time.min(idle_time) / 10)
            .clamp(Duration::from_millis(10), Duration::from_millis(500));
        let mut ticks = tokio::time::interval(pause);
        loop {
            ticks.tick().await;
            for (_, state) in self.all.lock().states.values() {
                let late = state.lasting(Phase::Head).is_some_and(|lasting| lasting > header_time)
                    || state.lasting(Phase::Idle).is_some_and(|lasting| lasting > idle_time);
                if late {
                    state.close.notify_one();
                }
            }
        }
    }
}

impl All {
    fn evict(&mut self, of: Option<IpAddr>) -> Option<()> {
        let (&id, _) = self
            .states
            .iter()
            .filter(|(_, (peer, _))| of.is_none_or(|of| of == *peer))
            .filter_map(|(id, (_, state))| Some((id, state.lasting(Phase::Idle)?)))
            .max_by_key(|&(_, lasting)| lasting)?;
        self.states.get(&id)?.1.close.notify_one();
        self.forget(id);
        Some(())
    }

    fn forget(&mut self, id: u64) {
        let Some((peer, _)) = self.states.remove(&id) else { return };
        if let Some(count) = self.per_address.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&peer);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.all.lock().forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_address: usize) -> Arc<Connections> {
        let limits = super::super::Limits {
            connections: most,
            per_address: most_per_address,
            ..super::super::Limits::default()
        };
        Connections::new(&limits)
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::V4([192, 0, 2, last].into())
    }

    #[test]
    fn the_idle_make_room_and_the_busy_stay() {
        let all = connections(2, 2);
        let one = all.admit(peer(1), false).unwrap();
        let two = all.admit(peer(2), false).unwrap();
        one.state.busy();
        let three = all.admit(peer(3), false).unwrap();
        assert_eq!(all.all.lock().states.len(), 2);
        drop(two);
        assert_eq!(all.all.lock().states.len(), 2);
        three.state.busy();
        assert!(all.admit(peer(4), false).is_none());
        drop((one, three));
        assert!(all.all.lock().per_address.is_empty());
    }

    #[test]
    fn an_address_has_its_share_unless_it_is_exempt() {
        let all = connections(10, 1);
        let one = all.admit(peer(1), false).unwrap();
        one.state.busy();
        assert!(all.admit(peer(1), false).is_none());
        assert!(all.admit(peer(1), true).is_some());
        assert!(all.admit(peer(2), false).is_some());
    }
}
