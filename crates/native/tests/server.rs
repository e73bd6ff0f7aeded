//! The server over a fake network: many connections, limits, back pressure, datagrams, hand-over.

mod support;

use env::net::ConnectionId;
use millstream_native::{Handover, Limits, ProtocolError, Server};
use model::{ProducerId, ShardId, TimestampNs};
use support::*;

struct Rig {
    server: Server,
    net: FakeNet,
    sink: FakeSink,
    now: TimestampNs,
}

impl Rig {
    fn new(limits: Limits) -> Rig {
        Rig { server: Server::new(limits), net: FakeNet::default(), sink: FakeSink::default(), now: NOW }
    }

    fn poll(&mut self) -> usize {
        self.server.poll(&mut self.net, &mut self.sink, self.now, 64)
    }

    fn received(&mut self, connection: u64, bytes: Vec<u8>) {
        self.net.events.push_back(Event::Received(connection, bytes));
    }

    fn connect(&mut self, connection: u64, producer: ProducerId, acks: bool) {
        self.net.events.push_back(Event::Accepted(connection));
        self.received(connection, hello(producer, "rig", acks));
        self.poll();
    }
}

#[test]
fn acknowledges_all_waiting_connections_after_one_commit() {
    let mut rig = Rig::new(Limits::default());
    for c in 1..=3 {
        rig.connect(c, ProducerId(c), true);
        assert_eq!(rig.net.frames_to(c), [Said::Welcome(0)]);
    }
    for c in 1..=3 {
        rig.received(c, scan(ProducerId(c), 1, 2));
        rig.received(c, scan(ProducerId(c), 2, 2));
    }
    assert_eq!(rig.poll(), 6);
    assert!(rig.net.sent.is_empty());
    rig.sink.sync();
    assert_eq!(rig.poll(), 3);
    for c in 1..=3 {
        assert_eq!(rig.net.frames_to(c), [Said::Ack(2)]);
    }
    assert_eq!(rig.poll(), 0);
    let counters = rig.server.counters();
    assert_eq!((counters.frames, counters.samples, counters.connections_open), (6, 12, 3));
    assert_eq!(rig.server.connections().filter(|c| c.producer.is_some()).count(), 3);
}

/// The failure: a producer reconnects (1) and sends again what the server has on disk (2). No commit
/// follows, because nothing is new; an Ack that waits for the next one never goes out (3).
#[test]
fn repeats_of_what_is_durable_are_acknowledged_without_another_commit() {
    let mut rig = Rig::new(Limits::default());
    rig.connect(1, PRODUCER, true);
    rig.received(1, scan(PRODUCER, 1, 1));
    rig.poll();
    rig.sink.sync();
    rig.poll();
    rig.connect(2, PRODUCER, true);
    assert_eq!(rig.net.frames_to(2), [Said::Welcome(1)]);
    rig.received(2, scan(PRODUCER, 1, 1));
    rig.poll();
    assert_eq!(rig.net.frames_to(2), [Said::Ack(1)]);
}

#[test]
fn a_busy_pass_pauses_the_network_and_loses_nothing() {
    let mut rig = Rig::new(Limits::default());
    rig.connect(1, ProducerId(1), true);
    rig.connect(2, ProducerId(2), true);
    rig.sink.room = Some(1);
    for c in 1..=2 {
        for s in 1..=3 {
            rig.received(c, scan(ProducerId(c), s, 1));
        }
    }
    rig.poll();
    assert!(rig.net.paused);
    rig.sink.busy = true;
    rig.poll();
    assert!(rig.net.paused);
    rig.sink.room = None;
    rig.sink.busy = false;
    rig.now = rig.now.plus_ns(20_000_000);
    rig.poll();
    assert!(!rig.net.paused);
    rig.sink.sync();
    rig.poll();
    assert_eq!(rig.net.frames_to(1).pop(), Some(Said::Ack(3)));
    assert_eq!(rig.net.frames_to(2).pop(), Some(Said::Ack(3)));
    assert_eq!(rig.sink.stored.len(), 6);
    assert_eq!(rig.server.counters().pauses, 1);
}

#[test]
fn a_clock_that_jumps_back_does_not_hold_for_ever() {
    let mut rig = Rig::new(Limits::default());
    rig.connect(1, PRODUCER, true);
    rig.sink.room = Some(0);
    rig.received(1, scan(PRODUCER, 1, 1));
    rig.poll();
    rig.sink.room = None;
    rig.now = rig.now.plus_ns(-3_600_000_000_000);
    rig.poll();
    assert_eq!(rig.sink.sequences(), [1]);
    assert!(!rig.net.paused);
}

#[test]
fn a_producer_that_connects_again_replaces_its_old_connection() {
    let mut rig = Rig::new(Limits::default());
    rig.connect(1, PRODUCER, true);
    rig.received(1, scan(PRODUCER, 1, 1));
    rig.poll();
    rig.net.frames_to(1);
    rig.sink.sync();
    rig.connect(2, PRODUCER, true);
    assert!(rig.net.frames_to(1).iter().any(|s| matches!(s, Said::Refuse(_, false))));
    assert_eq!(rig.net.closing, [1]);
    assert_eq!(rig.net.frames_to(2), [Said::Welcome(1)]);
    rig.net.events.push_back(Event::Closed(1));
    rig.poll();
    assert!(rig.sink.closed.is_empty(), "the producer is still there");
    rig.net.events.push_back(Event::Closed(2));
    rig.poll();
    assert_eq!(rig.sink.closed, [(PRODUCER, "reset".to_owned())]);
}

