//! The writer's rules one at a time, on a simulated disk.

mod common;

use common::{MS, SHARD, World, recover, scan, settings};
use env::Clock;
use env::disk::{DiskError, FileNumber, Storage};
use millstream_log::{Health, Settings, Writer};
use model::{LogPosition, ProducerId, Refused, Sequence, TimestampNs, limits};
use sim::{Crash, Faults, SimDisk, SimRandom};
use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;

#[test]
fn what_is_appended_becomes_durable_and_reads_back_by_time() {
    let mut world = World::new(1);
    let mut positions = Vec::new();
    for sequence in 1..=50 {
        positions.push(world.append(&scan(7, sequence, 20)).unwrap());
        assert_eq!(world.writer.oldest(), LogPosition(0), "what waits for its first file is not gone");
        world.step(MS);
    }
    world.settle();
    assert_eq!(world.writer.durable(), *positions.last().unwrap());
    assert!(world.writer.stats().segments > 1, "segments roll");

    let spans = world.writer.spans(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    let mut read = Vec::new();
    let report = millstream_log::read(&world.disk, &spans, &mut |frame, position| {
        if frame.kind().is_telemetry() {
            read.push((frame.sequence().0, position));
        }
        ControlFlow::Continue(())
    });
    assert!(report.unwrap().fences.is_empty());
    assert_eq!(read, (1..=50).zip(positions).collect::<Vec<_>>());

    assert!(world.writer.spans(TimestampNs(0), TimestampNs(10)).is_empty());
}

#[test]
fn many_frames_at_once_longer_than_a_batch_are_taken_whole() {
    let mut world = World::new(2);
    let frames: Vec<u8> = (1..=60).flat_map(|sequence| scan(1, sequence, 16_000)).collect();
    assert!(frames.len() > limits::BATCH_BYTES_MAX);
    let position = world.append(&frames).unwrap();
    assert_eq!(position, LogPosition(frames.len() as u64));
    world.settle();
    world.close();
    let (recovered, seen) = recover(&mut world.disk);
    assert_eq!(seen.len(), 60);
    assert!(recovered.clean && recovered.truncated.is_none());
}

#[test]
fn large_batches_fill_whole_blocks_and_pads_say_nothing() {
    let from = 2 << 10;
    let mut world = World::new(12);
    world.writer = fresh(&mut world.disk, Settings { whole_blocks_from: from, segment_bytes: 1 << 20, ..settings() });
    for sequence in 1..=40 {
        // small and large in turns, and some large ones in a row
        let values = if sequence % 3 == 0 { 4 } else { 400 };
        world.append(&scan(1, sequence, values)).unwrap();
        world.settle();
    }
    world.close();
    let mut listing = Vec::new();
    millstream_log::dump(&world.disk, &mut listing).unwrap();
    let listing = String::from_utf8(listing).unwrap();
    let batches = |kind: &str| listing.lines().filter(|line| line.contains(&format!(": {kind} "))).count();
    assert!(batches("Pad") >= 26, "{listing}");
    let whole = listing.lines().filter_map(|line| line.trim().split_once(": Data ")).filter(|(_, what)| {
        let bytes = what.rsplit(", ").next().and_then(|last| last.strip_suffix(" bytes"));
        bytes.is_some_and(|bytes| bytes.parse::<usize>().unwrap() >= from)
    });
    let offsets: Vec<u64> = whole.map(|(offset, _)| offset.parse().unwrap()).collect();
    assert!(offsets.len() >= 26 && offsets.iter().all(|offset| offset.is_multiple_of(4096)), "{offsets:?}");

    let (recovered, seen) = recover(&mut world.disk);
    assert_eq!(seen.iter().map(|(_, sequence, ..)| *sequence).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    assert!(recovered.clean && recovered.rot.is_empty() && recovered.truncated.is_none());
    assert_eq!(recovered.end, world.writer.end());
}

#[test]
fn a_file_made_ahead_holds_the_next_segment_and_its_zeros_are_no_damage() {
    let mut world = World::new(15);
    let mut made = Vec::new();
    for sequence in 1..=60 {
        while let Some(file) = world.writer.wants_prepared() {
            assert!(world.disk.prepare(file, settings().segment_bytes as usize));
            world.writer.prepared(file, true);
            made.push(file);
        }
        world.append(&scan(1, sequence, 40)).unwrap();
        world.settle();
    }
    assert!(world.writer.segment_count() > 3 && made.len() > 3, "segments roll: {made:?}");
    let segments = world.disk.list().unwrap();
    let longest = segments.iter().map(|file| world.disk.length(*file).unwrap()).max();
    assert_eq!(longest, Some(settings().segment_bytes), "as long as they were made");
    assert!(made.iter().all(|file| !segments.contains(file)), "a number is not used for two things");
    // Not closed: the last segment ends in zeros where a crash could have torn it.
    let (recovered, seen) = recover(&mut world.disk);
    assert_eq!(seen.iter().map(|(_, sequence, ..)| *sequence).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    assert!(recovered.rot.is_empty() && recovered.truncated.is_none(), "{:?}", recovered.truncated);
}

#[test]
fn a_file_that_could_not_be_made_ahead_is_wanted_again_later_and_none_while_the_disk_fails() {
    let mut world = World::new(16);
    world.append(&scan(1, 1, 4)).unwrap();
    world.settle();
    let file = world.writer.wants_prepared().expect("wanted");
    assert_eq!(world.writer.wants_prepared(), None, "one at a time");
    world.writer.prepared(file, false);
    assert_eq!(world.writer.wants_prepared(), None, "not at once");
    world.step(61_000 * MS);
    assert!(world.writer.wants_prepared().is_some_and(|next| next > file), "a number is taken once");
    world.disk.faults().sticky = Some(DiskError::Full);
    world.append(&scan(1, 2, 4)).unwrap();
    (0..20).for_each(|_| world.step(MS));
    world.writer.prepared(FileNumber(file.0 + 1), false);
    world.step(61_000 * MS);
    assert_eq!(world.writer.wants_prepared(), None, "a full disk is not filled further");
}

#[test]
fn smaller_batches_fill_whole_blocks_where_the_file_was_written_before() {
    let mut world = World::new(16);
    let (segment_bytes, again) = (64 << 10, 2 << 10);
    let told = Settings { whole_blocks_from: 1 << 20, whole_blocks_again_from: again, segment_bytes, ..settings() };
    world.writer = fresh(&mut world.disk, told);
    for sequence in 1..=60 {
        // the first file grows, the others were written before
        if sequence > 1
            && let Some(file) = world.writer.wants_prepared()
        {
            assert!(world.disk.prepare(file, segment_bytes as usize));
            world.writer.prepared(file, true);
        }
        world.append(&scan(1, sequence, 400)).unwrap();
        world.settle();
    }
    world.close();
    let mut listing = Vec::new();
    millstream_log::dump(&world.disk, &mut listing).unwrap();
    let listing = String::from_utf8(listing).unwrap();
    let offset = |line: &str| line.trim().split_once(": Data ").map(|(offset, _)| offset.parse::<u64>().unwrap());
    let offsets: Vec<u64> = listing.lines().filter_map(offset).collect();
    let (grown, again): (Vec<u64>, Vec<u64>) = offsets.iter().partition(|offset| !offset.is_multiple_of(4096));
    assert!(grown.len() >= 15 && grown.len() < 30, "the first file, and the last batch of another: {offsets:?}");
    assert!(again.len() > 30, "{offsets:?}");
    assert_eq!(recover(&mut world.disk).1.len(), 60);
}

#[test]
fn a_batch_longer_than_a_segment_stands_behind_its_pad() {
    let mut world = World::new(13);
    world.writer = fresh(&mut world.disk, Settings { whole_blocks_from: 4 << 10, ..settings() });
    for sequence in 1..=5 {
        world.append(&scan(1, sequence, 2_000)).unwrap();
        world.settle();
    }
    world.close();
    assert_eq!(recover(&mut world.disk).1.len(), 5);
}

#[test]
fn what_is_appended_at_once_stands_in_one_batch() {
    let mut world = World::new(14);
    let (first, pair) = (scan(1, 1, 100_000), [scan(1, 2, 30_000), scan(1, 3, 30_000)].concat());
    world.append(&first).unwrap();
    world.append(&pair).unwrap();
    world.settle();
    world.close();
    let mut listing = Vec::new();
    millstream_log::dump(&world.disk, &mut listing).unwrap();
    let listing = String::from_utf8(listing).unwrap();
    let batches: Vec<&str> = listing.split("Data ").skip(1).collect();
    assert!(batches.iter().any(|batch| batch.contains("sequence 2 ") && batch.contains("sequence 3 ")), "{listing}");
}

fn fresh(disk: &mut SimDisk, settings: Settings) -> Writer {
    Writer::new(settings, &recover(disk).0)
}

#[test]
fn refuses_at_the_hard_limit_and_says_why() {
    let mut world = World::new(3);
    let frame = scan(1, 1, 100_000);
    world.disk.faults().sticky = Some(DiskError::Full);
    world.step(MS);
    world.step(MS);
    let mut taken = 0;
    let refused = loop {
        match world.append(&frame) {
            Ok(_) => taken += frame.len(),
            Err(refused) => break refused,
        }
        world.step(MS);
    };
    assert_eq!(refused, Refused::Disk);
    assert!(taken <= limits::BYTES_IN_FLIGHT_MAX && taken + frame.len() > limits::BYTES_IN_FLIGHT_MAX);
    assert!(world.writer.is_busy());
    assert!(matches!(world.writer.health(), Health::Full { .. }));

    *world.disk.faults() = Faults::default();
    world.settle();
    assert!(world.writer.health().is_good());
    assert!(!world.writer.is_busy());
    world.writer.close();
    assert_eq!(world.append(&frame), Err(Refused::Closed));
}

/// The story: a power cut while the plant is idle. Without heartbeats nobody could say how long
/// nothing ran.
/// 1. Data, then a minute of nothing.
/// 2. A power cut.
/// 3. The last mark is at most ten seconds old.
#[test]
fn idle_marks_bound_the_time_of_a_crash_and_carry_the_durable_mark() {
    let mut world = World::new(4);
    world.append(&scan(1, 1, 10)).unwrap();
    world.settle();
    for _ in 0..600 {
        let latest = world.clock.monotonic_ns() + 10_000 * MS;
        assert!(world.writer.deadline_ns().is_none_or(|deadline| deadline <= latest));
        world.step(100 * MS);
    }
    let died = world.clock.wall();
    let mut disk = world.disk.crash(Crash::Power);
    let (recovered, seen) = recover(&mut disk);
    assert_eq!(seen.len(), 1);
    assert!(!recovered.clean);
    assert_eq!(recovered.durable, recovered.end, "the mark says that the frame was durable");
    let last = recovered.last_received.unwrap();
    assert!(died.0 - last.0 < 11_000 * MS as i64, "last sign of life {last}, died {died}");
}

#[test]
fn a_full_disk_goes_on_by_itself() {
    let mut world = World::new(5);
    world.disk.faults().capacity = Some(6_000);
    for sequence in 1..=100 {
        world.append(&scan(1, sequence, 20)).unwrap();
        world.step(5 * MS);
    }
    assert!(matches!(world.writer.health(), Health::Full { .. }));
    assert!(world.writer.durable() > LogPosition(0), "what fits is durable");
    let before = world.writer.durable();
    world.disk.faults().capacity = None;
    world.settle();
    assert!(world.writer.durable() > before);
    world.close();
    let (recovered, seen) = recover(&mut world.disk);
    assert_eq!(seen.iter().map(|s| s.1).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
    assert!(recovered.rot.is_empty(), "{:?}", recovered.rot);
}

/// The story: one sync fails, its pages are marked clean, the data is only in memory.
/// 1. A sync fails.
/// 2. The batch is logged again in a fresh file.
/// 3. A power cut takes what the first file never held.
/// 4. Everything acknowledged is there.
#[test]
fn a_failed_sync_is_never_retried_on_its_file() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.append(&scan(1, 1, 20)).unwrap();
        world.settle();
        world.disk.faults().sync_ppm = 1_000_000;
        world.append(&scan(1, 2, 20)).unwrap();
        for _ in 0..20 {
            world.step(MS);
        }
        assert_eq!(world.writer.durable().0 * 2, world.writer.end().0);
        assert!(world.writer.stats().sync_failures > 0);
        world.disk.faults().sync_ppm = 0;
        world.settle();
        let mut disk = world.disk.crash(Crash::Power);
        let (recovered, seen) = recover(&mut disk);
        assert_eq!(seen.iter().map(|s| s.1).collect::<Vec<_>>(), [1, 2]);
        assert!(recovered.rot.is_empty(), "{:?}", recovered.rot);
    }
}

#[test]
fn retention_by_size_removes_the_oldest_and_never_the_open_segment() {
    let keep = Settings { keep_bytes: 20 << 10, ..settings() };
    let mut world = World::on(SimDisk::new(SimRandom::new(6)), keep);
    for sequence in 1..=400 {
        world.append(&scan(1, sequence, 20)).unwrap();
        world.step(20 * MS);
    }
    for _ in 0..100 {
        world.step(1_000 * MS);
    }
    assert!(world.writer.stats().removed > 0);
    assert!(world.disk.used_bytes() <= (20 << 10) + (8 << 10), "{}", world.disk.used_bytes());
    let (recovered, seen) = recover(&mut world.disk.crash(Crash::Power));
    assert!(recovered.rot.is_empty(), "a removed start is no damage: {:?}", recovered.rot);
    let sequences: Vec<u64> = seen.iter().map(|s| s.1).collect();
    assert_eq!(*sequences.last().unwrap(), 400);
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

/// What somebody waits for goes to the disk at once, or right behind what is on its way.
#[test]
fn who_hurries_waits_for_the_disk_alone() {
    let slow = Settings { sync_ns: 1_000 * MS, ..settings() };
    let mut world = World::on(SimDisk::new(SimRandom::new(19)), slow);
    let polls = |world: &mut World, hurries: bool| {
        let sequence = world.writer.end().0 + 1;
        let position = world.append(&scan(1, sequence, 1)).expect("room");
        if hurries {
            world.writer.hurry();
        }
        let mut polls = 0;
        while world.writer.durable() < position && polls < 200 {
            world.step(0);
            polls += 1;
        }
        polls
    };
    assert!((0..20).all(|_| polls(&mut world, true) < 200));
    assert_eq!(polls(&mut world, false), 200, "who does not waits for company");
    assert!(polls(&mut world, true) < 200, "and gets it");
}

/// What nobody waits for is written by its own time at the latest, or with what comes before that.
#[test]
fn what_may_wait_is_written_in_its_time_or_with_what_may_not() {
    let mut world = World::on(SimDisk::new(SimRandom::new(20)), Settings { sync_ns: 5 * MS, ..settings() });
    world.append(&scan(1, 1, 1)).unwrap();
    world.settle();
    let patient = |world: &mut World, sequence| {
        let wall = world.clock.wall();
        world.writer.append_within(&scan(1, sequence, 1), wall, 20 * MS).unwrap()
    };
    let until_durable = |world: &mut World, position| {
        let mut ms = 0;
        while world.writer.durable() < position {
            world.step(MS);
            ms += 1;
            assert!(ms < 1_000, "never durable");
        }
        ms
    };
    let alone = patient(&mut world, 2);
    assert!(until_durable(&mut world, alone) >= 20, "it waits for company");
    let batches = world.writer.stats().batches;
    patient(&mut world, 3);
    world.step(MS);
    let urgent = world.append(&scan(1, 4, 1)).unwrap();
    patient(&mut world, 5);
    assert!(until_durable(&mut world, urgent) < 15, "what comes later does not put off what came before");
    assert_eq!(world.writer.durable(), world.writer.end(), "and takes the others along");
    assert_eq!(world.writer.stats().batches, batches + 1);
}

/// A file that is there when it is asked for, and then is not: another segment's bytes are read.
struct Overtaken {
    asked: Cell<bool>,
}

impl Storage for Overtaken {
    fn length(&self, _: FileNumber) -> io::Result<u64> {
        if self.asked.replace(true) { Err(io::ErrorKind::NotFound.into()) } else { Ok(1 << 20) }
    }
    fn read_at(&self, _: FileNumber, _: u64, to: &mut [u8]) -> io::Result<usize> {
        to.fill(0x5A);
        Ok(to.len())
    }
    fn list(&self) -> io::Result<Vec<FileNumber>> {
        unreachable!("a reader lists nothing")
    }
    fn truncate(&mut self, _: FileNumber, _: u64) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }
    fn remove(&mut self, _: FileNumber) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }
    fn remove_retired(&mut self) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }
    fn sync(&mut self, _: FileNumber) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        unreachable!("a reader changes nothing")
    }
}

