//! A sink and a network that remember what was done to them.
#![expect(dead_code, reason = "each test file uses its part")]

use env::net::{ConnectionId, Net, NetEvent, SendError};
use frame::{Builder, Frame, FrameKind, Hello, Register, Scan, Splitter, TagRequest, View};
use millstream_native::{FrameSink, Opened, Refusal, Registered, TagWanted, TakeError, Taken};
use model::{LogPosition, PathError, ProducerId, Refused, Sequence, ShardId, TagId, TextId, TimestampNs, ValueKind};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

pub const NOW: TimestampNs = TimestampNs(1_000_000_000_000);
pub const PRODUCER: ProducerId = ProducerId(77);

/// Stores sequences; each frame takes 100 positions of a log whose sync the test moves.
#[derive(Default)]
pub struct FakeSink {
    /// Position that registrations need to be durable.
    pub registers_at: u64,
    pub end: u64,
    pub durable: u64,
    pub last: HashMap<ProducerId, Sequence>,
    /// Stored frames in order: who, sequence, samples.
    pub stored: Vec<(ProducerId, u64, usize)>,
    pub position_of: BTreeMap<(u64, u64), u64>,
    pub tags: Vec<String>,
    pub shed: Vec<u64>,
    pub closed: Vec<(ProducerId, String)>,
    pub busy: bool,
    /// Becomes busy after so many more frames.
    pub room: Option<usize>,
    pub shard: Option<ShardId>,
}

impl FakeSink {
    pub fn sync(&mut self) {
        self.durable = self.end;
    }

    pub fn sequences(&self) -> Vec<u64> {
        self.stored.iter().map(|s| s.1).collect()
    }
}

impl FrameSink for FakeSink {
    fn open(&mut self, producer: ProducerId, source: &str) -> Result<Opened, Refusal> {
        if let Some(shard) = self.shard {
            return Err(Refusal::WrongShard(shard));
        }
        if source != "rig" {
            return Err(Refusal::UnknownSource { name: source.to_owned(), known: vec!["rig".to_owned()] });
        }
        let last = *self.last.entry(producer).or_default();
        let position = LogPosition(if last == Sequence(0) { 0 } else { self.end });
        Ok(Opened { path: "plant/rig".to_owned(), last, position, tags_max: 100, datagrams: true })
    }

