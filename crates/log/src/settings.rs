//! What a log is told, and how it says that it is.

use model::{LogPosition, ShardId, TimestampNs};
use std::fmt;

/// What a writer is told when it is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose log this is; stands in every header.
    pub shard: ShardId,
    /// Bytes of batches (the prologue not counted) at which a segment is closed and the next begins; four
    /// times the prologue's bytes where that is more.
    pub segment_bytes: u64,
    /// Longest wait of an appended byte before its write starts, ns.
    pub sync_ns: u64,
    /// Running time (see `layout`, "Running time") after which a closed segment is removed, ns;
    /// 0 or less: never by age.
    pub keep_ns: i64,
    /// Bytes on disk above which the oldest closed segments are removed; 0: never by size.
    pub keep_bytes: u64,
    /// Segments that hold anything behind this position are kept, whatever their age and size say:
    /// somebody still needs them. It is moved with [`crate::Writer::hold`].
    pub hold: Option<LogPosition>,
    /// Data batches of at least this many bytes fill whole blocks of the file, with pads before and
    /// behind them (`layout`, "Batch"), so that the disk can write them past the page cache.
    pub whole_blocks_from: usize,
    /// The same where the file is used again and the batch lies within what it was: such a write past the page cache
    /// changes no metadata and is handed to the disk at once, so it pays for smaller batches. More than
    /// `whole_blocks_from` counts as that.
    pub whole_blocks_again_from: usize,
}

impl Settings {
    /// The defaults of the product for one shard: 64 MiB segments, 5 ms, nothing removed, whole
    /// blocks from 512 KiB on (what telemetry at full rate fills, or a lagging disk; pads are then 2 % of
    /// the file at most), from 64 KiB on in files that are used again (7 % of the file at most).
    #[must_use]
    pub const fn new(shard: ShardId) -> Settings {
        Settings {
            shard,
            segment_bytes: 64 << 20,
            sync_ns: 5_000_000,
            keep_ns: 0,
            keep_bytes: 0,
            hold: None,
            whole_blocks_from: 512 << 10,
            whole_blocks_again_from: 64 << 10,
        }
    }
}

/// How the disk under a log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Everything that was asked of it worked.
    #[default]
    Good,
    /// There is no room; nothing is acknowledged, and it goes on by itself when there is.
    Full {
        /// Server time of the first refusal.
        since: TimestampNs,
    },
    /// Writing or syncing fails; nothing is acknowledged, and it is tried again in fresh files.
    Failing {
        /// Server time of the first failure.
        since: TimestampNs,
        /// What the system said last.
        why: String,
    },
}

impl Health {
    /// Whether everything works.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Health::Good)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Good => f.write_str("good"),
            Health::Full { since } => {
                write!(f, "the disk is full since {since}; free some space, Millstream goes on by itself")
            }
            Health::Failing { since, why } => write!(
                f,
                "the disk fails since {since} ({why}); check or replace it, Millstream tries again by itself in fresh files"
            ),
        }
    }
}
