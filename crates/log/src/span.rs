//! Where durable batches lie.

use env::disk::FileNumber;
use model::{LogPosition, ShardId, TimestampNs};

/// Batches that follow each other in a file are one span up to about this many bytes, so that the
/// index of a long log stays small (one entry a MiB) and a query reads little that it does not want.
pub(crate) const SPAN_BYTES: u64 = 1 << 20;

/// A run of whole durable batches in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whose log.
    pub shard: ShardId,
    /// Which file.
    pub file: FileNumber,
    /// First byte in the file.
    pub offset: u64,
    /// Length in bytes, batch headers included.
    pub bytes: u64,
    /// Position before its first frame.
    pub from: LogPosition,
    /// Position after its last frame.
    pub to: LogPosition,
    /// Earliest received time in it.
    pub received_from: TimestampNs,
    /// Latest received time in it.
    pub received_to: TimestampNs,
}

impl Span {
    /// Whether a closed range of received times touches this span.
    #[must_use]
    pub fn touches(&self, from: TimestampNs, to: TimestampNs) -> bool {
        self.received_from <= to && self.received_to >= from
    }

    /// The first byte behind it.
    #[must_use]
    pub const fn offset_end(&self) -> u64 {
        self.offset + self.bytes
    }

    /// Takes in the batch that follows, if it follows and there is room.
    pub(crate) fn join(&mut self, next: &Span) -> bool {
        let follows = self.file == next.file && self.offset_end() == next.offset && self.to == next.from;
        if !follows || self.bytes + next.bytes > SPAN_BYTES {
            return false;
        }
        self.bytes += next.bytes;
        self.to = next.to;
        self.received_from = self.received_from.min(next.received_from);
        self.received_to = self.received_to.max(next.received_to);
        true
    }
}

/// One closed or open segment as the writer knows it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) file: FileNumber,
    /// Position before its first data batch.
    pub(crate) from: LogPosition,
    /// Bytes in the file.
    pub(crate) bytes: u64,
    /// Running time of the log when the segment ended.
    pub(crate) ended_ns: u64,
    /// Oldest first.
    pub(crate) spans: Vec<Span>,
}

impl SegmentIndex {
    pub(crate) fn push(&mut self, span: Span) {
        if !self.spans.last_mut().is_some_and(|last| last.join(&span)) {
            self.spans.push(span);
        }
    }
}
