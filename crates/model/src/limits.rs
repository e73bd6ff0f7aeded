//! Every limit of the product that more than one crate must agree on.

/// Longest tag path, in bytes.
pub const PATH_BYTES_MAX: usize = 512;
/// Longest text value, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Different texts that one log interns; above it a text sample is refused, counted and a gap.
pub const TEXTS_MAX: u32 = 1 << 20;
/// Tags of one log.
pub const TAGS_MAX: u32 = 1 << 22;
/// Longest frame, header included, in bytes: 1 MiB, so that one fits a batch.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Longest body of a log batch, in bytes: a few of the longest frames.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Bytes that may wait for the disk in one shard before its producers feel back pressure:
/// sixteen of the longest batches.
pub const BYTES_IN_FLIGHT_MAX: usize = 16 * BATCH_BYTES_MAX;
/// Producers whose last sequence one shard remembers.
pub const PRODUCERS_MAX: usize = 65_536;
