//! A segment that is being written, and the operations under way.

use env::disk::{Block, FileNumber};
use model::LogPosition;

/// Whether a created file's directory entry is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Unsynced,
    Syncing,
    Synced,
}

/// How far header and prologue of a segment are (W3).
#[derive(Debug, Default)]
pub(super) enum Head {
    /// Nothing is made.
    #[default]
    Wanted,
    /// Some parts are made.
    Making(Making),
    /// All is queued.
    Queued,
}

/// A prologue of which more parts are to come.
#[derive(Debug)]
pub(super) struct Making {
    /// Number of the next part.
    pub(super) part: usize,
    /// Where the segment begins.
    pub(super) position: LogPosition,
    /// The batch that is being filled: room for its header, behind the segment's in the first one.
    pub(super) block: Block,
    /// Bytes of the segment's header in it.
    pub(super) prefix: usize,
    /// Frames in it.
    pub(super) frames: u32,
}

/// A segment from the request to create it until it is closed.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) file: FileNumber,
    pub(super) created: bool,
    /// Bytes that its file had before; 0 for a new one.
    pub(super) reused_bytes: u64,
    pub(super) entry: Entry,
    /// Its header and prologue.
    pub(super) head: Head,
    /// End of the log when the newest part of its prologue was made.
    pub(super) as_of: LogPosition,
    /// The known-durable position that its header carries.
    pub(super) durable: LogPosition,
    /// Where header and prologue end, and the pad right behind them.
    pub(super) prologue_end: u64,
    /// Where the next batch is placed.
    pub(super) next_offset: u64,
    /// Checksum of what was placed last.
    pub(super) previous_crc: u32,
    /// Everything before is written in full.
    pub(super) written_to: u64,
    /// How far the sync that is under way covers.
    pub(super) syncing_to: Option<u64>,
    /// Everything before is synced.
    pub(super) synced_to: u64,
    /// Operations under way.
    pub(super) ops: usize,
    /// Takes no more batches because the next one did not fit, or the log is closed.
    pub(super) full: bool,
    /// Takes no more batches, writes or syncs because one failed (L2).
    pub(super) given_up: bool,
    /// Whether data or a mark in it counts as durable.
    pub(super) holds_durable: bool,
    pub(super) closing: bool,
}

impl Live {
    pub(super) fn new(file: FileNumber) -> Live {
        Live {
            file,
            created: false,
            reused_bytes: 0,
            entry: Entry::Unsynced,
            head: Head::Wanted,
            as_of: LogPosition(0),
            durable: LogPosition(0),
            prologue_end: 0,
            next_offset: 0,
            previous_crc: 0,
            written_to: 0,
            syncing_to: None,
            synced_to: 0,
            ops: 0,
            full: false,
            given_up: false,
            holds_durable: false,
            closing: false,
        }
    }

    /// Whether header and prologue are complete.
    pub(super) fn is_begun(&self) -> bool {
        matches!(self.head, Head::Queued)
    }

    pub(super) fn takes_batches(&self) -> bool {
        !self.full && !self.given_up
    }
}

/// What an operation's completion is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Create {
        file: FileNumber,
    },
    Write {
        file: FileNumber,
        key: u64,
    },
    Sync {
        file: FileNumber,
        to: u64,
        since_ns: u64,
    },
    Directory,
    Close {
        file: FileNumber,
    },
    /// Of a segment that was given up and holds nothing.
    Discard {
        file: FileNumber,
    },
    /// By retention.
    Remove,
}
