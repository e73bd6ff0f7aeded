//! The seeded scenario: several lives of one system under random faults, each ended by a crash or in
//! order, each followed by a recovery that may itself be cut short.

use crate::system::Setup;
use crate::world::{Crowd, World};
use env::disk::DiskError;
use sim::{Crash, Faults, SimRandom};
use std::collections::BTreeMap;

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Producers with acknowledgements.
    pub durable: usize,
    /// Producers without.
    pub loose: usize,
    /// Lives at most.
    pub lives: u64,
    /// Duty cycles of a life at most.
    pub steps: u64,
}

impl Default for Size {
    fn default() -> Size {
        Size { durable: 3, loose: 1, lives: 5, steps: 300 }
    }
}

/// What a run did, for the line of result.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Frames sent.
    pub frames: u64,
    /// Crashes and recoveries.
    pub crashes: u64,
    /// Faults shown by the disk.
    pub faults: u64,
    /// What else was met, by name.
    pub met: BTreeMap<&'static str, u64>,
}

/// Runs one seed.
///
/// # Errors
/// The broken promise.
pub fn run<W: World>(seed: u64, size: Size) -> Result<Done, String> {
    let mut random = SimRandom::new(seed ^ 0x5CE7_A210);
    let segment_bytes = random.between(4 << 10, 128 << 10);
    let setup = Setup {
        segment_bytes,
        sync_ns: random.between(0, 8_000_000),
        whole_blocks_from: random.between(200, 32 << 10) as usize,
        keep_bytes: if random.coin() { segment_bytes * random.between(2, 5) } else { 0 },
    };
    let crowd = Crowd { durable: size.durable, loose: size.loose, values_max: 4_000 };
    let mut world = W::new(seed, setup, crowd)?;
    let mut done = Done::default();
    for _ in 0..1 + random.below(size.lives) {
        life(&mut world, &mut random, size.steps)?;
        world.query()?;
        done.faults += world.disk().faults_shown();
        let crash = if random.below(3) == 0 { Crash::Kill } else { Crash::Power };
        let interrupted = if random.below(3) == 0 { 1 + random.below(2) } else { 0 };
        world.crash(crash, interrupted)?;
        done.crashes += 1 + interrupted;
    }
    world.finish()?;
    done.frames = world.frames();
    done.met = world.met();
    Ok(done)
}

/// One life until just before its crash.
fn life<W: World>(world: &mut W, random: &mut SimRandom, steps: u64) -> Result<(), String> {
    let faulty = random.below(4) != 0;
    let slow = random.below(4) == 0;
    world.disk().faults().delay_ns = (0, if slow { 300_000_000 } else { 3_000_000 });
    for _ in 0..random.between(1, steps) {
        if faulty && random.below(30) == 0 {
            let faults = choose(random, world.disk().used_bytes());
            let delay_ns = world.disk().faults().delay_ns;
            *world.disk().faults() = Faults { delay_ns, ..faults };
        }
        if random.below(100) == 0 {
            world.clock().jump(random.between(0, 7_200_000_000_000) as i64 - 3_600_000_000_000);
        }
        let ns = match random.below(40) {
            0 => random.between(1_000_000_000, 12_000_000_000),
            1..=5 => random.between(5_000_000, 50_000_000),
            _ => random.below(3_000_000),
        };
        world.step(ns, 300_000)?;
    }
    if random.below(6) == 0 {
        world.close()?;
    }
    Ok(())
}

/// Half of the time all is well; else some mixture of faults.
fn choose(random: &mut SimRandom, used: u64) -> Faults {
    let mut faults = Faults::default();
    match random.below(12) {
        0 => faults.capacity = Some(used + random.below(64 << 10)),
        1 => faults.write_ppm = 300_000,
        2 => faults.sync_ppm = 300_000,
        3 => faults.short_ppm = 500_000,
        4 => faults.sticky = Some(DiskError::Failed("simulated dead disk".to_owned())),
        5 => {
            (faults.create_ppm, faults.directory_ppm) = (300_000, 300_000);
        }
        6 => {
            (faults.write_ppm, faults.sync_ppm, faults.short_ppm) = (50_000, 50_000, 100_000);
            (faults.create_ppm, faults.directory_ppm) = (50_000, 50_000);
        }
        _ => {}
    }
    faults
}
