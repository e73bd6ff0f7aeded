//! The empty blocks of a log, to be filled again.
//!
//! Memory that goes back to the system each time is zeroed by the kernel anew, page by page as it is
//! filled: flat out that was a quarter of what a sample cost. So what a load needs is kept as long as
//! it is needed.

use super::{BATCH_BYTES_FULL, GROUP_BYTES, PIPELINE_BATCHES_MAX};
use env::disk::{Block, DIRECT_ALIGN, Disk};
use model::limits;

/// Blocks that are kept in any case.
const KEPT_MAX: usize = PIPELINE_BATCHES_MAX;
/// Larger blocks are given back to the allocator. A block grows in powers of two, and a full batch has
/// a header besides.
const BLOCK_BYTES_MAX: usize = 2 * BATCH_BYTES_FULL;
/// Blocks that are kept besides while they are needed: as many full batches as may wait before senders are
/// paused, less those above.
const MORE_MAX: usize = limits::BYTES_IN_FLIGHT_MAX / 2 / BATCH_BYTES_FULL - KEPT_MAX;
/// When none of them was needed for so long, they are given back, one each time.
const UNUSED_NS: u64 = 1_000_000_000;
const GIVE_BACK_NS: u64 = 10_000_000;
/// Empty blocks of a disk that lends some.
const AT_HAND: usize = 3;
/// Blocks that a disk should lend: one that is filled, those that wait, are written, or are synced, and the
/// next ones.
pub const LENT_BLOCKS: usize = PIPELINE_BATCHES_MAX + 1 + AT_HAND;
/// How long a disk should make them: a full batch with its header and pad.
pub const LENT_BLOCK_BYTES: usize = BATCH_BYTES_FULL + 2 * DIRECT_ALIGN;

/// Empty blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The disk's, or where it lends none, the log's own.
    kept: Vec<Block>,
    /// More of the log's own, for when all of those are in use, and when the next is given back.
    more: Vec<Block>,
    give_back_ns: u64,
    /// The disk lends some.
    lent: bool,
}

impl Blocks {
    /// An empty block, of those that the disk lends if there is one.
    pub(super) fn take(&mut self, now_ns: u64) -> Block {
        if let Some(block) = self.kept.pop() {
            return block;
        }
        self.give_back_ns = now_ns + UNUSED_NS;
        self.more.pop().unwrap_or_default()
    }

    /// Keeps a block whose bytes are durable, where it is of use.
    pub(super) fn recycle(&mut self, mut block: Block) {
        block.clear();
        let (is_lent, bytes) = (block.is_lent(), block.capacity());
        let is_kept = is_lent || (!self.lent && bytes <= BLOCK_BYTES_MAX);
        // a pad's is too short to serve as one
        let is_batch_long = !is_lent && (GROUP_BYTES..=BLOCK_BYTES_MAX).contains(&bytes);
        if is_kept && self.kept.len() < KEPT_MAX {
            self.kept.push(block);
        } else if is_batch_long && self.more.len() < MORE_MAX {
            self.more.push(block);
        }
    }

    /// Keeps a few blocks of the disk's at hand: between two polls more than one batch may be sealed.
    pub(super) fn borrow(&mut self, disk: &mut dyn Disk) {
        while self.kept.len() < AT_HAND
            && let Some(block) = disk.lend()
        {
            self.lent = true;
            self.kept.push(block);
        }
    }

    /// Gives a block back that has not been needed for a while: one at a time, because each takes some 30 µs.
    pub(super) fn give_back(&mut self, now_ns: u64) {
        if self.due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            self.give_back_ns = now_ns + GIVE_BACK_NS;
            self.more.pop();
        }
    }

    /// When the next is given back.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (!self.more.is_empty()).then_some(self.give_back_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: usize) -> Block {
        let mut block = Block::with_capacity(bytes);
        block.resize(bytes, 7);
        block
    }

    #[test]
    fn as_many_are_kept_as_are_needed_and_given_back_when_they_are_not() {
        let mut blocks = Blocks::default();
        let in_use: Vec<Block> = (0..40).map(|_| blocks.take(5)).collect();
        assert!(in_use.iter().all(|block| block.capacity() == 0), "there were none");
        in_use.iter().for_each(|_| blocks.recycle(filled(BATCH_BYTES_FULL)));
        blocks.recycle(filled(4 * BATCH_BYTES_FULL));
        blocks.recycle(filled(80));
        assert_eq!((blocks.kept.len(), blocks.more.len()), (KEPT_MAX, MORE_MAX));
        let again: Vec<Block> = (0..KEPT_MAX + 1).map(|_| blocks.take(9)).collect();
        assert!(again.iter().all(|block| block.is_empty() && block.capacity() >= BATCH_BYTES_FULL));
        again.into_iter().for_each(|block| blocks.recycle(block));
        let mut now_ns = 9 + UNUSED_NS;
        blocks.give_back(now_ns - 1);
        assert_eq!((blocks.more.len(), blocks.due_ns()), (MORE_MAX, Some(now_ns)), "it was needed a moment ago");
        while let Some(due_ns) = blocks.due_ns() {
            assert!(due_ns <= now_ns + GIVE_BACK_NS);
            let before = blocks.more.len();
            now_ns = due_ns;
            blocks.give_back(now_ns);
            assert_eq!(blocks.more.len(), before - 1, "one at a time");
        }
        assert_eq!(blocks.kept.len(), KEPT_MAX);
    }
}
