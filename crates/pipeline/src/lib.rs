//! The telemetry pass of one shard: dedupe, deadband, latest value, rollups, log; and reading back.
//!
//! Purpose: what happens to a sample between its source and the disk, and what a query sees of it.
//! [`Pass`] is the whole of it; sources speak to it through [`ShardIntake`], other threads see it
//! through [`ShardView`], queries run over a [`query::Plan`].
//!
//! Invariants: P1 to P3 (`pass`), S1 (`state`), R1 to R4 (`rollup`), V1 (`directory`), T1 and T2 (`tags`), Q1 to Q3
//! (`query`).
//!
//! It deliberately knows no protocol, no socket and no runtime.

pub mod deadband;
pub mod dedupe;
pub mod definitions;
pub mod directory;
mod encode;
pub mod gaps;
mod intake;
mod pages;
mod pass;
pub mod query;
pub mod rollup;
mod sources;
mod state;
pub mod tags;
pub mod timeline;
pub mod watch;

pub use directory::{LogStatus, ShardView, SourceStatus, TagTable, Totals};
pub use intake::ShardIntake;
pub use pass::{Pass, TakeError, Taken};
pub use state::{State, TagBytes};
