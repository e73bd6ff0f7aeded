//! Memory that the kernel knows: blocks that are lent for writes.
//!
//! To write from any memory, the kernel looks up and pins its pages for each write anew, on the core
//! that asks; from registered memory it does not (`examples/disk_writes.rs` shows the difference).
//! The memory lies in huge pages where there are some, so that a block is few pieces for the disk.
//!
//! Invariants
//! - A1: a block is lent to one owner at a time: its bit in `free` is taken before, and given back when
//!   what was lent is dropped.
//! - A2: the memory is unmapped only when no block is lent any more and no ring knows it: both hold a
//!   share of the arena.

#![expect(unsafe_code, reason = "memory is mapped and lent in pieces; each block has its proof")]

use std::{
    io,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use env::disk::{Block, DIRECT_ALIGN, Memory};

/// What most processors call a huge page.
const HUGE_PAGE: usize = 2 << 20;

pub(super) struct Arena {
    start: NonNull<u8>,
    bytes: usize,
    block_bytes: usize,
    /// A bit for each block that is not lent.
    free: AtomicU64,
}

// SAFETY: `start` and the lengths never change, and the memory is reached only through `Lent`, each
// of which has a part of its own (A1).
unsafe impl Send for Arena {}
// SAFETY: as above; `free` is atomic.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `blocks` (1 to 64) blocks of `block_bytes`, a multiple of [`DIRECT_ALIGN`].
    pub(super) fn new(blocks: usize, block_bytes: usize) -> io::Result<Arena> {
        assert!((1..=64).contains(&blocks) && block_bytes.is_multiple_of(DIRECT_ALIGN), "see above");
        let bytes = (blocks * block_bytes).next_multiple_of(HUGE_PAGE);
        let start = map(bytes)?;
        Ok(Arena { start, bytes, block_bytes, free: AtomicU64::new(u64::MAX >> (64 - blocks)) })
    }

    /// All of its memory, as a ring is told of it.
    pub(super) fn iovec(&self) -> libc::iovec {
        libc::iovec { iov_base: self.start.as_ptr().cast(), iov_len: self.bytes }
    }

    /// Whether these bytes are its.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        let (start, first) = (self.start.as_ptr() as usize, bytes.as_ptr() as usize);
        first >= start && first + bytes.len() <= start + self.bytes
    }

    /// A block that is not lent.
    pub(super) fn lend(self: &Arc<Arena>) -> Option<Block> {
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            let index = free.trailing_zeros();
            if index == u64::BITS {
                return None;
            }
            let left = free & !(1 << index);
            match self.free.compare_exchange_weak(free, left, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Block::lent(Box::new(Lent { arena: Arc::clone(self), index }))),
                Err(now) => free = now,
            }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is whole, and nobody has a part of it or of the arena (A2).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// One block, lent.
struct Lent {
    arena: Arc<Arena>,
    index: u32,
}

impl Lent {
    fn start(&self) -> *mut u8 {
        // SAFETY: `index` is of a block that the arena has, so the result lies in the mapping.
        unsafe { self.arena.start.as_ptr().add(self.index as usize * self.arena.block_bytes) }
    }
}

impl Memory for Lent {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the block lies in the mapping, which is zeroed at first and lives as long as the
        // arena; nobody else has it (A1), and `&self` lets nobody write to it.
        unsafe { std::slice::from_raw_parts(self.start(), self.arena.block_bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` lets nobody else look at it.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.arena.block_bytes) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.arena.free.fetch_or(1 << self.index, Ordering::Release);
    }
}

/// Zeroed memory at a multiple of a huge page.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), bytes + HUGE_PAGE, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let before = mapped.cast::<u8>().align_offset(HUGE_PAGE);
    // SAFETY: the mapping is `HUGE_PAGE` longer than asked for, so `bytes` bytes from the aligned place on lie
    // in it; what stands before and behind them is unmapped and never used.
    unsafe {
        let start = mapped.cast::<u8>().add(before);
        if before > 0 {
            libc::munmap(mapped, before);
        }
        libc::munmap(start.add(bytes).cast(), HUGE_PAGE - before);
        // Without huge pages it works as well.
        libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE);
        Ok(NonNull::new_unchecked(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_lent_once_and_come_back() {
        let arena = Arc::new(Arena::new(3, 8 * DIRECT_ALIGN).expect("memory"));
        let mut lent: Vec<Block> = std::iter::from_fn(|| arena.lend()).collect();
        assert_eq!(lent.len(), 3);
        for (n, block) in lent.iter_mut().enumerate() {
            block.resize(8 * DIRECT_ALIGN, n as u8);
            assert!((block.as_ptr() as usize).is_multiple_of(DIRECT_ALIGN) && arena.holds(block));
        }
        for (n, block) in lent.iter().enumerate() {
            assert!(block.iter().all(|byte| usize::from(*byte) == n), "blocks share nothing");
        }
        let moved = lent[1].clone();
        assert!(!arena.holds(&moved), "a copy has memory of its own");
        lent.remove(1);
        lent.push(arena.lend().expect("the one that was given back"));
        assert!(arena.lend().is_none());
        drop(lent);
        let again: Vec<Block> = std::iter::from_fn(|| arena.lend()).collect();
        assert_eq!(again.len(), 3, "each is given back when it is dropped");
    }
}
