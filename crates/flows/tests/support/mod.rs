//! A desk over a simulated disk, simulated time and simulated targets, and what is known of it from
//! outside: the ledger (what the journal held at any time) and the effects at the targets.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod judge;
pub mod ledger;
pub mod plan;
pub mod target;
pub mod world;

pub use world::World;

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
pub const MINUTE: u64 = 60 * S;
pub const HOUR: u64 = 60 * MINUTE;
