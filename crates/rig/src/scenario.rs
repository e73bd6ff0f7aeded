//! The seeded scenario: several lives of one log under random faults, each ended by a crash or in
//! order, each followed by a recovery that may itself be cut short.

use crate::driver::Driver;
use crate::system::{Setup, System};
use env::disk::DiskError;
use sim::{Crash, Faults, SimRandom};

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
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Frames sent.
    pub frames: u64,
    /// Crashes and recoveries.
    pub crashes: u64,
    /// Faults shown by the disk.
    pub faults: u64,
}

/// Runs one seed.
///
/// # Errors
/// The broken promise.
pub fn run<S: System>(seed: u64, size: Size) -> Result<Done, String> {
    let mut random = SimRandom::new(seed ^ 0x5CE7_A210);
    let setup = Setup { segment_bytes: random.between(4 << 10, 128 << 10), sync_ns: random.between(0, 8_000_000) };
    let mut driver = Driver::<S>::new(seed, setup, size.durable, size.loose, 4_000)?;
    let mut done = Done::default();
    for _ in 0..1 + random.below(size.lives) {
        life(&mut driver, &mut random, size.steps)?;
        driver.query(false)?;
        done.faults += driver.system().disk().faults_shown();
        let crash = if random.below(3) == 0 { Crash::Kill } else { Crash::Power };
        let interrupted = if random.below(3) == 0 { 1 + random.below(2) } else { 0 };
        driver.crash(crash, interrupted, None)?;
        done.crashes += 1 + interrupted;
    }
    driver.finish()?;
    done.frames = driver.oracle().sent_count() as u64;
    Ok(done)
}

/// One life until just before its crash.
fn life<S: System>(driver: &mut Driver<S>, random: &mut SimRandom, steps: u64) -> Result<(), String> {
    let faulty = random.below(4) != 0;
    let slow = random.below(4) == 0;
    driver.system().disk().faults().delay_ns = (0, if slow { 300_000_000 } else { 3_000_000 });
    for _ in 0..random.between(1, steps) {
        if faulty && random.below(30) == 0 {
            let faults = choose(random, driver.system().disk().used_bytes());
            let delay_ns = driver.system().disk().faults().delay_ns;
            *driver.system().disk().faults() = Faults { delay_ns, ..faults };
        }
        if random.below(100) == 0 {
            driver.clock().jump(random.between(0, 7_200_000_000_000) as i64 - 3_600_000_000_000);
        }
        let ns = match random.below(40) {
            0 => random.between(1_000_000_000, 12_000_000_000),
            1..=5 => random.between(5_000_000, 50_000_000),
            _ => random.below(3_000_000),
        };
        driver.step(ns, 300_000)?;
    }
    if random.below(6) == 0 {
        driver.close()?;
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
