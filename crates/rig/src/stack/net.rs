//! A network in memory: bytes arrive late, cut anywhere, or not at all.
//!
//! Both ends are here: the server's as `env::net::Net`, the producers' as plain calls. Each
//! connection has randomness of its own, so that the order in which the server answers its
//! connections changes nothing of what happens on them.

use env::Clock;
use env::net::{ConnectionId, Net, NetEvent, SendError};
use sim::{SimClock, SimRandom};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Bytes of one direction that may be on their way; more is not taken.
const WINDOW_BYTES: usize = 96 << 10;
/// Longest delay of a chunk, ns.
const DELAY_NS: u64 = 4_000_000;

/// Chunks of one direction, each with the time when it arrives.
#[derive(Default)]
struct Way {
    chunks: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Way {
    fn push(&mut self, due_ns: u64, bytes: &[u8]) {
        // Later bytes do not overtake earlier ones.
        let due_ns = self.chunks.back().map_or(due_ns, |(last, _)| due_ns.max(*last));
        self.bytes += bytes.len();
        self.chunks.push_back((due_ns, bytes.to_vec()));
    }

    /// What has arrived, or a random part of it.
    fn pull(&mut self, now_ns: u64, random: &mut SimRandom) -> Option<Vec<u8>> {
        let (_, chunk) = self.chunks.front_mut().filter(|(due_ns, _)| *due_ns <= now_ns)?;
        let whole = chunk.len();
        let part = if random.coin() { whole } else { 1 + random.below(whole as u64) as usize };
        let rest = chunk.split_off(part);
        let pulled = std::mem::replace(chunk, rest);
        if pulled.len() == whole {
            self.chunks.pop_front();
        }
        self.bytes -= pulled.len();
        Some(pulled)
    }
}

struct Pipe {
    random: SimRandom,
    is_accepted: bool,
    /// The producer's end is gone, or the network between.
    is_cut: bool,
    /// The server has closed; it still hears of it.
    is_closed: bool,
    /// The server was told that it ended.
    is_told: bool,
    to_server: Way,
    to_client: Way,
}

/// The connections of one server.
pub struct SimNet {
    clock: Rc<SimClock>,
    random: SimRandom,
    pipes: BTreeMap<ConnectionId, Pipe>,
    next: u64,
    is_paused: bool,
}

impl SimNet {
    /// No connections yet.
    #[must_use]
    pub fn new(clock: Rc<SimClock>, random: SimRandom) -> SimNet {
        SimNet { clock, random, pipes: BTreeMap::new(), next: 1, is_paused: false }
    }

    /// A producer connects.
    pub fn connect(&mut self) -> ConnectionId {
        let connection = ConnectionId(self.next);
        self.next += 1;
        let pipe = Pipe {
            random: self.random.fork(),
            is_accepted: false,
            is_cut: false,
            is_closed: false,
            is_told: false,
            to_server: Way::default(),
            to_client: Way::default(),
        };
        self.pipes.insert(connection, pipe);
        connection
    }

    /// A producer writes; answers how many bytes were taken.
    pub fn write(&mut self, connection: ConnectionId, bytes: &[u8]) -> usize {
        let now_ns = self.clock.monotonic_ns();
        let Some(pipe) = self.pipes.get_mut(&connection).filter(|pipe| !pipe.is_cut) else { return 0 };
        let taken = bytes.len().min(WINDOW_BYTES.saturating_sub(pipe.to_server.bytes));
        if taken > 0 {
            let due_ns = now_ns + pipe.random.below(DELAY_NS);
            pipe.to_server.push(due_ns, &bytes[..taken]);
        }
        taken
    }

    /// A producer reads what has arrived. `None`: the connection has ended and all was read.
    pub fn read(&mut self, connection: ConnectionId) -> Option<Vec<u8>> {
        let now_ns = self.clock.monotonic_ns();
        let pipe = self.pipes.get_mut(&connection)?;
        if let Some(bytes) = pipe.to_client.pull(now_ns, &mut pipe.random) {
            return Some(bytes);
        }
        let ended = pipe.is_cut || (pipe.is_closed && pipe.to_client.chunks.is_empty());
        if ended {
            self.cut(connection);
            return None;
        }
        Some(Vec::new())
    }

    /// The connection breaks: what is on its way to the producer is lost, what is on its way to the
    /// server may still arrive in part.
    pub fn cut(&mut self, connection: ConnectionId) {
        if let Some(pipe) = self.pipes.get_mut(&connection) {
            pipe.is_cut = true;
            pipe.to_client = Way::default();
        }
        self.forget(connection);
    }

    /// The server is gone, and with it every connection.
    pub fn reset(&mut self) {
        self.pipes.clear();
        self.is_paused = false;
    }

    fn forget(&mut self, connection: ConnectionId) {
        if self.pipes.get(&connection).is_some_and(|pipe| pipe.is_cut && pipe.is_told) {
            self.pipes.remove(&connection);
        }
    }

    /// Hands over what happened on one connection; answers whether anything did.
    fn serve(&mut self, connection: ConnectionId, on: &mut dyn FnMut(NetEvent<'_>)) -> bool {
        let now_ns = self.clock.monotonic_ns();
        let is_paused = self.is_paused;
        let Some(pipe) = self.pipes.get_mut(&connection).filter(|pipe| !pipe.is_told) else { return false };
        if !pipe.is_accepted {
            pipe.is_accepted = true;
            let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), connection.0 as u16);
            on(NetEvent::Accepted { connection, peer });
            return true;
        }
        let over = pipe.is_closed || (pipe.is_cut && (pipe.to_server.chunks.is_empty() || pipe.random.below(4) == 0));
        if over {
            pipe.is_told = true;
            on(NetEvent::Closed { connection, reason: "the simulated connection ended" });
            self.forget(connection);
            return true;
        }
        if is_paused {
            return false;
        }
        let Some(bytes) = pipe.to_server.pull(now_ns, &mut pipe.random) else { return false };
        // Receive buffers begin anywhere.
        let shift = pipe.random.below(17) as usize;
        let mut buffer = vec![0; shift];
        buffer.extend_from_slice(&bytes);
        on(NetEvent::Received { connection, bytes: &buffer[shift..] });
        true
    }
}

impl Net for SimNet {
    fn poll(&mut self, budget: usize, on: &mut dyn FnMut(NetEvent<'_>)) -> usize {
        let mut connections: Vec<ConnectionId> = self.pipes.keys().copied().collect();
        if !connections.is_empty() {
            let first = self.random.below(connections.len() as u64) as usize;
            connections.rotate_left(first);
        }
        let mut count = 0;
        let mut busy = true;
        while busy && count < budget {
            busy = false;
            for connection in &connections {
                if count < budget && self.serve(*connection, on) {
                    count += 1;
                    busy = true;
                }
            }
        }
        count
    }

    fn pending(&self) -> bool {
        !self.pipes.is_empty()
    }

    fn send(&mut self, connection: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        let now_ns = self.clock.monotonic_ns();
        let Some(pipe) = self.pipes.get_mut(&connection).filter(|pipe| !pipe.is_told) else {
            return Err(SendError::Closed);
        };
        if pipe.to_client.bytes + bytes.len() > WINDOW_BYTES {
            return Err(SendError::Full);
        }
        if !pipe.is_cut {
            let due_ns = now_ns + pipe.random.below(DELAY_NS);
            pipe.to_client.push(due_ns, bytes);
        }
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId) {
        if let Some(pipe) = self.pipes.get_mut(&connection) {
            pipe.is_closed = true;
        }
    }

    fn pause(&mut self, paused: bool) {
        self.is_paused = paused;
    }
}