#[test]
fn connections_and_silence_are_bounded() {
    let mut rig = Rig::new(Limits { connections_max: 2, ..Limits::default() });
    rig.connect(1, ProducerId(1), true);
    rig.net.events.push_back(Event::Accepted(2));
    rig.net.events.push_back(Event::Accepted(3));
    rig.received(3, hello(ProducerId(3), "rig", true));
    rig.poll();
    assert!(matches!(rig.net.frames_to(3).as_slice(), [Said::Refuse(_, true)]));
    assert_eq!(rig.net.closing, [3]);
    // Half a Hello does not keep a connection open for ever; a silent producer stays.
    rig.received(2, hello(ProducerId(2), "rig", true)[..50].to_vec());
    rig.poll();
    rig.now = rig.now.plus_ns(Limits::default().hello_ns_max);
    rig.poll();
    assert!(matches!(rig.net.frames_to(2).as_slice(), [Said::Refuse(_, true)]));
    assert_eq!(rig.net.closing, [3, 2]);
    assert_eq!(rig.server.counters().protocol_errors_of(ProtocolError::Hello), 1);
    rig.now = rig.now.plus_ns(86_400_000_000_000);
    rig.poll();
    assert_eq!(rig.net.closing, [3, 2]);
}

#[test]
fn a_peer_that_does_not_read_is_closed() {
    let mut rig = Rig::new(Limits::default());
    rig.connect(1, PRODUCER, true);
    rig.received(1, scan(PRODUCER, 1, 1));
    rig.poll();
    rig.net.full.push(1);
    rig.sink.sync();
    rig.poll();
    assert_eq!(rig.net.closing, [1]);
    assert_eq!(rig.server.counters().protocol_errors_of(ProtocolError::NotReading), 1);
    assert_eq!(rig.server.counters().connections_open, 0);
}

#[test]
fn datagrams_are_taken_of_known_producers_only() {
    let mut rig = Rig::new(Limits::default());
    let datagram = |bytes: Vec<u8>| Event::Datagram(bytes);
    rig.net.events.push_back(datagram(scan(PRODUCER, 1, 1)));
    rig.poll();
    assert_eq!(rig.server.counters().datagrams_unknown, 1);
    // A Hello in a datagram makes it known; several frames may share one.
    let mut bytes = hello(PRODUCER, "rig", false);
    bytes.extend(scan(PRODUCER, 2, 2));
    bytes.extend(scan(PRODUCER, 3, 2));
    rig.net.events.push_back(datagram(bytes));
    // So does one over TCP.
    rig.connect(1, ProducerId(5), false);
    rig.net.events.push_back(datagram(scan(ProducerId(5), 1, 1)));
    rig.poll();
    assert_eq!(rig.sink.stored, [(PRODUCER, 2, 2), (PRODUCER, 3, 2), (ProducerId(5), 1, 1)]);
    // Cut off, repeated, of a kind that is not telemetry, or no frame at all.
    rig.net.events.push_back(datagram(scan(PRODUCER, 4, 2)[..60].to_vec()));
    rig.net.events.push_back(datagram(scan(PRODUCER, 3, 2)));
    rig.net.events.push_back(datagram(register(PRODUCER, &["x"])));
    rig.net.events.push_back(datagram(vec![1, 2, 3]));
    rig.poll();
    let counters = rig.server.counters();
    assert_eq!(counters.protocol_errors_of(ProtocolError::Truncated), 1);
    assert_eq!(counters.protocol_errors_of(ProtocolError::Kind), 1);
    assert_eq!(counters.protocol_errors_of(ProtocolError::Frame), 1);
    assert_eq!((counters.duplicates, counters.datagrams), (1, 7));
    rig.sink.busy = true;
    rig.net.events.push_back(datagram(scan(PRODUCER, 5, 2)));
    rig.poll();
    assert_eq!((rig.server.counters().shed_frames, rig.sink.shed.as_slice()), (1, [5].as_slice()));
    assert!(!rig.net.paused, "datagrams are shed, not held");
}

#[test]
fn connections_and_datagrams_of_another_shard_go_there() {
    let mut here = Rig::new(Limits::default());
    let mut there = Rig::new(Limits::default());
    here.sink.shard = Some(ShardId(1));
    here.net.events.push_back(Event::Datagram(hello(ProducerId(9), "rig", false)));
    here.net.events.push_back(Event::Datagram(scan(ProducerId(9), 1, 1)));
    here.connect(1, PRODUCER, true);
    for handover in here.server.drain_handovers() {
        match handover {
            Handover::Connection { connection, peer, shard, unread } => {
                assert_eq!((connection, shard), (ConnectionId(1), ShardId(1)));
                there.server.adopt(ConnectionId(40), peer, unread, NOW);
            }
            Handover::Datagram { bytes, .. } => there.server.on_datagram(&bytes, &mut there.sink, NOW),
        }
    }
    there.net.events.push_back(Event::Accepted(40));
    there.received(40, scan(PRODUCER, 1, 1));
    there.poll();
    assert_eq!(there.net.frames_to(40), [Said::Welcome(0)]);
    assert_eq!(there.sink.stored, [(ProducerId(9), 1, 1), (PRODUCER, 1, 1)]);
    assert_eq!((here.server.counters().connections_open, here.server.counters().handed_over), (0, 1));
    assert!(here.server.drain_handovers().is_empty());
}

#[test]
fn at_shutdown_every_producer_is_told_to_come_back() {
    let mut rig = Rig::new(Limits::default());
    rig.connect(1, ProducerId(1), true);
    rig.connect(2, ProducerId(2), false);
    rig.net.sent.clear();
    rig.server.close_all(&mut rig.net, &mut rig.sink);
    for c in 1..=2 {
        assert!(matches!(rig.net.frames_to(c).as_slice(), [Said::Refuse(_, true)]));
    }
    assert_eq!((rig.net.closing.len(), rig.sink.closed.len()), (2, 2));
}
