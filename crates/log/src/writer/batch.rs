//! A batch in memory.

use crate::header::BatchKind;
use crate::layout::BATCH_HEADER_BYTES;
use crate::recover::TailBatch;
use env::disk::{Block, FileNumber};
use frame::Crc32c;
use model::{LogPosition, TimestampNs};

/// Where a batch stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: FileNumber,
    /// First byte in the file, of the batch's own header.
    pub(super) offset: u64,
    /// One behind its last byte in the file.
    pub(super) end: u64,
    /// Whether the write completed in full.
    pub(super) written: bool,
}

/// A batch that takes no more frames and is not durable.
#[derive(Debug)]
pub(super) struct Batch {
    /// Names it among the batches of this writer.
    pub(super) key: u64,
    pub(super) kind: BatchKind,
    pub(super) position: LogPosition,
    pub(super) received_first: TimestampNs,
    pub(super) received_last: TimestampNs,
    pub(super) frames: u32,
    /// Bytes in the block before the batch's header (the segment's header).
    pub(super) prefix: usize,
    /// Bytes in the block behind its frames (a pad).
    pub(super) suffix: usize,
    /// The checksum of its frames, where it was made as they came, while they were in the cache: over half a
    /// megabyte at once it would be the longest part of a poll.
    pub(super) body_crc: Option<u32>,
    /// `None` while the disk has it.
    pub(super) block: Option<Block>,
    /// The block's length.
    pub(super) block_bytes: usize,
    pub(super) place: Option<Place>,
    /// Whether it was logged before.
    pub(super) again: bool,
}

impl Batch {
    /// A batch that recovery kept.
    pub(super) fn again(tail: &TailBatch, key: u64) -> Batch {
        Batch {
            key,
            kind: BatchKind::Data,
            position: tail.header.position,
            received_first: tail.header.received_first,
            received_last: tail.header.received_last,
            frames: tail.header.frames,
            prefix: 0,
            suffix: 0,
            body_crc: None,
            block_bytes: tail.block.len(),
            block: Some(tail.block.clone()),
            place: None,
            again: true,
        }
    }

    /// A batch of Millstream's own frames, which counts no positions.
    pub(super) fn own(key: u64, kind: BatchKind, position: LogPosition, at: TimestampNs, block: Block) -> Batch {
        Batch {
            key,
            kind,
            position,
            received_first: at,
            received_last: at,
            frames: 0,
            prefix: 0,
            suffix: 0,
            body_crc: None,
            block_bytes: block.len(),
            block: Some(block),
            place: None,
            again: false,
        }
    }

    /// Bytes of its frames; 0 where the block is a segment's header alone.
    pub(super) fn body_bytes(&self) -> usize {
        self.block_bytes.saturating_sub(self.prefix + BATCH_HEADER_BYTES + self.suffix)
    }

    /// Position after its last frame.
    pub(super) fn position_end(&self) -> LogPosition {
        let counts = if self.kind == BatchKind::Data { self.body_bytes() as u64 } else { 0 };
        LogPosition(self.position.0 + counts)
    }
}

/// The batch that takes frames.
#[derive(Debug)]
pub(super) struct Open {
    /// Room for the header, then the frames.
    block: Block,
    position: LogPosition,
    frames: u32,
    /// Of the frames.
    crc: Crc32c,
    received_first: TimestampNs,
    received_last: TimestampNs,
    /// When the first of its frames has waited as long as it may, monotonic ns.
    pub(super) due_ns: u64,
}

impl Open {
    pub(super) fn new(position: LogPosition) -> Open {
        let mut open = Open::empty_at(position);
        open.block.resize(BATCH_HEADER_BYTES, 0);
        open
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.block.len() - BATCH_HEADER_BYTES
    }

    pub(super) fn position(&self) -> LogPosition {
        self.position
    }

    pub(super) fn position_end(&self) -> LogPosition {
        LogPosition(self.position.0 + self.body_bytes() as u64)
    }

    /// Copies whole frames that may wait until `due_ns`, and writes their time of arrival.
    pub(super) fn push(&mut self, frames: &[u8], count: u32, received: TimestampNs, due_ns: u64) {
        self.due_ns = self.due_ns.min(due_ns);
        let start = self.block.len();
        self.block.extend_from_slice(frames);
        let mut at = start;
        for _ in 0..count {
            let length = frame_length(&self.block[at..]);
            frame::stamp_received(&mut self.block[at..], received);
            at += length;
        }
        self.crc.update(&self.block[start..]);
        self.frames += count;
        self.received_first = self.received_first.min(received);
        self.received_last = self.received_last.max(received);
    }

    /// Takes out what was gathered, as a waiting batch; goes on with an empty block.
    pub(super) fn take(&mut self, key: u64, mut empty: Block) -> Batch {
        empty.reserve(self.block.len()); // as much will come again; growing copies
        empty.resize(BATCH_HEADER_BYTES, 0);
        let next = Open { block: empty, ..Open::empty_at(self.position_end()) };
        let full = std::mem::replace(self, next);
        Batch {
            key,
            kind: BatchKind::Data,
            position: full.position,
            received_first: full.received_first,
            received_last: full.received_last,
            frames: full.frames,
            prefix: 0,
            suffix: 0,
            body_crc: Some(full.crc.value()),
            block_bytes: full.block.len(),
            block: Some(full.block),
            place: None,
            again: false,
        }
    }

    fn empty_at(position: LogPosition) -> Open {
        Open {
            block: Block::new(),
            position,
            frames: 0,
            crc: Crc32c::default(),
            received_first: TimestampNs(i64::MAX),
            received_last: TimestampNs(i64::MIN),
            due_ns: u64::MAX,
        }
    }
}

/// The longest run of whole frames at the start of `bytes` that fits into `room`: its length and count.
///
/// # Panics
/// Where `bytes` is not made of whole frames.
pub(super) fn whole_frames(bytes: &[u8], room: usize) -> (usize, u32) {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let length = frame_length(&bytes[at..]);
        if at + length > room {
            break;
        }
        at += length;
        count += 1;
    }
    (at, count)
}

fn frame_length(bytes: &[u8]) -> usize {
    match frame::check_length(bytes) {
        Ok(Some(length)) if length <= bytes.len() => length,
        other => panic!("only whole checked frames are appended to the log; these bytes are none: {other:?}"),
    }
}