/// A log that retention keeps short, so that its files are used again.
fn short_log(seed: u64) -> World {
    let keep = Settings { keep_bytes: 12 << 10, ..settings() };
    let mut world = World::on(SimDisk::new(SimRandom::new(seed)), keep);
    for sequence in 1..=400 {
        world.append(&scan(1, sequence, 20)).expect("room");
        world.step(20 * MS);
    }
    assert!(world.writer.stats().reused > 5, "{:?}", world.writer.stats());
    world
}

/// The story: a plant's log is as long as it may be.
/// 1. Files that retention takes hold the next segments, with old bytes behind what is new.
/// 2. The process is killed in the middle of such a file.
/// 3. What was stored is there, the old bytes are neither served nor called damage, and files that
///    waited to be used are gone.
#[test]
fn what_remains_of_an_older_segment_is_neither_served_nor_damage() {
    for crash in [Crash::Kill, Crash::Power] {
        let mut world = short_log(16);
        world.settle();
        assert!(world.disk.used_bytes() <= 32 << 10, "{}", world.disk.used_bytes());
        let end = world.writer.end();
        let mut disk = world.disk.crash(crash);
        let report = millstream_log::verify(&disk, Some(SHARD)).expect("read");
        assert!(report.is_sound() && report.torn.is_none() && report.to == end, "{report:?}");
        let (recovered, seen) = recover(&mut disk);
        assert!(recovered.rot.is_empty() && recovered.truncated.is_none(), "{recovered:?}");
        assert_eq!(recovered.end, end);
        let sequences: Vec<u64> = seen.iter().map(|s| s.1).collect();
        assert_eq!(*sequences.last().unwrap(), 400);
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
        let files: u64 = disk.list().unwrap().into_iter().map(|file| disk.length(file).unwrap()).sum();
        assert_eq!(disk.used_bytes(), files, "no file waits to be used again");
    }
}

