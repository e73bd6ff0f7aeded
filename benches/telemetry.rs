//! The pure parts of the telemetry path, one sample at a time: checking a frame, splitting a stream,
//! and the whole pass over a disk that completes at once.
//!
//! `cargo bench -- --test` runs each once (CI); `cargo bench` measures. Throughput is in samples.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use env::disk::{Completion, Disk, DiskOp, OpId};
use frame::{Builder, Frame, FrameError, Samples, Scan, Splitter, StoredSample, check};
use model::{ProducerId, Sequence, ShardId, TagDeclaration, TagPath, TimestampNs, ValueKind};
use pipeline::{Pass, ShardView, State};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

const SAMPLES: usize = 1_000;
/// Tags of the samples; scans are of the first of them.
const TAGS: usize = 8_000;
const PRODUCER: ProducerId = ProducerId(7);

/// A disk that completes everything at once and keeps nothing.
#[derive(Default)]
struct Instant(VecDeque<Completion>);

impl Disk for Instant {
    fn submit(&mut self, id: OpId, op: DiskOp) {
        let (written, block) = match op {
            DiskOp::Write { from, block, .. } => (block.len() - from, Some(block)),
            _ => (0, None),
        };
        self.0.push_back(Completion { id, result: Ok(written), block });
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        self.0.pop_front()
    }
}

/// No log yet.
struct Nothing;

impl env::disk::Storage for Nothing {
    fn list(&self) -> std::io::Result<Vec<env::disk::FileNumber>> {
        Ok(Vec::new())
    }
    fn length(&self, _: env::disk::FileNumber) -> std::io::Result<u64> {
        Ok(0)
    }
    fn read_at(&self, _: env::disk::FileNumber, _: u64, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
    fn truncate(&mut self, _: env::disk::FileNumber, _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn remove(&mut self, _: env::disk::FileNumber) -> std::io::Result<()> {
        Ok(())
    }
    fn remove_retired(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn sync(&mut self, _: env::disk::FileNumber) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_directory(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn scan(sequence: u64) -> Builder {
    let mut bytes = Builder::new();
    let values = (0..SAMPLES as u64).map(|i| (i as f64 * 0.5).to_bits()).collect();
    let scan = Scan { source_time_ns: sequence as i64 * 1_000_000, tag_first: 0, values, qualities: Vec::new() };
    bytes.scan(PRODUCER, Sequence(sequence), &scan).expect("small enough");
    bytes
}

/// Samples of all tags at one time, the `i`-th of the tag that `tag` names.
fn samples(sequence: u64, tag: impl Fn(usize) -> usize) -> Builder {
    let mut bytes = Builder::new();
    let from = sequence as usize * SAMPLES;
    let sample = |i: usize| StoredSample {
        source_time_ns: sequence as i64 * 1_000_000,
        value: (i as f64).to_bits(),
        tag: (tag(from + i) % TAGS) as u32,
        quality: 0,
    };
    let samples = Samples { samples: (0..SAMPLES).map(sample).collect() };
    bytes.samples(PRODUCER, Sequence(sequence), &samples).expect("small enough");
    bytes
}

/// Neighbours are far apart.
fn scattered(sequence: u64) -> Builder {
    samples(sequence, |i| i * 5_003)
}

/// Five tags of a device, then another device far away.
fn devices(sequence: u64) -> Builder {
    samples(sequence, |i| i / 5 * 5_005 + i % 5)
}

/// One tag after the other, as a scan has them.
fn in_order(sequence: u64) -> Builder {
    samples(sequence, |i| i)
}

fn pass() -> Pass {
    let (writer, reader) = ring::latest_table();
    let mut state = State::new(writer);
    let shard = ShardId(0);
    let recovered = log::recover(&mut Nothing, shard, &mut |frame, _| state.absorb(frame, frame.received()));
    let recovered = recovered.expect("an empty log");
    let writer = log::Writer::new(log::Settings::new(shard), &recovered);
    let mut pass = Pass::new(state, writer, &recovered, Arc::new(ShardView::new(shard, reader)));
    let source = pass.source("rig", false, TimestampNs(1));
    let tags: Vec<TagDeclaration> = (0..TAGS)
        .map(|i| TagDeclaration {
            path: TagPath::new(&format!("site/rig/t{i}")).expect("valid"),
            kind: ValueKind::F64,
            unit: String::new(),
            range: None,
            deadband: 0.0,
            heartbeat_ns: 0,
        })
        .collect();
    pass.declare(source, &tags).expect("room");
    pass.open(PRODUCER, source).expect("room");
    pass
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    for (name, bytes) in [("scan", scan(1)), ("samples", scattered(1))] {
        group.bench_function(format!("check/{name}"), |b| b.iter(|| check(black_box(bytes.bytes())).expect("valid")));
    }
    let (bytes, mut splitter) = (scan(1), Splitter::new());
    group.bench_function("split/scan", |b| {
        b.iter(|| {
            let mut seen = 0;
            let outcome = splitter.push(black_box(bytes.bytes()), |frame: Frame<'_>| -> Result<(), FrameError> {
                seen += frame.sample_count();
                Ok(())
            });
            outcome.map(|()| seen).expect("valid")
        });
    });
    group.finish();
}

/// What frames look like, by name and number.
type Pattern = (&'static str, fn(u64) -> Builder);

fn whole_pass(c: &mut Criterion) {
    let mut group = c.benchmark_group("pass");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let patterns: [Pattern; 4] =
        [("scan", scan), ("samples", scattered), ("samples of devices", devices), ("samples in order", in_order)];
    for (name, make) in patterns {
        let (mut pass, mut disk, mut sequence) = (pass(), Instant::default(), 0_u64);
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    sequence += 1;
                    (make(sequence), sequence)
                },
                |(bytes, sequence)| {
                    let now = sequence * 1_000_000;
                    let frame = check(bytes.bytes()).expect("valid");
                    pass.take(frame, TimestampNs(now as i64)).expect("taken");
                    pass.poll(now, TimestampNs(now as i64), &mut disk)
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, frames, whole_pass);
criterion_main!(benches);
