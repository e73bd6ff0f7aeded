//! Every image that a crash or rot can leave of a small log.

mod common;

use common::{MS, Seen, World, recover, scan};
use env::Clock;
use env::disk::{Disk, DiskOp, FileNumber, OpId, Storage};
use proptest::prelude::*;
use sim::{Crash, Faults, SimDisk};

/// A log of a few segments, and what is in it.
fn sample(close: bool) -> (SimDisk, Vec<Seen>) {
    let mut world = World::new(1);
    for sequence in 1..=40 {
        world.append(&scan(1 + sequence % 2, sequence, 1 + sequence as usize % 30)).expect("taken");
        world.step(3 * MS);
    }
    world.settle();
    if close {
        world.close();
    }
    let mut disk = world.disk.crash(Crash::Kill);
    let (_, seen) = recover(&mut disk.copy());
    assert_eq!(seen.len(), 40);
    disk.faults().nth = None;
    (disk, seen)
}

/// The story: the last segment ends anywhere at all, as a power cut leaves it.
#[test]
fn every_truncation_of_the_last_segment_recovers_a_prefix_and_goes_on() {
    let (disk, all) = sample(false);
    let last = *disk.list().unwrap().last().unwrap();
    let length = disk.length(last).unwrap();
    let mut shortest = usize::MAX;
    for cut in (0..length).rev() {
        let mut disk = disk.copy();
        disk.shorten(last, cut);
        let (recovered, seen) = recover(&mut disk);
        assert_eq!(seen, all[..seen.len()], "cut at {cut}");
        assert!(recovered.rot.is_empty(), "cut at {cut}: {:?}", recovered.rot);
        shortest = shortest.min(seen.len());
        let (again, same) = recover(&mut disk);
        assert_eq!((again.end, &same), (recovered.end, &seen), "cut at {cut}: recovery is repeatable");
        assert_eq!(again.truncated, None);
        if cut % 97 == 0 {
            let mut world = World::on(disk, common::settings());
            world.append(&scan(1, 1000, 3)).unwrap();
            world.settle();
            let (_, after) = recover(&mut world.disk.crash(Crash::Power));
            assert_eq!(after.last().unwrap().1, 1000);
            assert_eq!(after.len(), same.len() + 1);
        }
    }
    assert!(shortest < all.len());
}

