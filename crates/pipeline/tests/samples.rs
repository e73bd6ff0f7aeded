//! A frame of samples says what its samples say one by one, however they are taken together.

mod support;

use frame::{Builder, Samples, StoredSample, check};
use millstream_pipeline::rollup::{Aggregate, RollupSpec};
use millstream_pipeline::{State, TakeError, Taken};
use model::{Glob, ProducerId, Quality, Sequence, TagDeclaration, TagId, TagPath, TimestampNs, ValueKind};
use proptest::prelude::*;
use support::Shard;

const S: i64 = support::S;
const START: i64 = support::START.0;
const TAGS: u32 = 100;
/// Tags from here on are of other kinds than `F64`.
const OTHERS: u32 = 90;
const UNKNOWN: u32 = TAGS + 3;

/// Rollups that have a name for some tags, some tags watched, or nobody who wants to be told.
fn state(is_told: bool) -> State {
    let (writer, _) = ring::latest_table();
    let mut state = State::new(writer);
    if is_told {
        let aggregates = vec![Aggregate::Delta, Aggregate::Count];
        let (name, glob) = ("two".into(), Glob::new("a/t1*"));
        state.configure_rollups(vec![RollupSpec { name, glob, every_ns: 2 * S, aggregates, late_ns: S }]);
        (20..24).for_each(|tag| state.watch.add(tag));
    }
    let source = state.definitions.source("rig");
    let kind = |i| match i {
        0..OTHERS => ValueKind::F64,
        OTHERS..95 => ValueKind::I64,
        _ => ValueKind::Bool,
    };
    let tag = |i| TagDeclaration {
        path: TagPath::new(&format!("a/t{i}")).expect("a path"),
        kind: kind(i),
        unit: String::new(),
        range: None,
        deadband: 0.0,
        heartbeat_ns: 0,
    };
    state.declare(source, &(0..TAGS).map(tag).collect::<Vec<_>>()).expect("room");
    state.go_live();
    state
}

/// Everything that a state knows of its samples.
fn known(state: &mut State) -> String {
    let all = (TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    let mut text = format!("{} samples\n", state.samples());
    for tag in 0..TAGS {
        let latest = state.latest(TagId(tag));
        let windows: Vec<_> = state.rollups.windows(tag, all.0, all.1).collect();
        let named: Vec<_> = state.rollups.named.windows("two", tag).collect();
        text += &format!("{tag}: {latest:?} {windows:?} {named:?} {:?}\n", state.rollups.complete_from(tag));
    }
    while let Some(watched) = state.watch.take() {
        text += &format!("{watched:?}\n");
    }
    text
}

fn absorb(state: &mut State, sequence: &mut u64, samples: &[StoredSample], received: i64) {
    *sequence += 1;
    let mut bytes = Builder::new();
    let samples = Samples { samples: samples.to_vec() };
    bytes.samples(ProducerId(7), Sequence(*sequence), &samples).expect("small enough");
    state.absorb(check(bytes.bytes()).expect("a frame"), TimestampNs(received));
}

/// Runs of consecutive tags at one time, most of them of numbers that are good.
fn runs() -> impl Strategy<Value = Vec<StoredSample>> {
    let first = prop_oneof![6 => 0..OTHERS, 1 => 0..TAGS, 1 => Just(16_u32), 1 => Just(UNKNOWN)];
    let quality = prop_oneof![5 => Just(0), 1 => Just(Quality::BAD.0), 1 => Just(0x4000_0000_u32)];
    let time = prop_oneof![6 => -2 * S..2 * S, 1 => Just(i64::MIN)];
    (first, 1_u32..40, time, quality, any::<bool>()).prop_map(|(first, count, time, quality, steps)| {
        let end = if first == UNKNOWN {
            UNKNOWN + 1
        } else {
            (first + count).min(if first < OTHERS { OTHERS } else { TAGS })
        };
        let source_time_ns = |i: u32| match time {
            i64::MIN => i64::MIN,
            time => START + time + if steps { i64::from(i) * S / 9 } else { 0 },
        };
        let value = |i: u32| if first < OTHERS { (f64::from(i) * 0.5 - 9.0).to_bits() } else { u64::from(i % 2) };
        let sample = |i: u32| StoredSample { source_time_ns: source_time_ns(i), value: value(i), tag: i, quality };
        (first..end).map(sample).collect()
    })
}

proptest! {
    #[test]
    fn a_frame_says_what_its_samples_say_one_by_one(
        is_told in any::<bool>(), frames in prop::collection::vec(prop::collection::vec(runs(), 1..8), 1..12)
    ) {
        let (mut whole, mut single) = (state(is_told), state(is_told));
        let (mut wholes, mut singles) = (0, 0);
        for (n, frame) in frames.iter().enumerate() {
            let received = START + n as i64 * S / 3;
            let samples: Vec<StoredSample> = frame.iter().flatten().copied().collect();
            absorb(&mut whole, &mut wholes, &samples, received);
            for sample in &samples {
                absorb(&mut single, &mut singles, std::slice::from_ref(sample), received);
            }
        }
        prop_assert_eq!(known(&mut whole), known(&mut single));
    }
}

/// The frame is asked about as a whole where all of its samples are numbers, and sample by sample where
/// one is not.
#[test]
fn a_tag_of_another_source_or_an_unknown_text_refuses_the_whole_frame() {
    let mut shard = Shard::new();
    let (rig, other) =
        (shard.pass.source("rig", false, support::START), shard.pass.source("other", false, support::START));
    let mine = shard.declare(rig, &[("a/x", ValueKind::F64, 0.0), ("a/note", ValueKind::Text, 0.0)]);
    let foreign = shard.declare(other, &[("b/x", ValueKind::F64, 0.0)])[0];
    shard.pass.open(ProducerId(7), rig).expect("room");
    let text = shard.pass.texts(&["known"]).expect("room")[0];
    let take = |shard: &mut Shard, second: TagId, value: u64| {
        let sample = |tag: TagId, value| StoredSample { source_time_ns: shard.now.0, value, tag: tag.0, quality: 0 };
        let samples = Samples { samples: vec![sample(mine[0], 0), sample(second, value)] };
        let mut bytes = Builder::new();
        bytes.samples(ProducerId(7), Sequence(1), &samples).expect("small enough");
        shard.pass.take(check(bytes.bytes()).expect("a frame"), shard.now)
    };
    let unknown = TagId(99);
    assert_eq!(take(&mut shard, foreign, 0), Err(TakeError::ForeignTag { tag: foreign }));
    assert_eq!(take(&mut shard, unknown, 0), Err(TakeError::ForeignTag { tag: unknown }));
    assert_eq!(take(&mut shard, mine[1], 9), Err(TakeError::BadText { tag: mine[1] }));
    assert_eq!(shard.pass.state().latest(mine[0]), None, "nothing of them shows");
    assert!(matches!(take(&mut shard, mine[1], u64::from(text.0)), Ok(Taken::Stored { .. })));
    assert_eq!(shard.pass.state().latest(mine[1]).map(|latest| latest.bits), Some(u64::from(text.0)));
}
