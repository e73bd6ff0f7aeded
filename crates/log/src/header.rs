//! Reading and writing the two headers (`layout`).
//!
//! Invariant: a header that [`BatchHeader::read`] answers is consistent in itself; that its bytes
//! are the ones that were written is known only after [`batch_crc`] over header and body.

use crate::layout::{self, BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES, VERSION, batch, segment};
use env::disk::FileNumber;
use model::{LogPosition, ShardId, TimestampNs, limits};

/// Bit 0 of a segment's flags.
const FLAG_REPLACES: u8 = 1;
/// Bit 1 of a segment's flags.
const FLAG_REUSED: u8 = 2;

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BatchKind {
    Data = 1,
    Prologue = 2,
    Mark = 3,
    Final = 4,
    Pad = 5,
}

impl BatchKind {
    fn from_u8(number: u8) -> Option<BatchKind> {
        [BatchKind::Data, BatchKind::Prologue, BatchKind::Mark, BatchKind::Final, BatchKind::Pad]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) shard: ShardId,
    pub(crate) file: FileNumber,
    pub(crate) position: LogPosition,
    pub(crate) durable: LogPosition,
    pub(crate) created: TimestampNs,
    pub(crate) running_ns: u64,
    /// End of the log when the writer was started.
    pub(crate) started: LogPosition,
    /// Numbers that the writer had taken before.
    pub(crate) ordinal: u32,
    /// Whether it logs again what earlier segments may hold from its position on.
    pub(crate) replaces: bool,
    /// Whether the file held an older segment, of which something may remain behind the last batch.
    pub(crate) reused: bool,
}

/// What the first bytes of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentStart {
    Header {
        header: SegmentHeader,
        crc: u32,
    },
    /// Whole, but of another format version.
    Version(u8),
    /// Not a header.
    Damaged,
}

impl SegmentHeader {
    /// Names the writer: the first number that it took.
    pub(crate) fn writer(&self) -> u64 {
        self.file.0.saturating_sub(u64::from(self.ordinal))
    }

    /// Writes the header; answers its checksum, which the first batch carries.
    pub(crate) fn write(&self, to: &mut [u8]) -> u32 {
        to[..SEGMENT_HEADER_BYTES].fill(0);
        put(to, segment::MAGIC, layout::SEGMENT_MAGIC.to_le_bytes());
        to[segment::VERSION] = VERSION;
        to[segment::FLAGS] = if self.replaces { FLAG_REPLACES } else { 0 } | if self.reused { FLAG_REUSED } else { 0 };
        put(to, segment::SHARD, self.shard.0.to_le_bytes());
        put(to, segment::SEGMENT, self.file.0.to_le_bytes());
        put(to, segment::POSITION, self.position.0.to_le_bytes());
        put(to, segment::DURABLE, self.durable.0.to_le_bytes());
        put(to, segment::CREATED, self.created.0.to_le_bytes());
        put(to, segment::RUNNING, self.running_ns.to_le_bytes());
        put(to, segment::STARTED, self.started.0.to_le_bytes());
        put(to, segment::ORDINAL, self.ordinal.to_le_bytes());
        let crc = frame::crc32c(&[&to[..segment::CRC]]);
        put(to, segment::CRC, crc.to_le_bytes());
        crc
    }

