//! The seam to the world: clock, disk and network as small traits.
//!
//! Purpose: everything that Millstream wants of a machine comes in through here, so that the same
//! state machines run on a kernel (`uring`) and in a seeded simulation (`sim`).
//!
//! Invariants
//! - E1: no implementation lives here; production code never asks which one it was given.
//! - E2: nothing here blocks but [`disk::Storage`], which recovery and the helper thread use.

pub mod clock;
pub mod disk;
pub mod net;

pub use clock::Clock;
