//! Reading back, before and after a restart, whole and damaged.

mod support;

use env::clock::Random;
use millstream_pipeline::query;
use millstream_pipeline::rollup::Window;
use model::{GapReason, ProducerId, Quality, Reading, SourceId, TagId, Value, ValueKind};
use sim::SimRandom;
use support::*;

/// A shard with some seconds of readings of two tags: late ones, equal times, bad ones, and a wall
/// clock that jumps back.
fn history(seed: u64) -> (Shard, SourceId, [TagId; 2]) {
    let mut random = SimRandom::new(seed);
    let mut shard = Shard::new();
    let source = shard.pass.source("press", true, START);
    let tags = shard.declare(source, &[("a/x", ValueKind::F64, 0.0), ("a/y", ValueKind::I64, 0.0)]);
    for round in 0..150 {
        let time = match random.below(6) {
            0 => None,
            1 => Some(shard.now.plus_ns(-(random.below(20 * S as u64) as i64))),
            2 => Some(START),
            _ => Some(shard.now),
        };
        let bad = random.below(9) == 0;
        let quality = if bad { Quality::BAD_TIMEOUT } else { Quality::GOOD };
        let value = (random.next_u64() >> 40) as i64;
        let values = [Value::F64(value as f64 / 8.0), Value::I64(value)];
        let reading =
            |(tag, value): (&TagId, Value)| Reading { tag: *tag, source_time: time, value: Some(value), quality };
        let readings: Vec<Reading> = tags.iter().zip(values).map(reading).collect();
        shard.pass.submit(shard.now, &readings).expect("room");
        shard.run(random.below(400_000_000));
        if round == 70 {
            shard.now = shard.now.plus_ns(-15 * S);
        }
    }
    shard.sync();
    (shard, source, [tags[0], tags[1]])
}

fn from_log(shard: &Shard, tag: TagId, every: i64) -> Vec<Window> {
    let texts = shard.pass.view().texts();
    let spans = |from, to| shard.pass.spans(from, to);
    let plan = query::plan(shard.pass.state(), spans, tag, ALL.0, ALL.1, texts).expect("the tag is known");
    query::rollups(&shard.disk, &plan, every).expect("readable").0
}

fn assert_same(memory: &[Window], log: &[Window]) {
    assert_eq!(memory.len(), log.len());
    for (a, b) in memory.iter().zip(log) {
        assert_eq!((a.start, a.count, a.min, a.max), (b.start, b.count, b.min, b.max));
        assert_eq!((a.last, a.last_time), (b.last, b.last_time));
        assert!((a.sum - b.sum).abs() <= 1e-9 * b.sum.abs().max(1.0));
    }
}

#[test]
fn pages_of_every_size_give_the_same_samples_before_and_after_a_restart() {
    let (shard, _, tags) = history(11);
    for tag in tags {
        let whole = shard.samples(tag, 10_000);
        assert_eq!(whole.len(), 150);
        assert!(whole.windows(2).all(|pair| pair[0].place < pair[1].place), "in order, none twice");
        for limit in 1..=152 {
            assert_eq!(shard.samples(tag, limit), whole, "pages of {limit}");
        }
    }
    let before: Vec<_> = tags.map(|tag| shard.samples(tag, 1_000)).into();
    let mut shard = shard.power_cut(S);
    shard.sync();
    for (tag, before) in tags.into_iter().zip(before) {
        for limit in [1, 7, 149, 150, 151] {
            assert_eq!(shard.samples(tag, limit), before, "pages of {limit} after the restart");
        }
    }
}

#[test]
fn rollups_from_memory_equal_those_from_the_log_before_and_after_a_restart() {
    let (mut shard, _, tags) = history(12);
    for restart in [false, true] {
        if restart {
            shard = shard.power_cut(S);
            shard.sync();
        }
        for (tag, every) in tags.into_iter().flat_map(|tag| [(tag, S), (tag, 7 * S), (tag, 3_600 * S)]) {
            let memory = query::rollups_in_memory(shard.pass.state(), tag, ALL.0, ALL.1, every).unwrap();
            assert!(!memory.is_empty());
            assert_same(&memory, &from_log(&shard, tag, every));
        }
    }
}

#[test]
fn recovery_gives_the_latest_values_as_last_usable_ones() {
    let (shard, _, tags) = history(13);
    let before = tags.map(|tag| shard.pass.state().latest(tag).unwrap());
    let shard = shard.power_cut(S);
    for (tag, before) in tags.into_iter().zip(before) {
        let after = shard.pass.state().latest(tag).unwrap();
        assert_eq!((after.bits, after.kind, after.server_time_ns), (before.bits, before.kind, before.server_time_ns));
        let good = Quality(before.quality).is_good();
        let wanted = if good { Quality::UNCERTAIN_LAST_USABLE } else { Quality(before.quality) };
        assert_eq!(Quality(after.quality), wanted);
    }
}

/// A query that meets damage before any restart did: the rest is served, and the gap is said.
#[test]
fn a_damaged_batch_is_skipped_and_said_as_rot() {
    let (mut shard, source, tags) = history(14);
    let before = shard.samples(tags[0], 1_000);
    let (file, length) = shard.files()[1];
    assert!(shard.disk.flip(file, length / 2, 0x10));
    let page = shard.page(tags[0], 1_000, None);
    assert!(page.samples.len() < before.len());
    let mut rest = before.iter();
    assert!(page.samples.iter().all(|sample| rest.any(|known| known == sample)), "what is served is what was stored");
    let rot: Vec<_> = page.gaps.iter().filter(|gap| gap.reason == GapReason::Rot).collect();
    assert_eq!(rot.len(), 1, "{:?}", page.gaps);
    assert_eq!(rot[0].source, source);
    for lost in before.iter().filter(|sample| !page.samples.contains(sample)) {
        assert!(rot[0].from <= lost.received && lost.received <= rot[0].to, "the gap covers what is lost");
    }

    // After a restart the log itself says it, once.
    let mut shard = shard.power_cut(S);
    assert_eq!(shard.recovered.rot.len(), 1);
    shard.sync();
    let said = |shard: &Shard| shard.gaps(source).iter().filter(|gap| gap.reason == GapReason::Rot).count();
    assert_eq!(said(&shard), 1);
    assert_eq!(shard.page(tags[0], 1_000, None).samples, page.samples);
    let mut shard = shard.power_cut(S);
    shard.sync();
    assert_eq!(said(&shard), 1, "another restart finds the same damage and does not say it again");
}

/// The failure: the wall clock goes back ten seconds (1), samples of both passes over these seconds
/// lie in blocks that overlap (2), a query takes the second block for one that it has read (3).
#[test]
fn nothing_is_missed_where_the_wall_clock_went_back() {
    let mut shard = Shard::new();
    let source = shard.pass.source("rig", false, START);
    let tag = shard.declare(source, &[("a/x", ValueKind::I64, 0.0)])[0];
    shard.pass.open(ProducerId(7), source).unwrap();
    let mut sequence = 0;
    for pass in 0..3 {
        for _ in 0..40 {
            sequence += 1;
            shard.take(7, sequence, tag, &[sequence]).unwrap();
            shard.run(250_000_000);
        }
        shard.now = shard.now.plus_ns(-10 * S + pass);
    }
    shard.sync();
    for limit in [1, 10, 1_000] {
        let samples = shard.samples(tag, limit);
        let mut values: Vec<_> = samples.iter().filter_map(|sample| sample.value.as_ref()?.bits()).collect();
        values.sort_unstable();
        assert_eq!(values, (1..=120).collect::<Vec<u64>>(), "pages of {limit}");
    }
}
