//! Each command of the rig at smoke size, and the planted bugs still fit the code.

use env::disk::DiskError;
use rig::bitrot::{self, Damage};
use rig::driver::Driver;
use rig::log_system::LogSystem;
use rig::nth::{self, Mode};
use rig::scenario::{self, Done, Size};
use rig::stack::Stack;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn a_few_seeds_keep_every_promise() {
    for seed in 0..12 {
        let done = scenario::run::<Driver<LogSystem>>(seed, Size { steps: 150, ..Size::default() });
        if let Err(why) = done {
            panic!("seed {seed}: {why}\nreplay: rig sim --seed {seed} --steps 150");
        }
    }
}

#[test]
fn a_few_seeds_of_the_whole_way_keep_every_promise_and_meet_every_trouble() {
    let mut met = BTreeMap::new();
    for seed in 0..24 {
        match scenario::run::<Stack>(seed, Size { steps: 200, ..Size::default() }) {
            Ok(done) => done.met.iter().for_each(|(what, count)| *met.entry(*what).or_insert(0) += count),
            Err(why) => panic!("seed {seed}: {why}\nreplay: rig sim --system stack --seed {seed} --steps 200"),
        }
    }
    for what in ["cuts", "duplicates", "lost in transit", "pauses", "restarts", "shed"] {
        assert!(met.get(what).is_some_and(|count| *count > 0), "no {what}: {met:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let counts = |done: Done| (done.frames, done.crashes, done.faults, done.met);
    let log = || scenario::run::<Driver<LogSystem>>(5, Size::default()).map(counts);
    assert_eq!(log(), log());
    let stack = || scenario::run::<Stack>(5, Size::default()).map(counts);
    assert_eq!(stack(), stack());
}

#[test]
fn every_single_failure_of_a_short_run_loses_nothing() {
    let operations = nth::count::<LogSystem>(1, 6).unwrap();
    for at in 1..=operations {
        for mode in [Mode::Once, Mode::Sticky] {
            for error in [DiskError::Full, DiskError::Failed("simulated".to_owned())] {
                if let Err(why) = nth::run::<LogSystem>(1, 6, at, mode, error) {
                    panic!("operation {at} {mode:?}: {why}\nreplay: rig nth --steps 6 --at {at}");
                }
            }
        }
    }
}

#[test]
fn damaged_logs_serve_the_rest_and_say_what_is_gone() {
    let sample = bitrot::sample(7, 120).unwrap();
    assert!(sample.segments() >= 3);
    for seed in 0..60 {
        for damage in [Damage::Flip, Damage::Misdirect, Damage::Spoil, Damage::Lose] {
            if let Err(why) = sample.damage(damage, seed) {
                panic!("{why}\nreplay: rig bitrot --steps 120 --seed {seed}");
            }
        }
    }
}

/// A patch that matches nothing, or two places, would make `cargo xtask sabotage` prove nothing.
#[test]
fn every_planted_bug_fits_exactly_one_place() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in fs::read_dir(here.join("sabotage")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (file, rest) = text.split_once("\n--- find\n").unwrap();
        let (find, replace) = rest.split_once("\n--- replace\n").unwrap();
        assert_ne!(find, replace.trim_end_matches('\n'), "{}", path.display());
        let source = fs::read_to_string(here.join("../..").join(file)).unwrap();
        assert_eq!(source.matches(find).count(), 1, "{} does not fit {file}", path.display());
        count += 1;
    }
    assert!(count >= 6);
}
