//! The pass over a simulated disk: what is visible, what is stored, what is said of the rest.

mod support;

use millstream_pipeline::{TakeError, Taken};
use model::{Gap, GapReason, ProducerId, Quality, Refused, Run, Sequence, TagId, Value, ValueKind};
use sim::Faults;
use support::*;

const F64: ValueKind = ValueKind::F64;

/// 1. The disk is full, and so is the memory before it. 2. A reading is refused. 3. Nobody sees it.
#[test]
fn values_never_show_what_the_log_refused() {
    let mut shard = Shard::new();
    let source = shard.pass.source("press", true, START);
    let [polled, sent] = shard.declare(source, &[("a/x", F64, 0.0), ("a/y", F64, 0.0)])[..] else { panic!("two") };
    shard.pass.open(ProducerId(7), source).unwrap();
    shard.pass.submit(shard.now, &[reading(polled, Value::F64(1.0))]).unwrap();
    shard.sync();
    shard.disk.faults().capacity = Some(0);
    let taken = shard.fill(7, sent);
    let before = (shard.pass.state().latest(polled), shard.pass.state().latest(sent));
    let windows = |shard: &Shard| shard.pass.state().rollups.windows(polled.0, ALL.0, ALL.1).count();
    let (counted, samples) = (windows(&shard), shard.pass.view().totals.samples.get());
    let many: Vec<_> = (0..43_000).map(|i| reading(polled, Value::F64(f64::from(i)))).collect();
    assert!(matches!(shard.pass.submit(shard.now, &many), Err(Refused::Busy | Refused::Disk)));
    assert_eq!((shard.pass.state().latest(polled), shard.pass.state().latest(sent)), before);
    assert_eq!((windows(&shard), shard.pass.view().totals.samples.get()), (counted, samples));
    assert_eq!(shard.pass.state().producers.last(ProducerId(7)), Sequence(taken));
    assert_eq!(shard.values(sent), [], "nothing of it is durable, so no query has it");
}

#[test]
fn readings_within_the_deadband_are_seen_and_not_stored() {
    let mut shard = Shard::new();
    let source = shard.pass.source("press", true, START);
    let tag = shard.declare(source, &[("a/x", F64, 0.5)])[0];
    for value in [1.0, 1.2, 1.49, 1.5, 1.3] {
        shard.run(20_000_000);
        shard.pass.submit(shard.now, &[reading(tag, Value::F64(value))]).unwrap();
    }
    let latest = shard.pass.state().latest(tag).unwrap();
    assert_eq!((f64::from_bits(latest.bits), latest.seen_ns), (1.5, shard.now.0));
    assert!(latest.server_time_ns < latest.seen_ns);
    shard.run(61 * S as u64);
    shard.pass.submit(shard.now, &[reading(tag, Value::F64(1.4))]).unwrap();
    shard.sync();
    assert_eq!(shard.values(tag), [1.0, 1.5, 1.4].map(|value| Some(Value::F64(value))), "the last by its heartbeat");
    assert_eq!(shard.pass.view().totals.suppressed.get(), 3);
    assert_eq!(shard.pass.view().totals.samples.get(), 3);
}

