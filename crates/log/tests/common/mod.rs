//! A writer on a simulated disk, stepped by hand.
#![allow(dead_code, reason = "each test file uses a part")]

use env::Clock;
use frame::{Builder, Scan};
use millstream_log::{Recovered, Settings, Writer};
use model::{LogPosition, ProducerId, Refused, Sequence, ShardId, TimestampNs};
use sim::{SimClock, SimDisk, SimRandom};

pub const SHARD: ShardId = ShardId(1);
pub const MS: u64 = 1_000_000;

/// A stored frame: producer, sequence, bytes without time of arrival, position after it.
pub type Seen = (u64, u64, Vec<u8>, u64);

pub struct World {
    pub clock: SimClock,
    pub disk: SimDisk,
    pub writer: Writer,
}

pub fn settings() -> Settings {
    Settings { segment_bytes: 4 << 10, sync_ns: 2 * MS, ..Settings::new(SHARD) }
}

pub fn scan(producer: u64, sequence: u64, values: usize) -> Vec<u8> {
    let mut builder = Builder::new();
    let scan = Scan {
        source_time_ns: sequence as i64,
        tag_first: 3,
        values: (0..values as u64).map(|v| v * 0x0101_0101 + sequence).collect(),
        qualities: Vec::new(),
    };
    builder.scan(ProducerId(producer), Sequence(sequence), &scan).expect("small");
    builder.bytes().to_vec()
}

pub fn recover(disk: &mut SimDisk) -> (Recovered, Vec<Seen>) {
    let mut seen = Vec::new();
    let recovered = millstream_log::recover(disk, SHARD, &mut |frame, position| {
        if frame.kind().is_telemetry() {
            let mut bytes = frame.bytes().to_vec();
            frame::stamp_received(&mut bytes, TimestampNs(0));
            seen.push((frame.producer().0, frame.sequence().0, bytes, position.0));
        }
    });
    (recovered.expect("recovers"), seen)
}

impl World {
    pub fn new(seed: u64) -> World {
        World::on(SimDisk::new(SimRandom::new(seed)), settings())
    }

    pub fn on(mut disk: SimDisk, settings: Settings) -> World {
        let (recovered, _) = recover(&mut disk);
        let clock = SimClock::new(TimestampNs(1_000_000_000_000));
        World { clock, writer: Writer::new(settings, &recovered), disk }
    }

    pub fn append(&mut self, frame: &[u8]) -> Result<LogPosition, Refused> {
        self.writer.append(frame, self.clock.wall())
    }

    pub fn step(&mut self, ns: u64) {
        self.clock.advance(ns);
        self.disk.set_now(self.clock.monotonic_ns());
        let (now, wall) = (self.clock.monotonic_ns(), self.clock.wall());
        self.writer.poll(now, wall, &mut self.disk, &mut |_, _| false);
    }

    /// Steps until everything is durable.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.step(MS);
            if self.writer.durable() == self.writer.end() {
                return;
            }
        }
        panic!("not durable after ten simulated seconds: {:?}", self.writer.health());
    }

    pub fn close(&mut self) {
        self.writer.close();
        for _ in 0..10_000 {
            self.step(MS);
            if self.writer.is_closed() {
                return;
            }
        }
        panic!("not closed after ten simulated seconds");
    }
}
