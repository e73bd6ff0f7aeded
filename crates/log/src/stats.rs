//! What a writer counts.

/// Sync latencies kept until they are drained; more are not kept, so the pass drains each cycle.
pub(crate) const SYNC_SAMPLES_MAX: usize = 1024;

/// Counters of one writer since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Data batches that became durable.
    pub batches: u64,
    /// Bytes of frames that became durable.
    pub bytes: u64,
    /// Marks that became durable.
    pub marks: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Syncs of files or the directory that failed.
    pub sync_failures: u64,
    /// Writes and creations that failed.
    pub write_failures: u64,
    /// Writes that completed short and were continued.
    pub short_writes: u64,
    /// Data batches that were logged again after a failure or a restart.
    pub relogged: u64,
    /// Segments begun.
    pub segments: u64,
    /// Segments begun in a file that held an older one.
    pub reused: u64,
    /// Segments that retention removed.
    pub removed: u64,
    /// Segments that retention could not remove (tried again later).
    pub remove_failures: u64,
    /// Appends refused.
    pub refused: u64,
}
