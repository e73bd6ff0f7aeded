//! The nine aggregates by query, held against a slow reference over the raw samples.

#[path = "support/slow.rs"]
mod slow;
mod support;

use log::{Settings, Writer};
use millstream_pipeline::query::{self, AggregatePlan, AggregateRow, FoundSample};
use millstream_pipeline::rollup::stretch::{Aggregates, Before};
use millstream_pipeline::rollup::{Aggregate, NamedWindow, RollupSpec};
use millstream_pipeline::{Pass, ShardView, State};
use model::{Glob, Quality, Reading, ShardId, TagId, TimestampNs, Value, ValueKind};
use sim::{Crash, SimDisk, SimRandom};
use std::sync::Arc;
use support::*;

fn plan(shard: &Shard, tag: TagId, from: TimestampNs, to: TimestampNs) -> AggregatePlan {
    let spans = |from, to| shard.pass.spans(from, to);
    let texts = shard.pass.view().texts();
    query::plan_aggregate(shard.pass.state(), spans, tag, from, to, texts).expect("the tag is known")
}

fn span(shard: &Shard, tag: TagId, from: TimestampNs, to: TimestampNs) -> Aggregates {
    plan(shard, tag, from, to).run(&shard.disk).expect("readable")
}

fn rows(shard: &Shard, tag: TagId, range: (TimestampNs, TimestampNs), every_ns: i64) -> Vec<AggregateRow> {
    let spans = |from, to| shard.pass.spans(from, to);
    let texts = shard.pass.view().texts();
    let plan = query::plan_rows(shard.pass.state(), spans, tag, range, every_ns, texts).expect("the tag is known");
    plan.read(&shard.disk).expect("readable").finish()
}

/// A counter that begins again, a measured value, a text; late ones, bad ones, equal times.
fn history(shard: &mut Shard, random: &mut SimRandom, tags: &[TagId], rounds: usize) {
    let mut counter = 0.0;
    for round in 0..rounds {
        let time = match random.below(8) {
            0 => None,
            1 => Some(shard.now.plus_ns(-(random.below(100 * S as u64) as i64))),
            2 => Some(shard.now.window_start(S)),
            _ => Some(shard.now),
        };
        counter = if random.below(25) == 0 { 0.0 } else { counter + random.below(100) as f64 };
        let values = [
            Value::F64(counter),
            Value::F64(random.below(1_000) as f64 / 10.0 - 20.0),
            Value::Text(["Curing", "Open"][round % 2].into()),
        ];
        let quality = [Quality::GOOD, Quality::UNCERTAIN_LAST_USABLE, Quality::BAD_TIMEOUT];
        let quality = quality[[0, 0, 0, 0, 0, 1, 2][random.below(7) as usize]];
        let reading =
            |(tag, value): (&TagId, Value)| Reading { tag: *tag, source_time: time, value: Some(value), quality };
        let readings: Vec<Reading> = tags.iter().zip(values).map(reading).collect();
        shard.pass.submit(shard.now, &readings).expect("room");
        shard.run(random.below(3 * S as u64));
        if round == rounds / 2 {
            shard.now = shard.now.plus_ns(-40 * S);
        }
    }
    shard.sync();
}

fn declared(shard: &mut Shard) -> Vec<TagId> {
    let source = shard.pass.source("press", false, START);
    let kinds = [("a/energy", ValueKind::F64, 0.0), ("a/x", ValueKind::F64, 0.0), ("a/state", ValueKind::Text, 0.0)];
    shard.declare(source, &kinds)
}

fn check(shard: &Shard, tags: &[TagId], random: &mut SimRandom, what: &str) {
    let whole: Vec<Vec<FoundSample>> = tags.iter().map(|tag| shard.samples(*tag, 10_000)).collect();
    for round in 0..60 {
        let begin = START.plus_ns(random.below(1_000 * S as u64) as i64 - 60 * S);
        let from = if round % 2 == 0 { begin } else { begin.window_start(S) };
        let to = from.plus_ns(random.below(400 * S as u64) as i64);
        for (tag, all) in tags.iter().zip(&whole) {
            let what = format!("{what}: tag {tag} from {from} to {to}");
            slow::assert_same(&span(shard, *tag, from, to), &slow::aggregates(all, from, to), &what);
            let every = [S, 7 * S, 60 * S][round % 3];
            slow::assert_rows(&rows(shard, *tag, (from, to), every), &slow::rows(all, from, to, every), &what);
        }
    }
}

