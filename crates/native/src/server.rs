//! All native connections of one shard, driven from network events.
//!
//! Invariants
//! - The network is paused exactly while a session holds bytes; held sessions go on in the order in
//!   which they were held.
//! - Nothing here walks all connections: only those that something happened to are looked at.

use crate::counters::{Counters, ProtocolError};
use crate::datagrams::Datagrams;
use crate::limits::Limits;
use crate::session::{Session, Verdict};
use crate::sink::FrameSink;
use env::net::{ConnectionId, Net, NetEvent, SendError};
use model::{LogPosition, ProducerId, ShardId, TimestampNs};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// How long held sessions wait for another try while the durable position stands still, ns.
const RETRY_NS: i64 = 10_000_000;

/// Something that belongs to another shard. The wiring takes these after each poll.
#[derive(Debug, PartialEq, Eq)]
pub enum Handover {
    /// Take this connection from this shard's network, give it to the other's, and call
    /// [`Server::adopt`] there with the unread bytes.
    Connection {
        /// Its name on this shard.
        connection: ConnectionId,
        /// Who.
        peer: SocketAddr,
        /// Where it belongs.
        shard: ShardId,
        /// What was received on it so far.
        unread: Vec<u8>,
    },
    /// Call [`Server::on_datagram`] on the other shard.
    Datagram {
        /// Where it belongs.
        shard: ShardId,
        /// The whole datagram.
        bytes: Vec<u8>,
    },
}

/// One connection, for people.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Its name in the network.
    pub id: ConnectionId,
    /// From where.
    pub peer: SocketAddr,
    /// Who, which source, what name for people, and whether acknowledged; `None` before the Hello.
    pub producer: Option<(ProducerId, &'a str, &'a str, bool)>,
}

struct Slot {
    session: Session,
    peer: SocketAddr,
    /// Stands in `Server::waiting`.
    is_listed: bool,
    /// Stands in `Server::touched`.
    is_touched: bool,
}

/// The native connections and datagrams of one shard.
pub struct Server {
    limits: Limits,
    counters: Counters,
    slots: HashMap<ConnectionId, Slot>,
    /// The one connection of each producer (N6).
    producers: HashMap<ProducerId, ConnectionId>,
    datagrams: Datagrams,
    /// Connections that must say Hello, oldest first.
    hellos: VecDeque<(TimestampNs, ConnectionId)>,
    /// Connections with a Welcome or Ack that waits for the disk.
    waiting: Vec<ConnectionId>,
    /// Connections with something to send, to close or to hand over.
    touched: Vec<ConnectionId>,
    /// Connections over the limit.
    surplus: Vec<ConnectionId>,
    /// Connections that hold bytes, longest first.
    held: VecDeque<ConnectionId>,
    handovers: Vec<Handover>,
    datagrams_moving: usize,
    is_paused: bool,
    durable: LogPosition,
    retry_at: TimestampNs,
}

impl Server {
    /// No connections yet.
    #[must_use]
    pub fn new(limits: Limits) -> Server {
        Server {
            datagrams: Datagrams::new(&limits),
            limits,
            counters: Counters::default(),
            slots: HashMap::new(),
            producers: HashMap::new(),
            hellos: VecDeque::new(),
            waiting: Vec::new(),
            touched: Vec::new(),
            surplus: Vec::new(),
            held: VecDeque::new(),
            handovers: Vec::new(),
            datagrams_moving: 0,
            is_paused: false,
            durable: LogPosition(0),
            retry_at: TimestampNs(0),
        }
    }

    /// One look at the network: acknowledges what became durable, goes on with what was held, takes
    /// up to `budget` events. Answers how much there was to do; 0 means that nothing happened.
    pub fn poll(&mut self, net: &mut dyn Net, sink: &mut dyn FrameSink, now: TimestampNs, budget: usize) -> usize {
        let mut work = self.on_durable(net, sink.durable());
        work += self.resume_held(sink, now);
        work += net.poll(budget, &mut |event| self.on_event(event, sink, now));
        work += self.expire_hellos(now);
        self.refuse_surplus(net);
        self.settle(net, sink);
        let pause = !self.held.is_empty();
        if pause != self.is_paused {
            self.is_paused = pause;
            self.counters.pauses += u64::from(pause);
            net.pause(pause);
        }
        work
    }

