//! Fails the first, second, third … changing operation of one short run, once or from there on
//! until an operator mends the disk.

use crate::driver::Driver;
use crate::system::{Setup, System};
use env::disk::DiskError;
use sim::{Crash, Nth};

/// Which operation of a run fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One operation.
    Once,
    /// It and all behind it, until the end of the life or the disk is mended.
    Sticky,
}

/// Changing operations of the run without a fault.
///
/// # Errors
/// The run itself fails.
pub fn count<S: System>(seed: u64, steps: u64) -> Result<u64, String> {
    short_run::<S>(seed, steps, None)
}

/// Runs with the n-th operation failing.
///
/// # Errors
/// The broken promise.
pub fn run<S: System>(seed: u64, steps: u64, at: u64, mode: Mode, error: DiskError) -> Result<(), String> {
    let nth = Nth { at, sticky: mode == Mode::Sticky, error };
    short_run::<S>(seed, steps, Some(&nth)).map(|_| ())
}

/// Two lives with a crash between them, small segments; answers how many operations it made.
fn short_run<S: System>(seed: u64, steps: u64, nth: Option<&Nth>) -> Result<u64, String> {
    let setup = Setup { segment_bytes: 8 << 10, sync_ns: 2_000_000, whole_blocks_from: 2_000, keep_bytes: 24 << 10 };
    let mut driver = Driver::<S>::new(seed, setup, 2, 1, 400)?;
    driver.system().disk().faults().nth = nth.cloned();
    for life in 0..2 {
        for _ in 0..steps {
            driver.step(1_000_000, 500_000)?;
        }
        let crash = if life == 0 { Crash::Power } else { Crash::Kill };
        driver.crash(crash, 0, nth)?;
    }
    for _ in 0..steps / 2 {
        driver.step(1_000_000, 500_000)?;
    }
    driver.finish()?;
    Ok(driver.system().disk().changes())
}
