//! The segment log: append, group commit, retention, recovery and reading, as pure state machines.
//!
//! Purpose: what was acknowledged is on disk, through a crash at any instruction; what rotted is
//! found, fenced off and said. [`layout`] is the normative description of the files.
//!
//! Invariants
//! - L1: [`Writer::durable`] passes a batch only after a sync of its file succeeded that was
//!   submitted after the batch's write, and every write before it in the file, had completed in
//!   full (D1, D4), and after the file's directory entry was synced (D2).
//! - L2: a file on which a write or sync failed is never written or synced again (D3); everything
//!   not durable is logged again from memory into a fresh file.
//! - L3: a position names the same bytes for ever. Copies of the same positions in several files
//!   are identical, so recovery may take either; it cuts off, durably, what it does not keep.
//! - L4: frames are served only from a batch whose checksum holds over bytes, shard, file and offset.
//! - L5: a bad batch at or above the newest known-durable mark is a torn tail and is cut; below it
//!   is rot, is fenced and reported, and the log goes on behind it.
//! - L6: bytes in memory never pass `model::limits::BYTES_IN_FLIGHT_MAX`, and the disk never has
//!   more than a fixed number of operations of one log.
//! - L7: segments are removed oldest first, one at a time, each made durable before the next.
//!
//! It deliberately does not know sockets, runtimes, producers or what a tag means; it opens no file
//! itself (`env::disk`) and asks no clock.

mod fence;
mod header;
mod judge;
pub mod layout;
mod read;
mod recover;
mod scan;
mod settings;
mod span;
mod stats;
mod survey;
mod verify;
mod writer;

pub use env::disk::{FileNumber, Storage};
pub use fence::{Fence, FenceKind, Truncated};
pub use read::{ReadError, ReadReport, read};
pub use recover::{RecoverError, Recovered, recover};
pub use settings::{Health, Settings};
pub use span::Span;
pub use stats::Stats;
pub use verify::{VerifyReport, dump, verify};
pub use writer::{LENT_BLOCK_BYTES, LENT_BLOCKS, Writer};