    /// Sends the Welcomes and Acks that a new durable position allows; answers how many connections
    /// got one. [`poll`](Self::poll) does the same; call this to be earlier.
    pub fn on_durable(&mut self, net: &mut dyn Net, durable: LogPosition) -> usize {
        if durable <= self.durable {
            return 0;
        }
        self.durable = durable;
        self.retry_at = TimestampNs(i64::MIN);
        let mut served = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|id| {
            let Some(slot) = self.slots.get_mut(id) else { return false };
            slot.session.on_durable(durable, &mut self.counters);
            if !slot.session.outgoing().is_empty() {
                served += 1;
                send(net, *id, slot, &mut self.counters);
            }
            if slot.session.verdict() == Verdict::Close && !slot.is_touched {
                slot.is_touched = true;
                self.touched.push(*id);
            }
            slot.is_listed = slot.session.is_waiting();
            slot.is_listed
        });
        self.waiting = waiting;
        served
    }

    /// Takes over a connection that another shard handed over, under the name that this shard's
    /// network gave it; its unread bytes are read in the next [`poll`](Self::poll). To be called
    /// before that poll: bytes that the network delivers earlier would be lost. The network's
    /// `Accepted` for it may come before or after.
    pub fn adopt(&mut self, connection: ConnectionId, peer: SocketAddr, unread: Vec<u8>, now: TimestampNs) {
        let session = Session::adopted(self.limits, unread);
        match self.slots.get_mut(&connection) {
            Some(slot) => slot.session = session,
            None => self.accept(connection, peer, session, now),
        }
        self.held.push_back(connection);
        self.retry_at = TimestampNs(i64::MIN);
    }

    /// Takes a datagram that another shard handed over.
    pub fn on_datagram(&mut self, bytes: &[u8], sink: &mut dyn FrameSink, now: TimestampNs) {
        if let Some(shard) = self.datagrams.on_datagram(bytes, sink, now, &mut self.counters) {
            if self.datagrams_moving < self.limits.datagrams_moving_max {
                self.datagrams_moving += 1;
                self.handovers.push(Handover::Datagram { shard, bytes: bytes.to_vec() });
            } else {
                self.counters.shed_frames += 1;
            }
        }
    }

    /// What belongs to other shards, taken out.
    pub fn drain_handovers(&mut self) -> Vec<Handover> {
        self.datagrams_moving = 0;
        std::mem::take(&mut self.handovers)
    }

    /// Tells every producer that Millstream stops, and closes. What was durable at the last
    /// [`on_durable`](Self::on_durable) was acknowledged; the rest will be sent again.
    pub fn close_all(&mut self, net: &mut dyn Net, sink: &mut dyn FrameSink) {
        let connections: Vec<ConnectionId> = self.slots.keys().copied().collect();
        for connection in connections {
            self.refuse(connection, &crate::Refusal::Closing.to_string(), true);
        }
        self.settle(net, sink);
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The connections, in no order.
    pub fn connections(&self) -> impl Iterator<Item = Connection<'_>> {
        self.slots.iter().map(|(id, slot)| Connection {
            id: *id,
            peer: slot.peer,
            producer: slot.session.link().map(|l| (l.producer, l.source.as_str(), l.name.as_str(), l.acks)),
        })
    }

    fn on_event(&mut self, event: NetEvent<'_>, sink: &mut dyn FrameSink, now: TimestampNs) {
        match event {
            NetEvent::Accepted { connection, peer } => {
                if !self.slots.contains_key(&connection) {
                    self.accept(connection, peer, Session::new(self.limits), now);
                }
            }
            NetEvent::Received { connection, bytes } => self.on_received(connection, bytes, sink, now),
            NetEvent::Datagram { bytes, .. } => self.on_datagram(bytes, sink, now),
            NetEvent::Closed { connection, reason } => self.on_closed(connection, reason, sink),
        }
    }

    fn accept(&mut self, connection: ConnectionId, peer: SocketAddr, session: Session, now: TimestampNs) {
        if self.slots.len() >= self.limits.connections_max {
            self.counters.refused += 1;
            self.surplus.push(connection);
            return;
        }
        self.counters.connections += 1;
        self.hellos.push_back((now.plus_ns(self.limits.hello_ns_max), connection));
        let slot = Slot { session, peer, is_listed: false, is_touched: false };
        self.slots.insert(connection, slot);
        self.counters.connections_open = self.slots.len() as u64;
    }

    fn on_received(&mut self, connection: ConnectionId, bytes: &[u8], sink: &mut dyn FrameSink, now: TimestampNs) {
        let Some(slot) = self.slots.get_mut(&connection) else { return };
        self.counters.bytes += bytes.len() as u64;
        let was_held = slot.session.verdict() == Verdict::Held;
        let was_linked = slot.session.link().is_some();
        let verdict = slot.session.on_bytes(bytes, sink, now, &mut self.counters);
        if verdict == Verdict::Held && !was_held {
            self.held.push_back(connection);
            self.retry_at = now.plus_ns(RETRY_NS);
        }
        self.after_read(connection, was_linked);
    }

    /// Notes what the session wants after it read something.
    fn after_read(&mut self, connection: ConnectionId, was_linked: bool) {
        let Some(slot) = self.slots.get_mut(&connection) else { return };
        // What it waits for may be durable already: a repeat of frames, after a reconnect.
        slot.session.on_durable(self.durable, &mut self.counters);
        let session = &slot.session;
        let unsettled = matches!(session.verdict(), Verdict::Close | Verdict::HandOver(_));
        if (unsettled || !session.outgoing().is_empty()) && !slot.is_touched {
            slot.is_touched = true;
            self.touched.push(connection);
        }
        if session.is_waiting() && !slot.is_listed {
            slot.is_listed = true;
            self.waiting.push(connection);
        }
        if !was_linked && let Some(link) = session.link() {
            let (producer, acks, datagrams) = (link.producer, link.acks, link.opened.datagrams);
            let (source, name, peer) = (&link.source, &link.name, slot.peer);
            tracing::info!(%producer, source, name, %peer, acks, "producer connected");
            if datagrams && !acks {
                self.datagrams.know(producer);
            }
            if let Some(older) = self.producers.insert(producer, connection)
                && older != connection
            {
                self.counters.refused += 1;
                self.refuse(older, "this producer connected again; the newer connection goes on", false);
            }
        }
    }

    fn refuse(&mut self, connection: ConnectionId, reason: &str, retry: bool) {
        let Some(slot) = self.slots.get_mut(&connection) else { return };
        slot.session.refuse(reason, retry);
        if !slot.is_touched {
            slot.is_touched = true;
            self.touched.push(connection);
        }
    }

    fn on_closed(&mut self, connection: ConnectionId, reason: &str, sink: &mut dyn FrameSink) {
        let Some(slot) = self.slots.remove(&connection) else { return };
        self.counters.connections_open = self.slots.len() as u64;
        self.held.retain(|id| *id != connection);
        let Some(producer) = slot.session.producer() else { return };
        // A connection that was replaced by a newer one says nothing of its producer any more.
        if self.producers.get(&producer) == Some(&connection) {
            self.producers.remove(&producer);
            let reason = if slot.session.why_closed().is_empty() { reason } else { slot.session.why_closed() };
            tracing::info!(%producer, peer = %slot.peer, reason, "producer disconnected");
            sink.closed(producer, reason);
        }
    }

    fn resume_held(&mut self, sink: &mut dyn FrameSink, now: TimestampNs) -> usize {
        // The wall clock may jump back; then it is time at once.
        let wait_ns = self.retry_at.0.saturating_sub(now.0);
        if self.held.is_empty() || sink.is_busy() || (1..=RETRY_NS).contains(&wait_ns) {
            return 0;
        }
        let mut resumed = 0;
        while let Some(connection) = self.held.pop_front() {
            let Some(slot) = self.slots.get_mut(&connection) else { continue };
            let was_linked = slot.session.link().is_some();
            let verdict = slot.session.resume(sink, now, &mut self.counters);
            self.after_read(connection, was_linked);
            if verdict == Verdict::Held {
                // It stays first; nobody overtakes it into a pass that is full.
                self.held.push_front(connection);
                self.retry_at = now.plus_ns(RETRY_NS);
                break;
            }
            resumed += 1;
        }
        resumed
    }

    fn expire_hellos(&mut self, now: TimestampNs) -> usize {
        let mut expired = 0;
        while let Some((due, connection)) = self.hellos.front().copied() {
            let Some(slot) = self.slots.get(&connection) else {
                self.hellos.pop_front();
                continue;
            };
            let must_wait = slot.session.verdict() == Verdict::Held;
            if slot.session.link().is_none() && !must_wait {
                if now < due {
                    break;
                }
                self.counters.protocol_error(ProtocolError::Hello);
                self.refuse(
                    connection,
                    "no whole Hello came in time; send it as soon as the connection is there",
                    true,
                );
                expired += 1;
            }
            self.hellos.pop_front();
        }
        expired
    }

    fn refuse_surplus(&mut self, net: &mut dyn Net) {
        for connection in std::mem::take(&mut self.surplus) {
            let mut session = Session::new(self.limits);
            let max = self.limits.connections_max;
            session.refuse(&format!("this shard has {max} connections, its most; close some and try again"), true);
            // It is closed either way; a full or closed socket changes nothing.
            let _ = net.send(connection, session.outgoing());
            net.close(connection);
        }
    }

    /// Sends, closes and hands over what was touched.
    fn settle(&mut self, net: &mut dyn Net, sink: &mut dyn FrameSink) {
        let mut touched = std::mem::take(&mut self.touched);
        for connection in touched.drain(..) {
            let Some(slot) = self.slots.get_mut(&connection) else { continue };
            slot.is_touched = false;
            if !slot.session.outgoing().is_empty() {
                send(net, connection, slot, &mut self.counters);
            }
            match slot.session.verdict() {
                Verdict::Open | Verdict::Held => {}
                Verdict::Close => {
                    tracing::debug!(peer = %slot.peer, reason = slot.session.why_closed(), "connection closed by us");
                    net.close(connection);
                    let reason = slot.session.why_closed().to_owned();
                    self.on_closed(connection, &reason, sink);
                }
                Verdict::HandOver(shard) => {
                    if let Some(slot) = self.slots.remove(&connection) {
                        self.counters.connections_open = self.slots.len() as u64;
                        self.counters.handed_over += 1;
                        let (peer, unread) = (slot.peer, slot.session.into_unread());
                        self.handovers.push(Handover::Connection { connection, peer, shard, unread });
                    }
                }
            }
        }
        debug_assert!(self.touched.is_empty(), "settling touches no connection anew");
        self.touched = touched; // its memory serves the next poll
    }
}

/// Gives a session's output to the network. The session of a peer that does not read is ended.
fn send(net: &mut dyn Net, connection: ConnectionId, slot: &mut Slot, counters: &mut Counters) {
    let sent = net.send(connection, slot.session.outgoing());
    slot.session.sent();
    if sent == Err(SendError::Full) {
        counters.protocol_error(ProtocolError::NotReading);
        slot.session.refuse("the producer does not read its acknowledgements", true);
        slot.session.sent();
    }
}
