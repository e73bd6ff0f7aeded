//! In steady state a frame asks for no memory: not the session that finds it, not the pass that stores
//! it, not the log that writes it.
//!
//! Eight producers send frames of a hundred samples, cut as a receive ring cuts them, through the
//! server's own parts: sessions, pass and log, over a network and a disk that ask for nothing
//! themselves. What is left to count is ours.

use env::disk::{Block, Completion, Disk, DiskOp, FileNumber, OpId, Storage};
use env::net::{ConnectionId, Net, NetEvent, SendError};
use frame::{Builder, Hello, Register, Samples, Scan, StoredSample, TagRequest};
use log::{Settings, Writer};
use model::{ProducerId, Sequence, ShardId, TimestampNs, ValueKind};
use native::{Limits, Server};
use pipeline::{Pass, ShardView, State};
use rig::stack::sink::{PassSink, Site};
use ring::{CountingAllocator, allocations};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const SHARD: ShardId = ShardId(0);
const PRODUCERS: u64 = 8;
/// Tags of each producer, all of them in every frame.
const TAGS: u32 = 100;
/// Frames of each producer in one step.
const FRAMES: u64 = 4;
const STEP_NS: u64 = 1_000_000;
const SECOND_STEPS: u64 = 1_000;
/// Requests for memory that a new segment may make with eight hundred tags.
const SEGMENT_ASKS_MAX: u64 = 32;
/// Requests for memory of the list of where batches lie, as it grows within a second.
const INDEX_ASKS_MAX: u64 = 4;
/// What a receive buffer holds.
const CHUNK_BYTES: usize = 16 << 10;
const START: TimestampNs = TimestampNs(1_790_000_000_000_000_000);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Scan,
    Samples,
}

/// Hands out bytes as a receive ring does: pieces of at most a buffer, each where a buffer begins.
struct Wire {
    arrived: VecDeque<(ConnectionId, Block)>,
    greeted: u64,
    sends: u64,
}

impl Wire {
    /// Cuts a producer's bytes into buffers.
    fn receive(&mut self, producer: u64, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNK_BYTES) {
            let mut block = Block::with_capacity(CHUNK_BYTES);
            block.extend_from_slice(piece);
            self.arrived.push_back((ConnectionId(producer), block));
        }
    }
}

