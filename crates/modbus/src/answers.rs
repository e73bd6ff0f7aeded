//! Answers that came and are not decoded yet.
//!
//! Purpose: keep the data of a lane's answers until the next requests are on their way, so that the
//! device works on these while the values are decoded and handed on. A copy of 250 bytes is cheaper than
//! a device that waits for it.
//!
//! Invariants
//! - B1: answers are given back in the order in which they came, each once.
//! - B2: held are the answers of one read of the socket at most: whoever hands in more has taken those
//!   out before ([`crate::poller::Poller::publish`]).
//!
//! It does not know values: see [`crate::lane`].

use crate::plan::Block;

/// Data of answers, end to end, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
}

impl Answers {
    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Takes down an answer: [`Block::answer_bytes`] of data.
    pub(crate) fn push(&mut self, block: Block, data: &[u8]) {
        debug_assert_eq!(data.len(), block.answer_bytes(), "data is as long as was asked for");
        self.bytes.extend_from_slice(data);
        self.blocks.push(block);
    }

    /// Each answer with its data.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Block, &[u8])> {
        let mut rest = &self.bytes[..];
        self.blocks.iter().map(move |block| {
            let (data, after) = rest.split_at_checked(block.answer_bytes()).unwrap_or_default();
            rest = after;
            (block, data)
        })
    }

    /// Forgets them, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.blocks.clear();
    }
}