    fn register(
        &mut self,
        _: ProducerId,
        _: &str,
        tags: &[TagWanted<'_>],
        texts: &[&str],
    ) -> Result<Registered, Refusal> {
        let mut registered = Registered::default();
        for tag in tags {
            if tag.name.is_empty() {
                return Err(Refusal::BadName { name: String::new(), problem: PathError::Empty });
            }
            let at = self.tags.iter().position(|t| t == tag.name).unwrap_or_else(|| {
                self.tags.push(tag.name.to_owned());
                self.tags.len() - 1
            });
            registered.tags.push(TagId(at as u32));
        }
        registered.position = model::LogPosition(self.registers_at);
        registered.texts = (0..texts.len() as u32).map(TextId).collect();
        Ok(registered)
    }

    fn take(&mut self, frame: Frame<'_>, _: TimestampNs) -> Result<Taken, TakeError> {
        if self.busy || self.room == Some(0) {
            return Err(Refused::Busy.into());
        }
        let View::Scan(scan) = frame.view() else { panic!("only scans are sent here") };
        if scan.tag_first().0 >= 1_000 {
            return Err(TakeError::UnknownTag { tag: scan.tag_first() });
        }
        let Some(last) = self.last.get_mut(&frame.producer()) else { return Err(TakeError::UnknownProducer) };
        if frame.sequence() <= *last {
            return Ok(Taken::Duplicate { position: LogPosition(self.end) });
        }
        *last = frame.sequence();
        if let Some(room) = &mut self.room {
            *room -= 1;
        }
        self.end += 100;
        self.position_of.insert((frame.producer().0, frame.sequence().0), self.end);
        self.stored.push((frame.producer(), frame.sequence().0, scan.len()));
        Ok(Taken::Stored { position: LogPosition(self.end) })
    }

    fn shed(&mut self, frame: Frame<'_>, _: TimestampNs) {
        self.shed.push(frame.sequence().0);
    }

    fn closed(&mut self, producer: ProducerId, reason: &str) {
        self.closed.push((producer, reason.to_owned()));
    }

    fn durable(&self) -> LogPosition {
        LogPosition(self.durable)
    }

    fn is_busy(&self) -> bool {
        self.busy
    }
}

/// What happens next on the fake network.
pub enum Event {
    Accepted(u64),
    Received(u64, Vec<u8>),
    Datagram(Vec<u8>),
    Closed(u64),
}

#[derive(Default)]
pub struct FakeNet {
    pub events: VecDeque<Event>,
    pub sent: HashMap<u64, Vec<u8>>,
    pub closing: Vec<u64>,
    pub paused: bool,
    /// Connections whose peer does not read.
    pub full: Vec<u64>,
}

impl FakeNet {
    /// Takes what was sent to a connection, as frames.
    pub fn frames_to(&mut self, connection: u64) -> Vec<Said> {
        said(&self.sent.remove(&connection).unwrap_or_default())
    }
}

impl Net for FakeNet {
    fn poll(&mut self, budget: usize, on: &mut dyn FnMut(NetEvent<'_>)) -> usize {
        let peer: SocketAddr = ([127, 0, 0, 1], 9).into();
        let mut count = 0;
        while count < budget
            && let Some(event) = self.events.pop_front()
        {
            match event {
                Event::Accepted(c) => on(NetEvent::Accepted { connection: ConnectionId(c), peer }),
                Event::Received(c, bytes) => on(NetEvent::Received { connection: ConnectionId(c), bytes: &bytes }),
                Event::Datagram(bytes) => on(NetEvent::Datagram { peer, bytes: &bytes }),
                Event::Closed(c) => on(NetEvent::Closed { connection: ConnectionId(c), reason: "reset" }),
            }
            count += 1;
        }
        count
    }

    fn pending(&self) -> bool {
        !self.events.is_empty()
    }

    fn send(&mut self, connection: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        if self.full.contains(&connection.0) {
            return Err(SendError::Full);
        }
        self.sent.entry(connection.0).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId) {
        self.closing.push(connection.0);
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }
}

/// A frame of the server, for comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Welcome(u64),
    Registered(Vec<u32>),
    Ack(u64),
    Refuse(String, bool),
}

pub fn said(bytes: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    Splitter::new()
        .push::<frame::FrameError>(bytes, |frame| {
            all.push(match frame.view() {
                View::Welcome(_) => Said::Welcome(frame.sequence().0),
                View::Registered(r) => Said::Registered(r.tags.iter().map(|t| t.to_native()).collect()),
                View::Ack => Said::Ack(frame.sequence().0),
                View::Refuse(r) => Said::Refuse(r.reason.to_string(), r.retry),
                _ => panic!("a server does not say {:?}", frame.kind()),
            });
            Ok(())
        })
        .expect("the server speaks frames");
    all
}

pub fn hello(producer: ProducerId, source: &str, acks: bool) -> Vec<u8> {
    let hello = Hello { source: source.to_owned(), acks, name: "test".to_owned() };
    Builder::new().hello(producer, Sequence(0), &hello).expect("fits").bytes().to_vec()
}

pub fn register(producer: ProducerId, names: &[&str]) -> Vec<u8> {
    let tags = names
        .iter()
        .map(|n| TagRequest { name: (*n).to_owned(), kind: ValueKind::F64 as u8, unit: String::new() })
        .collect();
    let register = Register { request: 1, tags, texts: Vec::new() };
    Builder::new().register(producer, Sequence(0), &register).expect("fits").bytes().to_vec()
}

pub fn scan(producer: ProducerId, sequence: u64, samples: usize) -> Vec<u8> {
    let scan = Scan { source_time_ns: 5, tag_first: 0, values: vec![sequence; samples], qualities: Vec::new() };
    Builder::new().scan(producer, Sequence(sequence), &scan).expect("fits").bytes().to_vec()
}

pub fn bare(kind: FrameKind, producer: ProducerId) -> Vec<u8> {
    Builder::new().bare(kind, producer, Sequence(1)).expect("fits").bytes().to_vec()
}