/// What is taken as a run is what is taken as its readings: latest values, windows, and what a query reads from
/// the log; also where a tag has a deadband, and of tags that do not all have the kind that is said.
#[test]
fn a_run_is_stored_as_its_readings_are() {
    let paths: Vec<String> = (0..40).map(|i| format!("a/t{i}")).collect();
    let tell = |kind: ValueKind, other: ValueKind, deadband: f64, as_run: bool| {
        // one of another source has a deadband, which is nobody else's
        let band = |shard: &mut Shard| {
            let other = shard.pass.source("oven", true, START);
            shard.declare(other, &[("b/x", F64, 1.0)]);
        };
        let mut shard = Shard::new();
        let source = shard.pass.source("press", true, START);
        let kinds = (0..40).map(|i| if i == 39 { other } else { kind });
        let wanted: Vec<_> = paths.iter().zip(kinds).map(|(path, kind)| (path.as_str(), kind, deadband)).collect();
        let tags = shard.declare(source, &wanted);
        band(&mut shard);
        for round in 0..5 {
            let values = (0..40).map(|i| Value::from_bits(kind, i + round).expect("a number"));
            let bits: Vec<u64> = values.map(|value| value.bits().expect("a number")).collect();
            let run = Run { first: tags[0], kind, bits: &bits };
            if as_run {
                shard.pass.submit_run(shard.now, run).unwrap();
            } else {
                shard.pass.submit(shard.now, &run.readings().collect::<Vec<_>>()).unwrap();
            }
            shard.run(700_000_000);
        }
        shard.sync();
        let windows = |tag: &TagId| {
            let windows = shard.pass.state().rollups.windows(tag.0, ALL.0, ALL.1);
            windows.map(|window| format!("{window:?}")).collect::<Vec<_>>()
        };
        let told = |tag: &TagId| (shard.pass.state().latest(*tag), windows(tag), shard.values(*tag));
        let all: Vec<_> = tags.iter().map(told).collect();
        (all, shard.pass.view().totals.samples.get(), shard.pass.view().totals.frames.get())
    };
    for (kind, other, deadband) in [
        (F64, F64, 0.0),
        (ValueKind::I64, ValueKind::I64, 0.0),
        (ValueKind::Bool, ValueKind::Bool, 0.0),
        (ValueKind::I64, F64, 0.0),
        (ValueKind::I64, ValueKind::I64, 2.5),
    ] {
        let (run, readings) = (tell(kind, other, deadband, true), tell(kind, other, deadband, false));
        assert_eq!(format!("{run:?}"), format!("{readings:?}"), "{kind:?} {other:?} {deadband}");
        assert!(run.1 > 0);
    }
}

/// A deadband must not compare with a value that the log refused: the next equal one would be
/// suppressed, and the change be lost.
#[test]
fn a_refused_reading_does_not_move_the_deadband() {
    let mut shard = Shard::new();
    let source = shard.pass.source("press", true, START);
    let [banded, other] = shard.declare(source, &[("a/x", F64, 0.5), ("a/y", F64, 0.0)])[..] else { panic!("two") };
    shard.pass.open(ProducerId(7), source).unwrap();
    shard.pass.submit(shard.now, &[reading(banded, Value::F64(1.0))]).unwrap();
    shard.sync();
    shard.disk.faults().capacity = Some(0);
    shard.fill(7, other);
    // What is left of the memory is less than one of these.
    let mut batch: Vec<_> = (0..43_000).map(|i| reading(other, Value::F64(f64::from(i)))).collect();
    batch[0] = reading(banded, Value::F64(9.0));
    assert!(shard.pass.submit(shard.now, &batch).is_err());
    *shard.disk.faults() = Faults::default();
    shard.run(5 * S as u64);
    shard.sync();
    shard.pass.submit(shard.now, &[reading(banded, Value::F64(9.0))]).unwrap();
    shard.sync();
    assert_eq!(shard.values(banded), [1.0, 9.0].map(|value| Some(Value::F64(value))));
}

#[test]
fn texts_are_interned_once_and_survive() {
    let mut shard = Shard::new();
    let source = shard.pass.source("press", true, START);
    let tag = shard.declare(source, &[("a/state", ValueKind::Text, 0.0)])[0];
    let said = ["Curing", "Open", "Curing"].map(|text| Value::Text(text.into()));
    for text in &said {
        shard.run(20_000_000);
        shard.pass.submit(shard.now, &[reading(tag, text.clone())]).unwrap();
    }
    shard.sync();
    assert_eq!(shard.pass.state().definitions.texts().len(), 2);
    let mut shard = shard.power_cut(S);
    shard.run(S as u64);
    assert_eq!(shard.values(tag), said.map(Some));
    shard.pass.source("press", true, shard.now);
    shard.pass.submit(shard.now, &[reading(tag, Value::Text("Open".into()))]).unwrap();
    assert_eq!(shard.pass.state().definitions.texts().len(), 2);
    shard.pass.open(ProducerId(7), source).unwrap();
    assert_eq!(shard.take(7, 1, tag, &[2]), Err(TakeError::BadText { tag }));
}

