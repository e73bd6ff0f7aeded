//! Walking the batches of a file: what is whole is handed over in place, what is not is skipped to
//! the next whole batch.
//!
//! Invariant L4 is kept here: [`Piece::Batch`] exists only for bytes whose checksum holds over the
//! shard, file and offset where they were found.
//! It deliberately does not judge whether damage is a torn tail or rot; `judge` does.

use crate::header::{BatchHeader, batch_crc};
use crate::layout::{ALIGN, BATCH_HEADER_BYTES};
use env::disk::{Block, FileNumber, Storage};
use model::{LogPosition, ShardId};
use std::ops::ControlFlow;

/// Read at once where more is there.
const READ_BYTES: usize = 1 << 20;
/// Where a read fails, it is tried again in pieces of this size, to lose no more than must be.
const SALVAGE_BYTES: usize = 4096;

/// A part of a file.
pub(crate) enum Piece<'a> {
    /// A whole batch: its header and its frames.
    Batch(BatchHeader, &'a [u8]),
    /// Bytes that are not a whole batch.
    Damage {
        offset: u64,
        bytes: u64,
        /// The disk refused to read at least some of them.
        unreadable: bool,
    },
}

/// A file seen through a buffer that keeps frames aligned.
pub(crate) struct Window<'s> {
    storage: &'s dyn Storage,
    file: FileNumber,
    start: u64,
    bytes: Block,
    /// Parts that could not be read; they are zero in the buffer.
    unreadable: Vec<(u64, u64)>,
    /// Bytes read so far.
    pub(crate) read: u64,
}

impl<'s> Window<'s> {
    pub(crate) fn new(storage: &'s dyn Storage, file: FileNumber) -> Window<'s> {
        Window { storage, file, start: 0, bytes: Block::new(), unreadable: Vec::new(), read: 0 }
    }

    /// `length` bytes at an offset that is a multiple of [`ALIGN`]; fewer only where the file ends
    /// before `limit`.
    pub(crate) fn at(&mut self, offset: u64, length: usize, limit: u64) -> &[u8] {
        let length = length.min(limit.saturating_sub(offset) as usize);
        let inside = offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            self.fill(offset, length.max(READ_BYTES).min(limit.saturating_sub(offset) as usize));
        }
        let from = (offset - self.start) as usize;
        let to = (from + length).min(self.bytes.len());
        &self.bytes[from.min(to)..to]
    }

    fn fill(&mut self, offset: u64, length: usize) {
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(length, 0);
        let whole = self.storage.read_at(self.file, offset, &mut self.bytes);
        let got = match whole {
            Ok(got) => got,
            Err(_) => self.salvage(offset),
        };
        self.bytes.resize(got, 0);
        self.read += got as u64;
    }

    /// Reads piece by piece; what cannot be read stays zero and is noted.
    fn salvage(&mut self, offset: u64) -> usize {
        let mut at = 0;
        while at < self.bytes.len() {
            let to = (at + SALVAGE_BYTES).min(self.bytes.len());
            match self.storage.read_at(self.file, offset + at as u64, &mut self.bytes[at..to]) {
                Ok(got) if got < to - at => return at + got,
                Ok(_) => {}
                Err(_) => {
                    self.bytes[at..to].fill(0);
                    self.unreadable.push((offset + at as u64, offset + to as u64));
                }
            }
            at = to;
        }
        at
    }

    fn is_unreadable(&self, from: u64, to: u64) -> bool {
        self.unreadable.iter().any(|(a, b)| *a < to && *b > from)
    }
}

/// What a walk expects.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) shard: ShardId,
    pub(crate) file: FileNumber,
    /// First byte, a multiple of [`ALIGN`].
    pub(crate) from: u64,
    /// One behind the last byte.
    pub(crate) to: u64,
    /// Checksum of what stands before, where it is known.
    pub(crate) previous_crc: Option<u32>,
    /// Where damage that reaches up to `from` starts.
    pub(crate) damaged_from: Option<u64>,
}

impl Walk {
    /// Hands over each whole batch and each damaged part, in order, until `on` breaks.
    pub(crate) fn run(&self, window: &mut Window<'_>, on: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>) {
        let (mut at, mut damaged_from) = (self.from, self.damaged_from);
        let mut previous_crc = self.previous_crc;
        let mut position = LogPosition(0);
        while at < self.to {
            let Some(header) = self.whole_batch(window, at, previous_crc, position) else {
                damaged_from.get_or_insert(at);
                previous_crc = None;
                at += ALIGN as u64;
                continue;
            };
            if let Some(offset) = damaged_from.take()
                && on(damage(window, offset, at)).is_break()
            {
                return;
            }
            let whole = window.at(at, header.bytes() as usize, self.to);
            if on(Piece::Batch(header, &whole[BATCH_HEADER_BYTES..])).is_break() {
                return;
            }
            previous_crc = Some(header.crc);
            position = header.position_end();
            at += header.bytes();
        }
        if let Some(offset) = damaged_from {
            let _ = on(damage(window, offset, self.to));
        }
    }

    fn whole_batch(
        &self,
        window: &mut Window<'_>,
        at: u64,
        previous_crc: Option<u32>,
        position: LogPosition,
    ) -> Option<BatchHeader> {
        let header = BatchHeader::read(window.at(at, BATCH_HEADER_BYTES, self.to))?;
        let here = header.shard == self.shard && header.file == self.file && header.offset == at;
        let follows = previous_crc.is_none_or(|crc| crc == header.previous_crc) && header.position >= position;
        if !here || !follows || at + header.bytes() > self.to {
            return None;
        }
        let whole = window.at(at, header.bytes() as usize, self.to);
        (whole.len() as u64 == header.bytes() && batch_crc(whole) == header.crc).then_some(header)
    }
}

fn damage<'a>(window: &Window<'_>, offset: u64, to: u64) -> Piece<'a> {
    Piece::Damage { offset, bytes: to - offset, unreadable: window.is_unreadable(offset, to) }
}
