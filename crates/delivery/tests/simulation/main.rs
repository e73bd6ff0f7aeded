//! Whole lives of a consumer over simulated time, against a model of what must hold.
//!
//! `DELIVERY_SEED=<seed>` runs that one life only; a life that fails names its seed.

mod judge;
mod long;
mod target;
mod world;

use world::{Fault, World};

const LIVES: u64 = 40;
const STEPS: u64 = 35_000;

fn live(seed: u64, steps: u64, fault: Fault) -> (World, Result<(), String>) {
    let mut world = World::new(seed, fault);
    let verdict = world.run(steps);
    (world, verdict)
}

#[test]
fn what_was_promised_holds_whatever_happens() {
    let only: Option<u64> = std::env::var("DELIVERY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = only.map_or_else(|| (1..=LIVES).collect(), |seed| vec![seed]);
    let (mut steps, mut starts, mut dead, mut expired, mut superseded) = (0, 0, 0, 0, 0);
    let (mut repeated, mut crashes, mut published, mut polls) = (0, 0, 0, 0);
    for seed in &seeds {
        let (world, verdict) = live(*seed, STEPS, Fault::None);
        if let Err(objection) = verdict {
            panic!("DELIVERY_SEED={seed} step {}, now {}: {objection}\n{:?}", world.steps, world.now, world.policy);
        }
        steps += world.steps;
        polls += world.polls;
        crashes += world.crashes;
        published += world.published();
        starts += world.judge.starts;
        dead += world.judge.dead;
        expired += world.judge.expired;
        superseded += world.judge.superseded;
        repeated += world.judge.repeated;
    }
    println!(
        "{} lives, {steps} steps, {polls} polls, {published} messages, {starts} starts, {dead} dead, {expired} expired, \
         {superseded} superseded, {repeated} sent again, {crashes} crashes",
        seeds.len()
    );
    if only.is_none() {
        assert!(steps > 1_000_000, "{steps}");
        // a simulation in which nothing happens proves nothing
        for (what, count) in [("starts", starts), ("dead", dead), ("expired", expired), ("superseded", superseded)] {
            assert!(count > 1_000, "{what}: {count}");
        }
        assert!(repeated > 100 && crashes > 100, "{repeated} {crashes}");
    }
}

#[test]
fn a_seed_is_a_life() {
    let (one, first) = live(7, 5_000, Fault::None);
    let (two, second) = live(7, 5_000, Fault::None);
    assert_eq!((first, one.now, one.judge.starts), (second, two.now, two.judge.starts));
}

/// The judge objects to every fault, and says which.
#[test]
fn every_fault_is_found() {
    for (fault, objection) in [
        (Fault::LosesAnItem, "items are held, not"),
        (Fault::EndsTwice, "ended twice"),
        (Fault::StartsTwoOfAKey, "under way"),
        (Fault::ForgetsTheOrder, "of key"),
        (Fault::CountsOutages, "attempts, "),
        (Fault::IgnoresThePause, "while paused"),
        (Fault::StartsTooMany, "one too many under way"),
        (Fault::LowLeads, "leads"),
        (Fault::HoldsTooMany, "the window is"),
        (Fault::HasNoBreaker, "breaker is open"),
        (Fault::IgnoresRetryAfter, "as it was asked to"),
        (Fault::ForgetsTheDoubt, "in doubt"),
        (Fault::HasNoRate, "faster than the drain rate"),
        (Fault::ExpiresEarly, "expired at the age of"),
        (Fault::SupersedesUnasked, "superseded by"),
    ] {
        let objections: Vec<String> = (1..=16).filter_map(|seed| live(seed, 5_000, fault).1.err()).collect();
        let found = objections.iter().filter(|found| found.contains(objection)).count();
        println!("{fault:?}: {} of 16 lives, {found} say \"{objection}\"", objections.len());
        assert!(found > 0, "{fault:?} is not found: {objections:?}");
    }
}
