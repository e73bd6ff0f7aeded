//! Pads: large batches fill whole blocks of the file, so that a disk can write them past the page
//! cache (`layout`, "Batch"; `env::disk`, direct writes).
//!
//! It deliberately decides by size, and by whether the file's blocks were written before: small batches would
//! mostly be padding, and the page cache gathers them anyway.

use super::Writer;
use super::batch::Batch;
use super::live::Live;
use crate::header::BatchKind;
use crate::layout::BATCH_HEADER_BYTES;
use env::disk::{Block, DIRECT_ALIGN};

/// Bytes of the pad, its header included, that ends a block of the file which `offset` lies in; 0
/// where the block ends there.
fn pad_bytes(offset: u64) -> usize {
    let gap = (offset.next_multiple_of(DIRECT_ALIGN as u64) - offset) as usize;
    if gap == 0 || gap >= BATCH_HEADER_BYTES { gap } else { gap + DIRECT_ALIGN }
}

impl Batch {
    fn fills_blocks(&self, from: usize) -> bool {
        self.kind == BatchKind::Data && BATCH_HEADER_BYTES + self.body_bytes() >= from
    }

    /// Gives the block the length that it needs at an offset of the file: a pad its own, a large
    /// batch one behind it.
    pub(super) fn fit(&mut self, block: &mut Block, offset: u64, whole_blocks_from: usize) {
        let fills = self.fills_blocks(whole_blocks_from);
        block.resize(block.len() - self.suffix, 0);
        self.suffix = 0;
        if self.kind == BatchKind::Pad {
            block.resize(pad_bytes(offset).max(BATCH_HEADER_BYTES), 0);
        } else if fills {
            self.suffix = pad_bytes(offset + block.len() as u64);
            block.resize(block.len() + self.suffix, 0);
        }
        self.block_bytes = block.len();
    }
}

impl Writer {
    /// Bytes from which on a batch that would be placed next fills whole blocks.
    pub(super) fn whole_blocks_from(&self, batch: &Batch) -> usize {
        let from = self.settings.whole_blocks_from;
        let end = |live: &Live| live.next_offset + batch.block_bytes as u64;
        let again = self.current().is_some_and(|live| end(live) <= live.reused_bytes);
        if again { from.min(self.settings.whole_blocks_again_from) } else { from }
    }

    /// Queues a pad before the waiting batch at an index, where that needs one to begin a block.
    pub(super) fn pad_before(&mut self, at: usize) -> bool {
        let offset = self.current().map_or(0, |live| live.next_offset);
        let batch = &self.queue[at];
        if !batch.fills_blocks(self.whole_blocks_from(batch)) || pad_bytes(offset) == 0 {
            return false;
        }
        let (position, received) = (batch.position, batch.received_first);
        let mut block = Block::new(); // the spare ones are for batches, and much longer
        block.resize(BATCH_HEADER_BYTES, 0);
        let pad = Batch::own(self.key(), BatchKind::Pad, position, received, block);
        self.queue.insert(at, pad);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pad_ends_at_a_block_and_has_room_for_its_header() {
        for offset in (0..3 * DIRECT_ALIGN as u64).step_by(16) {
            let pad = pad_bytes(offset);
            assert!((offset + pad as u64).is_multiple_of(DIRECT_ALIGN as u64), "{offset}");
            assert!(pad == 0 || pad >= BATCH_HEADER_BYTES, "{offset}");
            assert!(pad < DIRECT_ALIGN + BATCH_HEADER_BYTES, "{offset}");
        }
    }
}
