//! Frames on their way: built in place, written in chunks, kept until they are acknowledged.
//!
//! Invariants
//! - O1: sequences have no holes; block after block holds them in order.
//! - O2: what is unsent starts at a frame's first byte, or within a frame whose beginning went out
//!   on this connection. [`Outbox::rewind`], called once per new connection, restores that.
//! - O3: memory is bounded: no frame is taken while `bytes_max` or more are kept; blocks are reused.

use frame::{Builder, EncodeError, check_length};
use model::{ProducerId, Sequence};
use std::collections::VecDeque;
use std::fmt;

/// Why a frame was not taken or an acknowledgement not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxError {
    /// As much waits as may; try again after an acknowledgement.
    Full,
    /// The frame cannot be made.
    Encode(EncodeError),
    /// The server acknowledges, or has, frames that were not sent to it.
    Ahead {
        /// The server's sequence.
        theirs: Sequence,
        /// The last that it may have.
        ours: Sequence,
    },
}

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutboxError::Full => f.write_str("too many frames wait for an acknowledgement; try again later"),
            OutboxError::Encode(error) => error.fmt(f),
            OutboxError::Ahead { theirs, ours } => {
                write!(f, "the server has frame {theirs}, but only {ours} was sent to it")
            }
        }
    }
}

impl std::error::Error for OutboxError {}

/// Consecutive frames, end to end.
struct Block {
    frames: Builder,
    first: Sequence,
    count: u64,
}

impl Block {
    /// The last sequence; the one before `first` while it is empty.
    fn last(&self) -> Sequence {
        Sequence(self.first.0 + self.count - 1)
    }

    fn len(&self) -> usize {
        self.frames.bytes().len()
    }

    /// Where the frame that holds the byte at `offset`, or the `skip`-th frame, starts.
    fn frame_start(&self, skip: u64, offset: usize) -> usize {
        let bytes = self.frames.bytes();
        let (mut at, mut seen) = (0, 0);
        while at < bytes.len() {
            let Ok(Some(length)) = check_length(&bytes[at..]) else { break };
            if seen >= skip && at + length > offset {
                break;
            }
            (at, seen) = (at + length, seen + 1);
        }
        at
    }
}

/// Frames of one producer that are not sent or not acknowledged yet. Knows no socket.
pub struct Outbox {
    producer: ProducerId,
    /// Oldest first.
    blocks: VecDeque<Block>,
    free: Vec<Builder>,
    keeps: bool,
    block_bytes: usize,
    bytes_max: usize,
    bytes: usize,
    unsent_bytes: usize,
    last: Sequence,
    acknowledged: Sequence,
    /// Block that is being sent, and how much of it went out.
    cursor: usize,
    offset: usize,
}

impl Outbox {
    /// An empty outbox. `keeps`: frames stay until acknowledged, else until sent. Blocks of about
    /// `block_bytes` are what one write can take; `bytes_max` bounds the whole.
    #[must_use]
    pub fn new(producer: ProducerId, keeps: bool, block_bytes: usize, bytes_max: usize) -> Outbox {
        Outbox {
            producer,
            blocks: VecDeque::new(),
            free: Vec::new(),
            keeps,
            block_bytes: block_bytes.max(1),
            bytes_max: bytes_max.max(1),
            bytes: 0,
            unsent_bytes: 0,
            last: Sequence(0),
            acknowledged: Sequence(0),
            cursor: 0,
            offset: 0,
        }
    }

    /// The first frame will be the one after `last`. For an outbox that was never used.
    pub fn start_after(&mut self, last: Sequence) {
        debug_assert!(self.blocks.is_empty());
        self.last = last;
        self.acknowledged = last;
    }