/// The story: one bit rots, anywhere.
#[test]
fn every_flipped_byte_is_detected_and_never_served() {
    let (disk, all) = sample(true);
    for file in disk.list().unwrap() {
        for offset in 0..disk.length(file).unwrap() {
            let mut disk = disk.copy();
            disk.flip(file, offset, 1 << (offset % 8));
            let (recovered, seen) = recover(&mut disk);
            let reported = !recovered.rot.is_empty() || recovered.truncated.is_some();
            assert!(reported, "{file} byte {offset} rots in silence");
            let mut rest = all.iter();
            for frame in &seen {
                assert!(rest.any(|original| original == frame), "{file} byte {offset}: a frame was never stored");
            }
            let lost: u64 = recovered.rot.iter().map(|fence| fence.to.0 - fence.from.0).sum();
            let missing = all.iter().filter(|frame| !seen.contains(frame));
            assert_eq!(missing.map(|frame| frame.2.len() as u64).sum::<u64>(), lost, "{file} byte {offset}");
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_is_fenced_even_at_the_end() {
    let (disk, all) = sample(false);
    let last = *disk.list().unwrap().last().unwrap();
    let length = disk.length(last).unwrap();
    let mut disk = disk.copy();
    disk.spoil(last, length - 100, length);
    let (recovered, seen) = recover(&mut disk);
    assert!(seen.len() < all.len() && seen == all[..seen.len()]);
    assert_eq!(recovered.rot.len(), 1, "{:?}", recovered.rot);
    assert_eq!(recovered.rot[0].kind, millstream_log::FenceKind::Unreadable);
    assert_eq!(disk.length(last).unwrap(), length, "what may be acknowledged is not cut");

    // It goes on behind the fence, and stays so.
    let mut world = World::on(disk, common::settings());
    world.append(&scan(1, 1000, 3)).unwrap();
    world.settle();
    assert_eq!(world.writer.durable(), world.writer.end());
    let (_, after) = recover(&mut world.disk.crash(Crash::Power));
    assert_eq!(after.last().unwrap().1, 1000);
    assert_eq!(after.len(), seen.len() + 1);
}

/// The story: the only file was removed, the process died before the directory was synced, the next
/// one found nothing, and then the power fails.
#[test]
fn a_file_that_recovery_did_not_find_does_not_come_back() {
    for seed in 0..64 {
        let mut world = World::new(seed);
        world.append(&scan(1, 1, 3)).expect("taken");
        world.close();
        let mut disk = world.disk;
        let file = *disk.list().unwrap().last().unwrap();
        disk.submit(OpId(u64::MAX), DiskOp::Remove { file });
        while disk.pending() > 0 {
            disk.poll_completion();
        }
        let mut disk = disk.crash(Crash::Kill);
        let (recovered, seen) = recover(&mut disk);
        assert_eq!((recovered.end.0, seen.len()), (0, 0));
        let (recovered, seen) = recover(&mut disk.crash(Crash::Power));
        assert_eq!((recovered.end.0, seen.len()), (0, 0), "seed {seed}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Append(u8),
    Step(u16),
    Faults(u8),
    Crash(bool),
    Close,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => any::<u8>().prop_map(Action::Append),
        6 => (0_u16..3000).prop_map(Action::Step),
        1 => (0_u8..8).prop_map(Action::Faults),
        1 => any::<bool>().prop_map(Action::Crash),
        1 => Just(Action::Close),
    ]
}

fn faults(which: u8, used: u64) -> Faults {
    let half = 500_000;
    match which {
        0 => Faults { write_ppm: half, ..Faults::default() },
        1 => Faults { sync_ppm: half, ..Faults::default() },
        2 => Faults { create_ppm: half, directory_ppm: half, ..Faults::default() },
        3 => Faults { short_ppm: half, delay_ns: (0, 20 * MS), ..Faults::default() },
        4 => Faults { capacity: Some(used + 1000), ..Faults::default() },
        _ => Faults::default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_keeps_what_was_durable(seed: u64, actions in prop::collection::vec(action(), 1..120)) {
        let mut world = World::new(seed);
        let (mut appended, mut next) = (Vec::<(u64, u64)>::new(), 1);
        for action in actions {
            match action {
                Action::Append(values) => {
                    if let Ok(position) = world.append(&scan(1, next, 1 + usize::from(values))) {
                        appended.push((next, position.0));
                        next += 1;
                    }
                }
                Action::Step(tenth_ms) => world.step(u64::from(tenth_ms) * MS / 10),
                Action::Faults(which) => *world.disk.faults() = faults(which, world.disk.used_bytes()),
                Action::Close => world.writer.close(),
                Action::Crash(power) => {
                    let durable = world.writer.durable().0;
                    prop_assert!(world.writer.end() >= world.writer.durable());
                    let crash = if power { Crash::Power } else { Crash::Kill };
                    let mut disk = world.disk.crash(crash);
                    let (recovered, seen) = recover(&mut disk);
                    prop_assert!(recovered.rot.is_empty(), "{:?}", recovered.rot);
                    let found: Vec<(u64, u64)> = seen.iter().map(|s| (s.1, s.3)).collect();
                    prop_assert!(found.len() <= appended.len());
                    prop_assert_eq!(&found[..], &appended[..found.len()]);
                    prop_assert!(recovered.end.0 >= durable, "durable {} kept {}", durable, recovered.end.0);
                    appended.truncate(found.len());
                    next = appended.last().map_or(1, |last| last.0 + 1);
                    world = World::on(disk, common::settings());
                }
            }
        }
        *world.disk.faults() = Faults::default();
        world.settle();
        let now = world.clock.monotonic_ns();
        prop_assert!(world.writer.deadline_ns().is_none_or(|deadline| deadline <= now + 10_000 * MS));
        let (_, seen) = recover(&mut world.disk.crash(Crash::Power));
        prop_assert_eq!(seen.iter().map(|s| (s.1, s.3)).collect::<Vec<_>>(), appended);
    }
}

#[test]
fn numbers_of_files_only_grow() {
    let (mut disk, _) = sample(true);
    let highest = *disk.list().unwrap().last().unwrap();
    recover(&mut disk);
    let mut world = World::on(disk, common::settings());
    world.append(&scan(1, 1, 1)).unwrap();
    world.settle();
    assert_eq!(*world.disk.list().unwrap().last().unwrap(), FileNumber(highest.0 + 1));
}
