//! The deterministic side of `env`: clock, randomness and a faulty disk, all from a seed.
//!
//! Purpose: the same state machines that run on a kernel run here, millions of steps, under every
//! fault that `docs` promise to survive. The same seed gives the same run.
//!
//! Invariants
//! - S1: nothing here asks a real clock, a real file or real randomness.
//! - S2: the disk keeps the contract of `env::disk` (D1 to D4) exactly as far as a kernel does, and
//!   breaks everything that the contract leaves open: order, delay, tearing, loss, lies after a
//!   failed sync.
//! - S3: what was synced without an error survives every crash.
//!
//! It deliberately does not judge: oracles live with the tests and in `rig`.

mod clock;
pub mod disk;
mod random;

pub use clock::SimClock;
pub use disk::{Crash, Faults, Nth, SimDisk};
pub use random::SimRandom;