#[test]
fn a_value_of_another_kind_is_bad_and_says_why() {
    let mut shard = Shard::new();
    let source = shard.pass.source("press", true, START);
    let kinds = [("a/f", F64, 0.0), ("a/i", ValueKind::I64, 0.0), ("a/b", ValueKind::Bool, 0.0)];
    let [float, int, bool] = shard.declare(source, &kinds)[..] else { panic!("three") };
    let text = || Value::Text("12".into());
    let wrong = [reading(float, text()), reading(int, Value::F64(1.5)), reading(bool, Value::I64(1))];
    shard.pass.submit(shard.now, &wrong).unwrap();
    let right = [reading(float, Value::I64(3)), reading(int, Value::Bool(true)), reading(bool, Value::Bool(true))];
    shard.run(20_000_000);
    shard.pass.submit(shard.now, &right).unwrap();
    shard.sync();
    for (tag, value) in [(float, Value::F64(3.0)), (int, Value::I64(1)), (bool, Value::Bool(true))] {
        let samples = shard.samples(tag, 10);
        assert_eq!((&samples[0].value, samples[0].quality), (&None, Quality::BAD_TYPE_MISMATCH));
        assert_eq!((&samples[1].value, samples[1].quality), (&Some(value), Quality::GOOD));
        let windows: Vec<_> = shard.pass.state().rollups.windows(tag.0, ALL.0, ALL.1).collect();
        assert_eq!(windows.iter().map(|window| window.count).sum::<u64>(), 1, "a bad value counts nowhere");
    }
}

#[test]
fn a_gap_said_while_the_disk_is_full_reaches_the_log_with_its_count() {
    let mut shard = Shard::new();
    let source = shard.pass.source("press", true, START);
    let tag = shard.declare(source, &[("a/x", F64, 0.0)])[0];
    shard.pass.open(ProducerId(7), source).unwrap();
    shard.pass.seal_definitions(shard.now).unwrap();
    shard.sync();
    shard.disk.faults().capacity = Some(0);
    shard.fill(7, tag);
    // The rest of the memory goes to smaller frames, so that not even a gap finds room.
    while shard.pass.submit(shard.now, &vec![reading(tag, Value::F64(0.0)); 100]).is_ok() {}
    while shard.pass.submit(shard.now, &[reading(tag, Value::F64(0.0))]).is_ok() {}
    let from = shard.now;
    for _ in 0..5 {
        let begun = shard.now;
        shard.run(1_000_000);
        shard.pass.gap(Gap::of_source(source, begun, shard.now, GapReason::Timeout, 2));
    }
    shard.run(S as u64);
    assert_eq!(shard.gaps(source), [], "it is not in the log, so no query shows it");
    *shard.disk.faults() = Faults::default();
    shard.run(5 * S as u64);
    shard.sync();
    let to = from.plus_ns(5_000_000);
    let wanted = [Gap::of_source(source, from, to, GapReason::Timeout, 10)];
    assert_eq!(shard.gaps(source), wanted);
    assert_eq!(shard.power_cut(S).gaps(source), wanted);
}

#[test]
fn only_watched_sources_have_a_gap_of_the_time_without_millstream() {
    let mut shard = Shard::new();
    let (watched, native) = (shard.pass.source("press", true, START), shard.pass.source("rig", false, START));
    assert!(shard.gaps(watched).is_empty(), "the first start ever misses nothing");
    shard.declare(watched, &[("a/x", F64, 0.0)]);
    shard.pass.seal_definitions(shard.now).unwrap();
    shard.sync();
    let mut shard = shard.power_cut(90 * S);
    let stopped = shard.recovered.last_received.unwrap();
    assert_eq!(shard.pass.source("rig", false, shard.now), native);
    assert_eq!(shard.pass.source("press", true, shard.now), watched);
    shard.pass.source("new", true, shard.now);
    let back = shard.now;
    shard.sync();
    let reason = GapReason::NotRunning;
    assert_eq!(
        shard.gaps(watched),
        [Gap { source: watched, tags: None, from: stopped, to: back, reason, count: None }]
    );
    assert!(shard.gaps(native).is_empty());
    // Said once: opening it again adds nothing.
    shard.pass.source("press", true, shard.now);
    shard.sync();
    assert_eq!(shard.gaps(watched).len(), 1);
}