#[test]
fn spans_and_windows_say_what_their_samples_say_before_and_after_a_restart() {
    for seed in 0..4 {
        let mut random = SimRandom::new(seed);
        let mut shard = Shard::new();
        let tags = declared(&mut shard);
        history(&mut shard, &mut random, &tags, 300);
        check(&shard, &tags, &mut random, "before");
        let mut shard = shard.power_cut(S);
        shard.sync();
        check(&shard, &tags, &mut random, "after a restart");
        declared(&mut shard);
        history(&mut shard, &mut random, &tags, 100);
        check(&shard, &tags, &mut random, "gone on");
    }
}

fn spec(name: &str, every_s: i64, late_s: i64) -> RollupSpec {
    let aggregates = Aggregate::ALL.map(|(_, aggregate)| aggregate).to_vec();
    RollupSpec { name: name.into(), glob: Glob::new("a/**"), every_ns: every_s * S, aggregates, late_ns: late_s * S }
}

/// R3: the windows in memory, by themselves and by query, say what the samples say; and after a
/// restart they are what they were.
#[test]
fn named_windows_say_what_their_samples_say_before_and_after_a_restart() {
    let windows = |shard: &Shard, tags: &[TagId]| -> Vec<NamedWindow> {
        let named = &shard.pass.state().rollups.named;
        let of = |tag: &TagId| ["ten", "minute"].map(|name| named.windows(name, tag.0).collect::<Vec<_>>());
        tags.iter().flat_map(of).flatten().collect()
    };
    let mut known = 0;
    for seed in 10..14 {
        let specs = || vec![spec("ten", 10, 20), spec("minute", 60, 3_600)];
        let mut random = SimRandom::new(seed);
        let mut shard = Shard::with(SimDisk::new(SimRandom::new(1)), START, specs());
        let tags = declared(&mut shard);
        history(&mut shard, &mut random, &tags, 300);
        check(&shard, &tags, &mut random, "before");
        let (before, dropped) = (windows(&shard, &tags), shard.pass.state().rollups.named.late_dropped());
        assert!(dropped > 0 && before.iter().any(|window| window.revision > 0));
        for (tag, every) in tags.iter().flat_map(|tag| [(tag, 10), (tag, 60)]) {
            let name = if every == 10 { "ten" } else { "minute" };
            let all = shard.samples(*tag, 10_000);
            let named = shard.pass.state().rollups.named.windows(name, tag.0).filter(|window| window.is_whole);
            for window in named {
                let (from, to) = (window.start, window.start.plus_ns(every * S));
                let alone: Vec<_> = all.iter().filter(|s| from <= s.place.time && s.place.time < to).cloned().collect();
                let says = window.stretch.finish(from, to, &Before::default());
                slow::assert_same(&says, &slow::aggregates(&alone, from, to), &format!("{name} of {tag} at {from}"));
            }
            let from = shard.now.window_start(60 * S);
            known += usize::from(plan(&shard, *tag, from, from.plus_ns(60 * S)).is_known());
        }
        let mut shard = Shard::with(shard.disk.crash(Crash::Power), shard.now.plus_ns(S), specs());
        shard.sync();
        let differs =
            windows(&shard, &tags).iter().zip(&before).position(|(a, b)| format!("{a:?}") != format!("{b:?}"));
        assert_eq!((windows(&shard, &tags).len(), differs), (before.len(), None), "as text, where NaN is NaN");
        assert_eq!(shard.pass.state().rollups.named.late_dropped(), dropped);
        check(&shard, &tags, &mut random, "after a restart");
    }
    assert!(known > 0, "memory answers, too");
}

/// Rollups that are configured over a log that is there already do not claim to know what was before.
#[test]
fn rollups_that_come_later_leave_what_was_before_to_the_log() {
    let mut random = SimRandom::new(20);
    let mut shard = Shard::new();
    let tags = declared(&mut shard);
    history(&mut shard, &mut random, &tags, 100);
    let (writer, reader) = ring::latest_table();
    let mut state = State::new(writer);
    let recovered = log::recover(&mut shard.disk, ShardId(0), &mut |frame, _| state.absorb(frame, frame.received()));
    let recovered = recovered.expect("the disk is well");
    state.configure_rollups(vec![spec("ten", 10, 20)]);
    let view = Arc::new(ShardView::new(ShardId(0), reader));
    shard.pass = Pass::new(state, Writer::new(Settings::new(ShardId(0)), &recovered), &recovered, view);
    declared(&mut shard);
    history(&mut shard, &mut random, &tags, 100);
    assert!(shard.pass.state().rollups.named.windows("ten", tags[0].0).count() > 0);
    check(&shard, &tags, &mut random, "rollups that came later");
}

