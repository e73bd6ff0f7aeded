//! The simulated disk keeps the contract of `env::disk`, and breaks what it leaves open.

use env::Clock;
use env::clock::Random;
use env::disk::{Block, Completion, Disk, DiskError, DiskOp, FileNumber, OpId, Storage};
use millstream_sim::{Crash, Faults, SimClock, SimDisk, SimRandom};
use model::TimestampNs;

const FILE: FileNumber = FileNumber(1);

fn wait(disk: &mut SimDisk) -> Completion {
    for _ in 0..1000 {
        if let Some(completion) = disk.poll_completion() {
            return completion;
        }
    }
    panic!("nothing completes");
}

fn run(disk: &mut SimDisk, op: DiskOp) -> Result<usize, DiskError> {
    disk.submit(OpId(0), op);
    wait(disk).result
}

fn block(byte: u8, bytes: usize) -> Block {
    let mut block = Block::new();
    block.resize(bytes, byte);
    block
}

fn write(byte: u8, offset: u64, bytes: usize) -> DiskOp {
    DiskOp::Write { file: FILE, offset, from: 0, block: block(byte, bytes) }
}

fn disk_with_file(seed: u64) -> SimDisk {
    let mut disk = SimDisk::new(SimRandom::new(seed));
    run(&mut disk, DiskOp::Create { file: FILE }).expect("no fault is set");
    run(&mut disk, DiskOp::SyncDirectory).expect("no fault is set");
    disk
}

fn contents(disk: &SimDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.length(FILE).expect("no fault is set") as usize];
    disk.read_at(FILE, 0, &mut bytes).expect("no fault is set");
    bytes
}

#[test]
fn what_was_synced_survives_every_crash_and_what_was_not_may_be_anything() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let mut disk = disk_with_file(seed);
        run(&mut disk, write(1, 0, 4096)).unwrap();
        run(&mut disk, DiskOp::Sync { file: FILE }).unwrap();
        run(&mut disk, write(2, 4096, 4096)).unwrap();
        let left = contents(&disk.crash(Crash::Power));
        assert_eq!(left[..4096], [1; 4096]);
        match left[4096..].iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            4096 => kept += 1,
            some => {
                assert_eq!(some % 512, 0);
                torn += 1;
            }
        }
    }
    assert!(kept > 10 && lost > 10 && torn > 10, "kept {kept} lost {lost} torn {torn}");
}

/// D1: a sync that was submitted before the write completed does not cover it.
#[test]
fn a_sync_in_flight_with_a_write_does_not_cover_it() {
    let mut lost = 0;
    for seed in 0..200 {
        let mut disk = disk_with_file(seed);
        disk.submit(OpId(1), write(1, 0, 512));
        disk.submit(OpId(2), DiskOp::Sync { file: FILE });
        let results = [wait(&mut disk), wait(&mut disk)].map(|completion| completion.result.is_ok());
        assert_eq!(results, [true, true]);
        lost += u32::from(contents(&disk.crash(Crash::Power)).iter().all(|byte| *byte == 0));
    }
    assert!(lost > 20, "lost {lost}");
}

/// D2: without a directory sync a new file may be gone, and a removed one back.
#[test]
fn entries_without_a_directory_sync_go_either_way() {
    let (mut gone, mut back) = (0, 0);
    for seed in 0..100 {
        let mut disk = disk_with_file(seed);
        run(&mut disk, DiskOp::Create { file: FileNumber(2) }).unwrap();
        run(&mut disk, DiskOp::Remove { file: FILE }).unwrap();
        let files = disk.crash(Crash::Power).list().unwrap();
        gone += u32::from(!files.contains(&FileNumber(2)));
        back += u32::from(files.contains(&FILE));
    }
    assert!((10..90).contains(&gone) && (10..90).contains(&back), "gone {gone} back {back}");
}

/// D3: after a failed sync reads see the bytes, a later sync succeeds, and the power cut takes them.
#[test]
fn a_failed_sync_lies_afterwards() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut disk = disk_with_file(seed);
        run(&mut disk, write(1, 0, 512)).unwrap();
        disk.faults().sync_ppm = 1_000_000;
        assert!(run(&mut disk, DiskOp::Sync { file: FILE }).is_err());
        disk.faults().sync_ppm = 0;
        run(&mut disk, DiskOp::Sync { file: FILE }).unwrap();
        let mut disk = disk.crash(Crash::Kill);
        assert_eq!(contents(&disk), [1; 512]);
        disk.sync(FILE).unwrap();
        lost += u32::from(contents(&disk.crash(Crash::Power)) != [1; 512]);
    }
    assert!(lost > 20, "lost {lost}");
}

/// D4, and no room.
#[test]
fn writes_complete_short_and_the_disk_fills() {
    let mut disk = disk_with_file(1);
    *disk.faults() = Faults { short_ppm: 1_000_000, ..Faults::default() };
    let written = run(&mut disk, write(1, 0, 4096)).unwrap();
    assert!((1..4096).contains(&written));
    *disk.faults() = Faults { capacity: Some(disk.used_bytes()), ..Faults::default() };
    assert_eq!(run(&mut disk, write(1, 4096, 512)), Err(DiskError::Full));
    disk.faults().capacity = None;
    assert_eq!(run(&mut disk, write(1, 4096, 512)), Ok(512));
}

#[test]
fn clocks_and_randomness_follow_the_test() {
    let clock = SimClock::new(TimestampNs(100));
    clock.advance(5);
    clock.jump(-50);
    assert_eq!((clock.wall(), clock.monotonic_ns()), (TimestampNs(55), 5));
    let (mut a, mut b) = (SimRandom::new(3), SimRandom::new(3));
    assert_eq!([a.next_u64(), a.below(10)], [b.next_u64(), b.below(10)]);
}