    /// Reads the start of a file.
    pub(crate) fn read(from: &[u8]) -> SegmentStart {
        let Some(from) = from.get(..SEGMENT_HEADER_BYTES) else { return SegmentStart::Damaged };
        let crc = u32_at(from, segment::CRC);
        if u32_at(from, segment::MAGIC) != layout::SEGMENT_MAGIC || frame::crc32c(&[&from[..segment::CRC]]) != crc {
            return SegmentStart::Damaged;
        }
        if from[segment::VERSION] != VERSION {
            return SegmentStart::Version(from[segment::VERSION]);
        }
        let header = SegmentHeader {
            shard: ShardId(u16_at(from, segment::SHARD)),
            file: FileNumber(u64_at(from, segment::SEGMENT)),
            position: LogPosition(u64_at(from, segment::POSITION)),
            durable: LogPosition(u64_at(from, segment::DURABLE)),
            created: TimestampNs(u64_at(from, segment::CREATED) as i64),
            running_ns: u64_at(from, segment::RUNNING),
            started: LogPosition(u64_at(from, segment::STARTED)),
            ordinal: u32_at(from, segment::ORDINAL),
            replaces: from[segment::FLAGS] & FLAG_REPLACES != 0,
            reused: from[segment::FLAGS] & FLAG_REUSED != 0,
        };
        SegmentStart::Header { header, crc }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) kind: BatchKind,
    pub(crate) shard: ShardId,
    pub(crate) file: FileNumber,
    pub(crate) offset: u64,
    pub(crate) position: LogPosition,
    pub(crate) durable: LogPosition,
    pub(crate) as_of: LogPosition,
    pub(crate) received_first: TimestampNs,
    pub(crate) received_last: TimestampNs,
    pub(crate) body_bytes: u32,
    pub(crate) frames: u32,
    pub(crate) previous_crc: u32,
    /// Filled by [`seal`] and by reading.
    pub(crate) crc: u32,
}

impl BatchHeader {
    /// Header and body in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        BATCH_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Position after its last frame.
    pub(crate) fn position_end(&self) -> LogPosition {
        let counts = if self.kind == BatchKind::Data { u64::from(self.body_bytes) } else { 0 };
        LogPosition(self.position.0 + counts)
    }

    /// The header of a pad of `bytes`, itself included, at an offset behind this batch.
    pub(crate) fn pad(&self, offset: u64, bytes: usize, previous_crc: u32) -> BatchHeader {
        BatchHeader {
            kind: BatchKind::Pad,
            offset,
            position: self.position_end(),
            received_first: self.received_last,
            body_bytes: (bytes - BATCH_HEADER_BYTES) as u32,
            frames: 0,
            previous_crc,
            ..*self
        }
    }

    /// Reads a header; `None` where the bytes cannot be one.
    pub(crate) fn read(from: &[u8]) -> Option<BatchHeader> {
        let from = from.get(..BATCH_HEADER_BYTES)?;
        if u32_at(from, batch::MAGIC) != layout::BATCH_MAGIC || from[batch::VERSION] != VERSION {
            return None;
        }
        let body_bytes = u32_at(from, batch::BODY_BYTES);
        let position = u64_at(from, batch::POSITION);
        if body_bytes as usize > limits::BATCH_BYTES_MAX
            || !(body_bytes as usize).is_multiple_of(layout::ALIGN)
            || position > u64::MAX / 2
        {
            return None;
        }
        Some(BatchHeader {
            kind: BatchKind::from_u8(from[batch::KIND])?,
            shard: ShardId(u16_at(from, batch::SHARD)),
            file: FileNumber(u64_at(from, batch::SEGMENT)),
            offset: u64_at(from, batch::OFFSET),
            position: LogPosition(position),
            durable: LogPosition(u64_at(from, batch::DURABLE)),
            as_of: LogPosition(u64_at(from, batch::AS_OF)),
            received_first: TimestampNs(u64_at(from, batch::RECEIVED_FIRST) as i64),
            received_last: TimestampNs(u64_at(from, batch::RECEIVED_LAST) as i64),
            body_bytes,
            frames: u32_at(from, batch::FRAMES),
            previous_crc: u32_at(from, batch::PREVIOUS_CRC),
            crc: u32_at(from, batch::CRC),
        })
    }