/// Old bytes behind the last batch must not hide that it rotted.
#[test]
fn rot_in_the_last_batch_of_a_file_that_was_used_before_is_reported() {
    let mut world = short_log(17);
    world.settle();
    let spans = world.writer.spans(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    let closed = spans.windows(2).filter(|pair| pair[0].file != pair[1].file).map(|pair| pair[0]).next_back();
    let last = closed.expect("several segments");
    world.disk.flip(last.file, last.offset_end() - 1, 1);
    let report = millstream_log::verify(&world.disk, Some(SHARD)).expect("read");
    let [fence] = &report.rot[..] else { panic!("one fence: {report:?}") };
    assert!(fence.loses_data() && fence.file == last.file && fence.to == last.to, "{fence}");
    assert_eq!(fence.kind, millstream_log::FenceKind::Damaged);
}

/// The story: a query reads a file while retention takes it.
/// 1. A span is asked for.
/// 2. Its file gets another number and other bytes before it is read.
/// 3. The reader is told that it was removed, not that it is damaged.
#[test]
fn a_file_that_is_used_again_while_it_is_read_is_removed_not_damaged() {
    let world = short_log(18);
    let spans = world.writer.spans(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    let first = spans[0];
    let overtaken = Overtaken { asked: Cell::new(false) };
    let report = millstream_log::read(&overtaken, &[first], &mut |_, _| ControlFlow::Continue(())).expect("read");
    assert_eq!((report.removed, report.fences.len()), (1, 0), "{report:?}");
}

/// The story: a subscriber is down, and what it has not had yet is older than retention keeps.
/// 1. The log's owner holds everything behind a position.
/// 2. Far more is appended than may be kept: nothing behind that position goes.
/// 3. The owner lets go, and retention does its work.
#[test]
fn what_is_held_is_kept_whatever_its_size() {
    let keep = Settings { keep_bytes: 20 << 10, ..settings() };
    let mut world = World::on(SimDisk::new(SimRandom::new(8)), keep);
    let mut held = LogPosition(0);
    for sequence in 1..=400 {
        world.append(&scan(1, sequence, 20)).unwrap();
        world.step(20 * MS);
        if sequence == 100 {
            held = world.writer.durable();
            world.writer.hold(Some(held));
        }
    }
    for _ in 0..100 {
        world.step(1_000 * MS);
    }
    assert!(world.writer.oldest() <= held && world.writer.stored_bytes() > 20 << 10);
    let spans = world.writer.spans_after(held, u64::MAX);
    assert!(spans.first().is_some_and(|span| span.from <= held), "{spans:?}");
    assert_eq!(spans.last().map(|span| span.to), Some(world.writer.durable()));
    assert_eq!(world.writer.spans_after(held, 1).len(), 1, "one span even where it is longer than asked");
    world.writer.hold(None);
    for _ in 0..100 {
        world.step(1_000 * MS);
    }
    assert!(world.writer.oldest() > held && world.writer.stored_bytes() <= 28 << 10);
}

/// The story: NTP sets the clock ten years ahead; every stored sample looks ten years old.
/// 1. A log with closed segments.
/// 2. The wall clock jumps.
/// 3. Nothing is removed before it was kept for the running time that was asked for.
/// 4. Then it is.
#[test]
fn a_clock_that_jumps_removes_nothing() {
    let keep = Settings { keep_ns: 60_000 * MS as i64, ..settings() };
    let mut world = World::on(SimDisk::new(SimRandom::new(7)), keep.clone());
    let ten_years = 10 * 365 * 86_400_000 * MS as i64;
    for sequence in 1..=100 {
        world.append(&scan(1, sequence, 20)).unwrap();
        world.step(5 * MS);
        if sequence == 50 {
            world.clock.jump(ten_years);
        }
    }
    world.settle();
    for _ in 0..300 {
        world.step(100 * MS);
    }
    assert_eq!(world.writer.stats().removed, 0);

    // A restart in between reckons on from what is stored, jump and all.
    let disk = world.disk.crash(Crash::Power);
    let mut world = World::on(disk, keep);
    for _ in 0..100 {
        world.step(100 * MS);
    }
    assert_eq!(world.writer.stats().removed, 0);
    for _ in 0..600 {
        world.step(100 * MS);
    }
    assert!(world.writer.stats().removed > 0);
}

#[test]
fn another_shards_log_and_a_later_format_are_refused() {
    let mut world = World::new(8);
    world.append(&scan(1, 1, 5)).unwrap();
    world.settle();
    let other = millstream_log::recover(&mut world.disk, model::ShardId(9), &mut |_, _| {});
    assert!(matches!(other, Err(millstream_log::RecoverError::Shard { wanted: model::ShardId(9), found: SHARD, .. })));
}

#[test]
fn verify_and_dump_say_what_is_there() {
    let mut world = World::new(9);
    for sequence in 1..=30 {
        world.append(&scan(1, sequence, 20)).unwrap();
        world.step(MS);
    }
    world.close();
    let report = millstream_log::verify(&world.disk, None).unwrap();
    assert_eq!(report.shard, Some(SHARD));
    assert_eq!(report.samples, 600);
    assert!(report.is_sound() && report.clean && report.torn.is_none());
    let mut text = Vec::new();
    millstream_log::dump(&world.disk, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("Scan producer 1 sequence 30"));
    assert!(text.contains("Final"));
    assert_eq!(world.disk.list().unwrap().len() as u64, report.segments);
}

/// The story: dedupe state in a prologue speaks of frames that a crash then takes. Whoever believes
/// it tells the producer to go on behind frames that are nowhere.
/// 1. A segment begins while frames wait.
/// 2. The power fails before they are stored.
/// 3. Recovery does not show the prologue's dedupe state, not then and not in any later life.
#[test]
fn dedupe_state_ahead_of_the_stored_log_is_not_shown() {
    let mut disk = SimDisk::new(SimRandom::new(10));
    for life in 0..40_u64 {
        let mut claims = 0;
        let mut stored = 0;
        let recovered = millstream_log::recover(&mut disk, SHARD, &mut |frame, _| match frame.view() {
            frame::View::Producers(producers) => {
                claims = claims.max(producers.producers.iter().map(|p| p.sequence.to_native()).max().unwrap_or(0));
            }
            frame::View::Scan(_) => stored = frame.sequence().0,
            _ => {}
        })
        .unwrap();
        assert!(claims <= stored, "life {life}: claims {claims}, stored {stored}");
        let mut writer = millstream_log::Writer::new(settings(), &recovered);
        let mut next = stored;
        for step in 0..30 + life {
            for _ in 0..3 {
                next += 1;
                writer.append(&scan(1, next, 40), TimestampNs(0)).unwrap();
            }
            disk.set_now(step * MS);
            writer.poll(step * MS, TimestampNs(0), &mut disk, &mut |builder, _| {
                let mark = frame::ProducerMark { producer: 1, sequence: next };
                let producers = frame::Producers { producers: vec![mark] };
                builder.producers(ProducerId::SELF, Sequence(0), &producers).unwrap();
                false
            });
        }
        disk = disk.crash(Crash::Power);
    }
}

#[test]
fn a_missing_segment_in_the_middle_is_said() {
    let mut world = World::new(11);
    for sequence in 1..=100 {
        world.append(&scan(1, sequence, 20)).unwrap();
        world.step(5 * MS);
    }
    world.close();
    assert!(world.disk.lose(FileNumber(2)));
    let (recovered, seen) = recover(&mut world.disk);
    assert_eq!(recovered.rot.len(), 1);
    assert_eq!(recovered.rot[0].kind, millstream_log::FenceKind::Missing);
    assert!(recovered.rot[0].loses_data());
    let fence = &recovered.rot[0];
    assert!(seen.iter().all(|s| s.3 <= fence.from.0 || s.3 > fence.to.0));
    assert_eq!(seen.last().unwrap().1, 100);
}

/// A head in parts: one part a poll, data waits behind all of them, and so does what is appended
/// while they are made; what the last part claims is stored.
#[test]
fn a_head_is_made_one_part_a_poll_and_stands_before_what_waits() {
    const PARTS: usize = 40;
    let mut disk = SimDisk::new(SimRandom::new(12));
    let recovered = millstream_log::recover(&mut disk, SHARD, &mut |_, _| {}).unwrap();
    let mut writer = millstream_log::Writer::new(settings(), &recovered);
    let (mut next, mut asked, mut heads) = (0, 0, 0);
    for step in 1..=1_200_u64 {
        if step <= 200 {
            next += 1;
            writer.append(&scan(1, next, 4_000), TimestampNs(0)).unwrap();
        }
        disk.set_now(step * MS);
        let mut calls = 0;
        writer.poll(step * MS, TimestampNs(0), &mut disk, &mut |builder, part| {
            assert_eq!(part, asked, "in order, from 0 for each segment");
            calls += 1;
            asked = (part + 1) % PARTS;
            heads += usize::from(asked == 0);
            // long enough that one head takes several batches
            let name = "n".repeat(30_000);
            let sources = frame::Sources { sources: vec![frame::SourceRecord { id: part as u32, name }] };
            builder.sources(ProducerId::SELF, Sequence(0), &sources).unwrap();
            if asked == 0 {
                let mark = frame::ProducerMark { producer: 1, sequence: next };
                let producers = frame::Producers { producers: vec![mark] };
                builder.producers(ProducerId::SELF, Sequence(0), &producers).unwrap();
            }
            asked > 0
        });
        assert!(calls <= 1, "step {step}");
        if calls > 0 && heads == 0 {
            assert_eq!(writer.durable(), LogPosition(0), "data was placed before the head was complete");
        }
    }
    assert!(heads >= 2, "{heads} heads");
    assert_eq!(writer.durable(), writer.end());
    let (mut parts, mut stored) = (0, 0);
    let mut disk = disk.crash(Crash::Power);
    millstream_log::recover(&mut disk, SHARD, &mut |frame, _| match frame.view() {
        frame::View::Sources(sources) => {
            assert_eq!(sources.sources[0].id.to_native() as usize, parts % PARTS);
            parts += 1;
        }
        frame::View::Producers(producers) => {
            assert_eq!(parts % PARTS, 0);
            assert!(producers.producers[0].sequence.to_native() >= stored);
        }
        frame::View::Scan(_) => {
            assert_eq!((frame.sequence().0, parts % PARTS), (stored + 1, 0));
            stored += 1;
        }
        _ => {}
    })
    .unwrap();
    assert_eq!((parts, stored), (heads * PARTS, next));
}