#[test]
fn duplicates_count_once_also_after_a_restart() {
    let mut shard = Shard::new();
    let source = shard.pass.source("rig", false, START);
    let tag = shard.declare(source, &[("a/x", F64, 0.0)])[0];
    shard.pass.open(ProducerId(7), source).unwrap();
    for sequence in 1..=3 {
        assert!(matches!(shard.take(7, sequence, tag, &[sequence]), Ok(Taken::Stored { .. })));
    }
    assert_eq!(shard.take(7, 2, tag, &[2]), Ok(Taken::Duplicate));
    assert_eq!(shard.pass.view().totals.duplicates.get(), 1);
    shard.sync();
    let mut shard = shard.power_cut(S);
    assert_eq!(shard.take(7, 4, tag, &[4]), Err(TakeError::UnknownProducer), "it has to say hello again");
    assert_eq!(shard.pass.open(ProducerId(7), source), Ok(Sequence(3)));
    for sequence in 1..=3 {
        assert_eq!(shard.take(7, sequence, tag, &[sequence]), Ok(Taken::Duplicate));
    }
    assert!(matches!(shard.take(7, 4, tag, &[4]), Ok(Taken::Stored { .. })));
    shard.sync();
    assert_eq!(shard.pass.view().totals.duplicates.get(), 3);
    assert_eq!(shard.samples(tag, 2).len(), 4);
    assert!(shard.gaps(source).is_empty());
}

/// 1. Frames 2 and 3 never come, 4 is shed. 2. A crash. 3. Frame 5 shows no hole again.
#[test]
fn lost_and_shed_frames_are_counted_once_over_a_restart() {
    let mut shard = Shard::new();
    let source = shard.pass.source("rig", false, START);
    let tag = shard.declare(source, &[("a/x", F64, 0.0)])[0];
    shard.pass.open(ProducerId(7), source).unwrap();
    shard.take(7, 1, tag, &[1]).unwrap();
    shard.pass.shed(ProducerId(7), Sequence(4), 6, shard.now);
    shard.pass.shed(ProducerId(7), Sequence(4), 6, shard.now);
    shard.sync();
    let mut shard = shard.power_cut(S);
    assert_eq!(shard.pass.open(ProducerId(7), source), Ok(Sequence(4)));
    shard.take(7, 5, tag, &[5]).unwrap();
    shard.sync();
    let counts: Vec<_> = shard.gaps(source).iter().map(|gap| (gap.reason, gap.count)).collect();
    assert_eq!(counts, [(GapReason::LostInTransit, Some(2)), (GapReason::Shed, Some(6))]);
    assert_eq!(shard.values(tag).len(), 2);
}

#[test]
fn a_frame_of_another_source_changes_nothing() {
    let mut shard = Shard::new();
    let (ours, theirs) = (shard.pass.source("rig", false, START), shard.pass.source("other", false, START));
    shard.declare(ours, &[("a/x", F64, 0.0)]);
    let tag = shard.declare(theirs, &[("b/x", F64, 0.0)])[0];
    shard.pass.open(ProducerId(7), ours).unwrap();
    let end = shard.pass.end();
    assert_eq!(shard.take(7, 1, tag, &[1]), Err(TakeError::ForeignTag { tag }));
    assert_eq!((shard.pass.end(), shard.pass.state().latest(tag)), (end, None));
    assert_eq!(shard.pass.state().producers.last(ProducerId(7)), Sequence(0));
    assert_eq!(shard.durable().0, 0);
}

/// Many calls that register few tags each do not make a table each; the last one is there in time.
#[test]
fn tables_of_the_tags_are_made_at_a_bounded_pace() {
    let mut shard = Shard::new();
    let source = shard.pass.source("a", true, START);
    let (mut tables, mut tags) = (0, 0);
    for call in 0..1_000 {
        let paths: Vec<String> = (call * 10..call * 10 + 10).map(|n| format!("a/t{n}")).collect();
        let some: Vec<_> = paths.iter().map(|path| (path.as_str(), F64, 0.0)).collect();
        shard.declare(source, &some);
        shard.run(100_000);
        let seen = shard.pass.view().tags().len();
        assert!(seen >= tags, "tags went away");
        tables += usize::from(seen > tags);
        tags = seen;
    }
    assert!((5..100).contains(&tables), "{tables} tables in 0.1 s of 1,000 calls");
    shard.run(60_000_000);
    assert_eq!(shard.pass.view().tags().len(), 10_000);
}