/// A shift of a counter, and the two halves of it: what a batch puts into its document.
#[test]
fn the_delta_of_a_shift_is_the_sum_of_its_hours() {
    for from_memory in [false, true] {
        let specs = if from_memory { vec![spec("minute", 60, 10)] } else { Vec::new() };
        let mut shard = Shard::with(SimDisk::new(SimRandom::new(1)), START, specs);
        let source = shard.pass.source("energy", false, START);
        let tag = shard.declare(source, &[("a/energy", ValueKind::F64, 0.0)])[0];
        let first = START.window_start(60 * S);
        for round in 0..8 * 360 {
            let time = first.plus_ns(round * 10 * S);
            let counter = Value::F64((round % 2_000) as f64);
            shard.pass.submit(time, &[Reading { source_time: Some(time), ..reading(tag, counter) }]).unwrap();
            shard.now = time;
            shard.run(1_000_000);
        }
        shard.sync();
        let hour = |n: i64| first.plus_ns(n * 3_600 * S);
        let shift = plan(&shard, tag, hour(0), hour(8));
        assert_eq!(shift.is_known(), from_memory);
        let shift = shift.run(&shard.disk).expect("readable");
        // 0 to 1,999, then 0 (counts from zero) to 879.
        assert_eq!((shift.delta, shift.count, shift.percent_good), (Some(1_999.0 + 879.0), 2_880, Some(100.0)));
        let hours: f64 = (0..8).map(|n| span(&shard, tag, hour(n), hour(n + 1)).delta.unwrap()).sum();
        assert_eq!(Some(hours), shift.delta);
        let by_rows = rows(&shard, tag, (hour(0), hour(8)), 3_600 * S);
        assert_eq!(by_rows.iter().filter_map(|row| row.aggregates.delta).sum::<f64>(), hours);
        assert!(by_rows.iter().all(|row| row.revision == from_memory.then_some(0)));
        let odd = (hour(1).plus_ns(S / 2), hour(7).plus_ns(-3 * S));
        let all = shard.samples(tag, 10_000);
        slow::assert_same(&span(&shard, tag, odd.0, odd.1), &slow::aggregates(&all, odd.0, odd.1), "an odd span");
    }
}

/// What held a day and more ago is not known any more, whether memory still has it or not.
#[test]
fn a_value_older_than_a_day_does_not_hold() {
    let mut shard = Shard::new();
    let source = shard.pass.source("energy", false, START);
    let tag = shard.declare(source, &[("a/x", ValueKind::F64, 0.0)])[0];
    shard.pass.submit(shard.now, &[reading(tag, Value::F64(5.0))]).unwrap();
    shard.sync();
    let at = START;
    let hour = 3_600 * S;
    for restart in [false, true] {
        if restart {
            shard = shard.power_cut(hour);
            shard.sync();
        }
        let (within, beyond) = (at.plus_ns(24 * hour), at.plus_ns(24 * hour + 1));
        let held = span(&shard, tag, within, within.plus_ns(hour));
        assert_eq!((held.time_average, held.percent_good, held.delta), (Some(5.0), Some(100.0), Some(0.0)));
        let gone = span(&shard, tag, beyond, beyond.plus_ns(hour));
        assert_eq!((gone.time_average, gone.percent_good, gone.delta), (None, Some(0.0), None));
    }
}

#[test]
fn two_logs_of_a_tag_are_put_together_in_time() {
    let mut random = SimRandom::new(5);
    let mut first = Shard::new();
    let tags = declared(&mut first);
    history(&mut first, &mut random, &tags, 60);
    let mut second = Shard::new();
    second.now = first.now.plus_ns(200 * S);
    declared(&mut second);
    history(&mut second, &mut random, &tags, 60);
    for tag in &tags[..2] {
        let mut all = first.samples(*tag, 1_000);
        all.extend(second.samples(*tag, 1_000));
        let (from, to) = (START.plus_ns(20 * S), second.now);
        let read = |shard: &Shard| plan(shard, *tag, from, to).read(&shard.disk).expect("readable");
        let joined = read(&second).join(read(&first)).whole();
        slow::assert_same(&joined, &slow::aggregates(&all, from, to), "both logs");
    }
}