    /// Writes the header before its body and the checksum over both; answers the checksum.
    /// `whole` is header and body; the body is not read where its checksum is known.
    pub(crate) fn seal(&self, whole: &mut [u8], body_crc: Option<u32>) -> u32 {
        put(whole, batch::MAGIC, layout::BATCH_MAGIC.to_le_bytes());
        whole[batch::VERSION] = VERSION;
        whole[batch::KIND] = self.kind as u8;
        put(whole, batch::SHARD, self.shard.0.to_le_bytes());
        put(whole, batch::SEGMENT, self.file.0.to_le_bytes());
        put(whole, batch::OFFSET, self.offset.to_le_bytes());
        put(whole, batch::POSITION, self.position.0.to_le_bytes());
        put(whole, batch::DURABLE, self.durable.0.to_le_bytes());
        put(whole, batch::AS_OF, self.as_of.0.to_le_bytes());
        put(whole, batch::RECEIVED_FIRST, self.received_first.0.to_le_bytes());
        put(whole, batch::RECEIVED_LAST, self.received_last.0.to_le_bytes());
        put(whole, batch::BODY_BYTES, self.body_bytes.to_le_bytes());
        put(whole, batch::FRAMES, self.frames.to_le_bytes());
        put(whole, batch::PREVIOUS_CRC, self.previous_crc.to_le_bytes());
        let crc = match body_crc {
            Some(body) => {
                let bytes = whole.len() - BATCH_HEADER_BYTES;
                frame::crc32c_joined(frame::crc32c(&[&whole[..batch::CRC]]), body, bytes as u64)
            }
            None => batch_crc(whole),
        };
        put(whole, batch::CRC, crc.to_le_bytes());
        crc
    }
}

/// The checksum over a batch's header, without the checksum itself, and its body.
pub(crate) fn batch_crc(whole: &[u8]) -> u32 {
    frame::crc32c(&[&whole[..batch::CRC], &whole[BATCH_HEADER_BYTES..]])
}

fn put<const N: usize>(to: &mut [u8], at: usize, bytes: [u8; N]) {
    to[at..at + N].copy_from_slice(&bytes);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_header() -> BatchHeader {
        BatchHeader {
            kind: BatchKind::Data,
            shard: ShardId(3),
            file: FileNumber(7),
            offset: 64,
            position: LogPosition(1_000),
            durable: LogPosition(900),
            as_of: LogPosition(1_100),
            received_first: TimestampNs(-5),
            received_last: TimestampNs(5),
            body_bytes: 32,
            frames: 1,
            previous_crc: 42,
            crc: 0,
        }
    }

    #[test]
    fn headers_read_back_and_every_changed_byte_is_seen() {
        let mut whole = vec![7_u8; BATCH_HEADER_BYTES + 32];
        let body = frame::crc32c(&[&whole[BATCH_HEADER_BYTES..]]);
        let crc = batch_header().seal(&mut whole, None);
        assert_eq!(batch_header().seal(&mut whole, Some(body)), crc, "known or not");
        assert_eq!(BatchHeader::read(&whole), Some(BatchHeader { crc, ..batch_header() }));
        for at in 0..whole.len() {
            whole[at] ^= 1;
            let seen = BatchHeader::read(&whole).is_some_and(|h| h.crc == batch_crc(&whole));
            assert!(!seen, "byte {at}");
            whole[at] ^= 1;
        }

        let header = SegmentHeader {
            shard: ShardId(3),
            file: FileNumber(7),
            position: LogPosition(1),
            durable: LogPosition(1),
            created: TimestampNs(9),
            running_ns: 5,
            started: LogPosition(1),
            ordinal: 3,
            replaces: true,
            reused: true,
        };
        let mut bytes = vec![1_u8; SEGMENT_HEADER_BYTES];
        let crc = header.write(&mut bytes);
        assert_eq!(SegmentHeader::read(&bytes), SegmentStart::Header { header, crc });
        for at in 0..bytes.len() {
            bytes[at] ^= 0x80;
            assert_eq!(SegmentHeader::read(&bytes), SegmentStart::Damaged, "byte {at}");
            bytes[at] ^= 0x80;
        }
    }
}
