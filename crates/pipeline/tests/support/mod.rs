//! One shard's pass over a simulated disk, with what the tests ask of it.
#![allow(dead_code, reason = "every test file uses its own part")]

use env::disk::FileNumber;
use frame::{Builder, Samples, Scan, StoredSample, check};
use log::{Recovered, Settings, Storage, Writer};
use millstream_pipeline::query::{self, FoundSample, Page};
use millstream_pipeline::rollup::RollupSpec;
use millstream_pipeline::{Pass, ShardView, State, TakeError, Taken};
use model::{
    Gap, LogPosition, ProducerId, Quality, Reading, Sequence, ShardId, SourceId, TagDeclaration, TagId, TagPath,
    TimestampNs, Value, ValueKind,
};
use sim::{Crash, SimDisk, SimRandom};
use std::sync::Arc;

/// One second.
pub const S: i64 = 1_000_000_000;
/// Where time begins.
pub const START: TimestampNs = TimestampNs(1_790_000_000 * S);
/// Before and after everything.
pub const ALL: (TimestampNs, TimestampNs) = (TimestampNs(i64::MIN), TimestampNs(i64::MAX));

/// A pass on a disk.
pub struct Shard {
    pub pass: Pass,
    pub disk: SimDisk,
    pub recovered: Recovered,
    pub now: TimestampNs,
    now_ns: u64,
}

impl Shard {
    /// On an empty disk.
    pub fn new() -> Shard {
        Shard::on(SimDisk::new(SimRandom::new(1)), START)
    }

    /// On what a disk holds.
    pub fn on(disk: SimDisk, now: TimestampNs) -> Shard {
        Shard::with(disk, now, Vec::new())
    }

    /// On what a disk holds, with rollups that have a name.
    pub fn with(mut disk: SimDisk, now: TimestampNs, rollups: Vec<RollupSpec>) -> Shard {
        let (writer, reader) = ring::latest_table();
        let mut state = State::new(writer);
        state.configure_rollups(rollups);
        let shard = ShardId(0);
        let recovered = log::recover(&mut disk, shard, &mut |frame, _| state.absorb(frame, frame.received()));
        let recovered = recovered.expect("the disk is well");
        let settings = Settings { segment_bytes: 16 << 10, ..Settings::new(shard) };
        let view = Arc::new(ShardView::new(shard, reader));
        let pass = Pass::new(state, Writer::new(settings, &recovered), &recovered, view);
        Shard { pass, disk, recovered, now, now_ns: 0 }
    }

    /// Time passes and the disk is driven.
    pub fn run(&mut self, ns: u64) {
        let step = (ns / 20).max(1);
        for _ in 0..20 {
            self.now_ns += step;
            self.now = self.now.plus_ns(step as i64);
            self.disk.set_now(self.now_ns);
            self.pass.poll(self.now_ns, self.now, &mut self.disk);
        }
    }

    /// Until all that was taken is durable.
    pub fn sync(&mut self) {
        for _ in 0..200 {
            self.run(10_000_000);
            if self.pass.durable() == self.pass.end() {
                return;
            }
        }
        panic!("it does not become durable");
    }

    /// Power cut, `away` later a start.
    pub fn power_cut(self, away: i64) -> Shard {
        Shard::on(self.disk.crash(Crash::Power), self.now.plus_ns(away))
    }

    pub fn declare(&mut self, source: SourceId, tags: &[(&str, ValueKind, f64)]) -> Vec<TagId> {
        let tag = |(path, kind, deadband): &(&str, ValueKind, f64)| TagDeclaration {
            path: TagPath::new(path).expect("a path"),
            kind: *kind,
            unit: String::new(),
            range: None,
            deadband: *deadband,
            heartbeat_ns: 60 * S,
        };
        self.pass.declare(source, &tags.iter().map(tag).collect::<Vec<_>>()).expect("room")
    }

    /// A page of a tag's samples.
    pub fn page(&self, tag: TagId, limit: usize, after: Option<(TimestampNs, u64)>) -> Page {
        let texts = self.pass.view().texts();
        let spans = |from, to| self.pass.spans(from, to);
        let plan = query::plan(self.pass.state(), spans, tag, ALL.0, ALL.1, texts).expect("the tag is known");
        query::samples(&self.disk, &plan, limit, after).expect("readable")
    }

    /// All samples of a tag, read in pages.
    pub fn samples(&self, tag: TagId, limit: usize) -> Vec<FoundSample> {
        let mut all: Vec<FoundSample> = Vec::new();
        loop {
            let after = all.last().map(|last| (last.place.time, last.place.code()));
            let mut page = self.page(tag, limit, after);
            assert_eq!(page.more, page.samples.len() > limit);
            page.samples.truncate(limit);
            all.append(&mut page.samples);
            if !page.more {
                return all;
            }
        }
    }

    pub fn values(&self, tag: TagId) -> Vec<Option<Value>> {
        self.samples(tag, 1_000).into_iter().map(|sample| sample.value).collect()
    }

    /// The gaps that queries of a source show.
    pub fn gaps(&self, source: SourceId) -> Vec<Gap> {
        self.pass.state().gaps.touching(source, TagId(0), ALL.0, ALL.1, 10_000)
    }

    /// A producer's scan through the pass.
    pub fn take(&mut self, producer: u64, sequence: u64, first: TagId, values: &[u64]) -> Result<Taken, TakeError> {
        let scan =
            Scan { source_time_ns: self.now.0, tag_first: first.0, values: values.to_vec(), qualities: Vec::new() };
        let mut builder = Builder::new();
        builder.scan(ProducerId(producer), Sequence(sequence), &scan).expect("it fits");
        self.pass.take(check(builder.bytes()).expect("a frame"), self.now)
    }

    /// Frames of about 1 MiB until the log takes no more; answers how many it took.
    pub fn fill(&mut self, producer: u64, tag: TagId) -> u64 {
        let sample = StoredSample { source_time_ns: self.now.0, value: 0, tag: tag.0, quality: Quality::BAD.0 };
        let samples = Samples { samples: vec![sample; 43_000] };
        for sequence in 1.. {
            let mut builder = Builder::new();
            builder.samples(ProducerId(producer), Sequence(sequence), &samples).expect("it fits");
            if self.pass.take(check(builder.bytes()).expect("a frame"), self.now).is_err() {
                return sequence - 1;
            }
        }
        unreachable!("memory is bounded")
    }

    /// Every file with its length.
    pub fn files(&self) -> Vec<(FileNumber, u64)> {
        let numbers = self.disk.list().expect("listed");
        numbers.into_iter().map(|file| (file, self.disk.length(file).expect("there"))).collect()
    }

    pub fn durable(&self) -> LogPosition {
        self.pass.durable()
    }
}

pub fn reading(tag: TagId, value: impl Into<Option<Value>>) -> Reading {
    Reading { tag, source_time: None, value: value.into(), quality: Quality::GOOD }
}
