//! Lock-free memory that one shard shares with other threads.
//!
//! Purpose: the telemetry path publishes what it knows (latest values, names, counters) and takes in what
//! others ask of it (the inbox) without a lock and without waiting. This is the only crate that
//! names raw atomics; each ordering says what it publishes.
//!
//! Invariants
//! - R1: a reader never makes a writer wait.
//! - R2: a reader sees a latest value whole or not at all; it never sees half of one write and half
//!   of another (loom test in `latest`).
//! - R3: an item that was pushed to an inbox is either seen by the receiver before it sleeps, or
//!   rings its bell (loom test in `bell`).
//! - R4: everything is bounded: the table by `model::limits::TAGS_MAX`, an inbox by its capacity.
//!
//! It deliberately knows no file descriptor, runtime or thread: what "wake" means is a callback.

#![expect(unexpected_cfgs, reason = "cfg(loom) is set by hand for the model-checking test run")]

mod ahead;
mod allocations;
mod atomic;
mod bell;
mod inbox;
mod index;
mod latest;
mod meter;
mod publish;

pub use ahead::fetch;
pub use allocations::{CountingAllocator, allocations};
pub use inbox::{Inbox, InboxSender, inbox};
pub use index::{IndexReader, IndexWriter};
pub use latest::{Latest, LatestReader, LatestWriter, Stamp, latest_table};
pub use meter::{Counter, Flag, Gauge};
pub use publish::publish_u16;