impl Net for Wire {
    fn poll(&mut self, budget: usize, on: &mut dyn FnMut(NetEvent<'_>)) -> usize {
        let mut handled = 0;
        while self.greeted < PRODUCERS {
            self.greeted += 1;
            on(NetEvent::Accepted { connection: ConnectionId(self.greeted), peer: ([127, 0, 0, 1], 9).into() });
        }
        while handled < budget
            && let Some((connection, bytes)) = self.arrived.pop_front()
        {
            on(NetEvent::Received { connection, bytes: &bytes });
            handled += 1;
        }
        handled
    }

    fn pending(&self) -> bool {
        !self.arrived.is_empty()
    }

    fn send(&mut self, _: ConnectionId, _: &[u8]) -> Result<(), SendError> {
        self.sends += 1;
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId) {
        panic!("{connection:?} is closed: a frame was refused");
    }

    fn pause(&mut self, paused: bool) {
        assert!(!paused, "the pass took nothing");
    }
}

/// Completes what was submitted when it is asked the next time, and keeps nothing.
struct Blank {
    submitted: VecDeque<Completion>,
    writes: u64,
    segments: u64,
}

impl Disk for Blank {
    fn submit(&mut self, id: OpId, op: DiskOp) {
        let (written, block) = match op {
            DiskOp::Write { from, block, .. } => {
                self.writes += 1;
                (block.len() - from, Some(block))
            }
            DiskOp::Create { .. } | DiskOp::Reuse { .. } => {
                self.segments += 1;
                (0, None)
            }
            _ => (0, None),
        };
        self.submitted.push_back(Completion { id, result: Ok(written), block });
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.submitted.pop_front()
    }
}

/// No log yet.
struct Nothing;

impl Storage for Nothing {
    fn list(&self) -> std::io::Result<Vec<FileNumber>> {
        Ok(Vec::new())
    }
    fn length(&self, _: FileNumber) -> std::io::Result<u64> {
        Ok(0)
    }
    fn read_at(&self, _: FileNumber, _: u64, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
    fn truncate(&mut self, _: FileNumber, _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn remove(&mut self, _: FileNumber) -> std::io::Result<()> {
        Ok(())
    }
    fn remove_retired(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn sync(&mut self, _: FileNumber) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_directory(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What was counted in some steps.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    frames: u64,
    /// Requests for memory by sessions and pass.
    native: u64,
    /// Requests for memory by the log.
    log: u64,
    batches: u64,
    segments: u64,
}

struct Shard {
    kind: Kind,
    wire: Wire,
    disk: Blank,
    server: Server,
    sink: PassSink,
    pass: Rc<RefCell<Pass>>,
    sequence: u64,
    steps: u64,
    builder: Builder,
}

impl Shard {
    /// Eight producers that were welcomed and know their tags.
    fn new(kind: Kind) -> Shard {
        let (writer, reader) = ring::latest_table();
        let mut state = State::new(writer);
        let recovered = log::recover(&mut Nothing, SHARD, &mut |frame, _| state.absorb(frame, frame.received()));
        let recovered = recovered.expect("an empty log");
        // one and a half seconds of frames
        let segment_bytes = match kind {
            Kind::Scan => 48 << 20,
            Kind::Samples => 128 << 20,
        };
        let settings = Settings { segment_bytes, keep_bytes: 3 * segment_bytes, ..Settings::new(SHARD) };
        let view = Arc::new(ShardView::new(SHARD, reader));
        let pass = Pass::new(state, Writer::new(settings, &recovered), &recovered, view);
        let pass = Rc::new(RefCell::new(pass));
        let site = Site { name: "rig".to_owned(), path: "site/rig".to_owned() };
        let mut shard = Shard {
            kind,
            wire: Wire { arrived: VecDeque::with_capacity(4_096), greeted: 0, sends: 0 },
            disk: Blank { submitted: VecDeque::with_capacity(64), writes: 0, segments: 0 },
            server: Server::new(Limits::default()),
            sink: PassSink::new(Rc::clone(&pass), &[site], START),
            pass,
            sequence: 0,
            steps: 0,
            builder: Builder::new(),
        };
        for producer in 1..=PRODUCERS {
            let hello = Hello { source: "rig".to_owned(), acks: true, name: "test".to_owned() };
            let bytes = shard.builder.hello(ProducerId(producer), Sequence(0), &hello).expect("fits").bytes().to_vec();
            shard.wire.receive(producer, &bytes);
            shard.builder.clear();
        }
        shard.quiet_steps(50);
        for producer in 1..=PRODUCERS {
            let name =
                |n| TagRequest { name: format!("p{producer}/t{n}"), kind: ValueKind::F64 as u8, unit: String::new() };
            let register = Register { request: 1, tags: (0..TAGS).map(name).collect(), texts: Vec::new() };
            let registered = shard.builder.register(ProducerId(producer), Sequence(0), &register);
            let bytes = registered.expect("fits").bytes().to_vec();
            shard.wire.receive(producer, &bytes);
            shard.builder.clear();
        }
        shard.quiet_steps(50);
        assert_eq!(shard.wire.sends, 2 * PRODUCERS, "each producer is welcomed and knows its tags");
        shard
    }

    fn now(&self) -> TimestampNs {
        START.plus_ns((self.steps * STEP_NS) as i64)
    }

    fn send_frames(&mut self) {
        let now = self.now();
        for producer in 1..=PRODUCERS {
            let tag_first = (producer as u32 - 1) * TAGS;
            let mut bytes = Vec::new();
            for n in 1..=FRAMES {
                self.builder.clear();
                let (id, sequence) = (ProducerId(producer), Sequence(self.sequence + n));
                let values = (0..u64::from(TAGS)).map(|tag| ((tag + self.sequence) as f64).to_bits());
                let built = match self.kind {
                    Kind::Scan => {
                        let (values, qualities) = (values.collect(), Vec::new());
                        let scan = Scan { source_time_ns: now.0, tag_first, values, qualities };
                        self.builder.scan(id, sequence, &scan).map(drop)
                    }
                    Kind::Samples => {
                        let one = |(tag, value): (usize, u64)| StoredSample {
                            source_time_ns: now.0,
                            value,
                            tag: tag_first + tag as u32,
                            quality: 0,
                        };
                        let samples = Samples { samples: values.enumerate().map(one).collect() };
                        self.builder.samples(id, sequence, &samples).map(drop)
                    }
                };
                built.expect("a frame of a hundred samples fits");
                bytes.extend_from_slice(self.builder.bytes());
            }
            self.wire.receive(producer, &bytes);
        }
        self.sequence += FRAMES;
    }

    /// One duty cycle, as a shard's.
    fn step(&mut self, counted: &mut Counted) {
        self.steps += 1;
        let now = self.now();
        self.sink.now = now;
        let (frames, segments, writes) = (self.server.counters().frames, self.disk.segments, self.disk.writes);
        let before = allocations();
        while self.server.poll(&mut self.wire, &mut self.sink, now, 32) > 0 {}
        let between = allocations();
        self.pass.borrow_mut().poll(self.steps * STEP_NS, now, &mut self.disk);
        counted.native += between - before;
        counted.log += allocations() - between;
        counted.frames += self.server.counters().frames - frames;
        counted.segments += self.disk.segments - segments;
        counted.batches += self.disk.writes - writes;
    }

    fn quiet_steps(&mut self, steps: u64) {
        (0..steps).for_each(|_| self.step(&mut Counted::default()));
    }

    fn busy_steps(&mut self, steps: u64) -> Counted {
        let mut counted = Counted::default();
        for _ in 0..steps {
            self.send_frames();
            self.step(&mut counted);
        }
        counted
    }
}

/// Five seconds after a warm-up: of each what was counted.
fn seconds(kind: Kind) -> Vec<Counted> {
    let mut shard = Shard::new(kind);
    shard.busy_steps(4 * SECOND_STEPS);
    let all: Vec<Counted> = (0..5).map(|_| shard.busy_steps(SECOND_STEPS)).collect();
    for one in &all {
        assert_eq!(one.frames, PRODUCERS * FRAMES * SECOND_STEPS, "every frame is taken: {one:?}");
        assert!(one.batches > SECOND_STEPS / 10, "the log writes them: {one:?}");
    }
    all
}

/// Windows of rollups that are over are kept for a while, and where they lie grows by doubling: so a
/// second may ask for memory once a tag. Frames may not: there are forty of them to a tag.
fn check(kind: Kind) {
    let all = seconds(kind);
    let tags = PRODUCERS * u64::from(TAGS);
    let asked = |one: &&Counted| one.native > 0;
    assert!(all.iter().filter(asked).count() <= 2, "sessions or pass ask for memory again and again: {all:#?}");
    for one in &all {
        assert!(one.native <= tags + PRODUCERS, "sessions or pass ask for memory for each frame: {one:?}");
        // a segment begins with parts of definitions and dedupe state; tags and batches ask for nothing
        assert!(
            one.log <= one.segments * SEGMENT_ASKS_MAX + INDEX_ASKS_MAX,
            "the log asks for memory for each tag or batch: {one:?}"
        );
    }
}

#[test]
fn a_scan_asks_for_no_memory() {
    check(Kind::Scan);
}

#[test]
fn a_frame_of_samples_asks_for_no_memory() {
    check(Kind::Samples);
}