    /// Whether a frame would be taken now.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.bytes < self.bytes_max
    }

    /// Bytes that are kept, sent or not.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that are still to be sent.
    #[must_use]
    pub const fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// The last frame taken.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.last
    }

    /// The last frame acknowledged.
    #[must_use]
    pub const fn acknowledged(&self) -> Sequence {
        self.acknowledged
    }

    /// Takes the next frame, which `build` appends, and answers its sequence.
    ///
    /// # Errors
    /// [`OutboxError::Full`] and [`OutboxError::Encode`]; nothing was taken then.
    pub fn push(
        &mut self,
        build: impl FnOnce(&mut Builder, ProducerId, Sequence) -> Result<(), EncodeError>,
    ) -> Result<Sequence, OutboxError> {
        if !self.has_room() {
            return Err(OutboxError::Full);
        }
        let sequence = self.last.next();
        if self.blocks.back().is_none_or(|block| block.len() >= self.block_bytes) {
            let frames = self.free.pop().unwrap_or_default();
            self.blocks.push_back(Block { frames, first: sequence, count: 0 });
        }
        let Some(block) = self.blocks.back_mut() else { return Err(OutboxError::Full) };
        let before = block.len();
        if let Err(error) = build(&mut block.frames, self.producer, sequence) {
            if block.count == 0
                && let Some(block) = self.blocks.pop_back()
            {
                self.free.push(block.frames);
            }
            return Err(OutboxError::Encode(error));
        }
        block.count += 1;
        let grown = block.len() - before;
        self.bytes += grown;
        self.unsent_bytes += grown;
        self.last = sequence;
        self.step();
        Ok(sequence)
    }

    /// The next bytes to be written; empty when all is sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.blocks.get(self.cursor).map_or(&[], |block| &block.frames.bytes()[self.offset..])
    }

    /// So many bytes of [`unsent`](Self::unsent) were written.
    pub fn sent(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.unsent().len());
        self.offset += bytes;
        self.unsent_bytes -= bytes;
        self.step();
        if !self.keeps {
            while self.cursor > 0 {
                self.release_first();
            }
            if self.unsent_bytes == 0 && !self.blocks.is_empty() {
                self.release_first();
            }
        }
    }

    /// Everything up to this sequence is on the server's disk. Answers whether that was news.
    ///
    /// # Errors
    /// [`OutboxError::Ahead`] if it was never sent on this connection or before.
    pub fn acknowledge(&mut self, sequence: Sequence) -> Result<bool, OutboxError> {
        if sequence <= self.acknowledged {
            return Ok(false);
        }
        let ours = self.sent_last();
        if sequence > ours {
            return Err(OutboxError::Ahead { theirs: sequence, ours });
        }
        self.acknowledged = sequence;
        while self.blocks.front().is_some_and(|block| block.last() <= sequence) {
            self.release_first();
        }
        Ok(true)
    }

    /// A new connection: the server has everything up to `durable` on disk; what comes after it is
    /// unsent again. Answers how many frames that it had acknowledged the server has no more (0
    /// unless its data was lost).
    ///
    /// # Errors
    /// [`OutboxError::Ahead`] if the server has frames that were never taken here.
    pub fn rewind(&mut self, durable: Sequence) -> Result<u64, OutboxError> {
        if durable > self.last {
            return Err(OutboxError::Ahead { theirs: durable, ours: self.last });
        }
        if !self.keeps {
            // Only a frame that went out in part is sent again.
            let start = self.blocks.front().map_or(0, |block| block.frame_start(0, self.offset));
            self.unsent_bytes += self.offset - start;
            self.offset = start;
            return Ok(0);
        }
        let forgotten = self.acknowledged.0.saturating_sub(durable.0);
        self.acknowledged = durable;
        // From here on the first block is the one to be sent, from its start.
        (self.cursor, self.offset) = (0, 0);
        self.unsent_bytes = self.bytes;
        while self.blocks.front().is_some_and(|block| block.last() <= durable) {
            self.unsent_bytes -= self.blocks.front().map_or(0, Block::len);
            self.release_first();
        }
        if let Some(block) = self.blocks.front() {
            let skip = (durable.0 + 1).saturating_sub(block.first.0);
            self.offset = block.frame_start(skip, 0);
            self.unsent_bytes -= self.offset;
        }
        Ok(forgotten)
    }

    /// Goes on to the next block when the current one is sent.
    fn step(&mut self) {
        while self.cursor + 1 < self.blocks.len()
            && self.blocks.get(self.cursor).is_some_and(|block| block.len() == self.offset)
        {
            self.cursor += 1;
            self.offset = 0;
        }
    }

    /// The last frame of which every byte was sent, seen by whole blocks and the current one.
    fn sent_last(&self) -> Sequence {
        match self.blocks.get(self.cursor) {
            None => self.last,
            Some(block) if self.offset == block.len() => block.last(),
            Some(block) => {
                let bytes = block.frames.bytes();
                let (mut at, mut count) = (0, 0);
                while let Some(Ok(Some(length))) = bytes.get(at..).filter(|b| !b.is_empty()).map(check_length)
                    && at + length <= self.offset
                {
                    (at, count) = (at + length, count + 1);
                }
                Sequence(block.first.0 + count - 1)
            }
        }
    }

    /// Forgets the first block, which is sent, and keeps its memory.
    fn release_first(&mut self) {
        let Some(mut block) = self.blocks.pop_front() else { return };
        self.bytes -= block.len();
        block.frames.clear();
        self.free.push(block.frames);
        match self.cursor.checked_sub(1) {
            Some(cursor) => self.cursor = cursor,
            None => self.offset = 0,
        }
    }
}

#[cfg(test)]
mod tests;
