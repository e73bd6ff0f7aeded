//! Buffers that the kernel fills: a ring of provided buffers, all of one size.
//!
//! A buffer belongs to the kernel from [`Buffers::give_back`] until a completion names it, and to
//! us from there until it is given back. Few and small on purpose: they stay in the second-level
//! cache (64 of 16 KiB beat larger rings).

#![expect(unsafe_code, reason = "memory that is shared with the kernel; each block has its proof")]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    io,
    ptr::NonNull,
};

use io_uring::{IoUring, types::BufRingEntry};
use ring::publish_u16;

/// What the kernel asks of the ring's address.
const PAGE_BYTES: usize = 4096;

pub(super) struct Buffers {
    group: u16,
    count: u16,
    size: usize,
    tail: u16,
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    /// Which buffers are ours at this moment; a broken count would lend one twice.
    ours: Box<[bool]>,
    /// The kernel may still use the memory: it is never freed.
    leaked: bool,
}

impl Buffers {
    /// Makes and registers `count` (a power of two) buffers of `size` bytes.
    pub(super) fn register(ring: &IoUring, group: u16, count: u16, size: usize) -> io::Result<Buffers> {
        assert!(count.is_power_of_two() && size > 0, "a buffer ring has a power of two of buffers");
        let mut buffers = Buffers {
            group,
            count,
            size,
            tail: 0,
            entries: allocate(entries_layout(count)).cast(),
            bytes: allocate(bytes_layout(count, size)),
            ours: vec![true; usize::from(count)].into_boxed_slice(),
            leaked: false,
        };
        let address = buffers.entries.as_ptr() as u64;
        // SAFETY: the entries are page-aligned, zeroed, `count` long, and freed only after the ring
        // has let go of them (`release`), or never.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, group, 0)? };
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        Ok(buffers)
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// The first bytes of a buffer that a completion named. Ours until given back.
    pub(super) fn filled(&mut self, buffer: u16, length: usize) -> &[u8] {
        let index = usize::from(buffer);
        assert!(length <= self.size, "the kernel filled {length} bytes of a buffer of {}", self.size);
        self.ours[index] = true;
        // SAFETY: `index` is below `count` (the line above would have panicked), so the range lies
        // within the allocation, which was zeroed and later written by the kernel; the buffer is
        // ours, so the kernel does not write to it while `self` is borrowed and it is not given back.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(index * self.size), length) }
    }

    /// Lets the kernel fill a buffer again.
    pub(super) fn give_back(&mut self, buffer: u16) {
        let index = usize::from(buffer);
        self.ours[index] = false;
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: `place` is below `count`, so the entry lies within the ring; the kernel reads only
        // entries before the tail, and this one is published by the tail below. `index` is below
        // `count` (see above). The entry's reserved field, which in entry 0 is the tail, is not
        // touched by these setters.
        unsafe {
            let address = self.bytes.as_ptr().add(index * self.size) as u64;
            let entry = &mut *self.entries.as_ptr().add(place);
            entry.set_addr(address);
            entry.set_len(self.size as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies within entry 0, is two-byte aligned, only this thread writes it, and
        // the kernel reads it atomically. The reference above is gone.
        unsafe { publish_u16(BufRingEntry::tail(self.entries.as_ptr()).cast_mut(), self.tail) };
    }

    /// A buffer that is not looked at: ours and back again.
    pub(super) fn discard(&mut self, buffer: u16) {
        self.ours[usize::from(buffer)] = true;
        self.give_back(buffer);
    }

    /// Takes the memory back from the kernel. If it may still be writing, the memory is given up.
    pub(super) fn release(&mut self, ring: &IoUring, quiet: bool) {
        if !quiet || ring.submitter().unregister_buf_ring(self.group).is_err() {
            self.leaked = true;
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: both were allocated with these layouts, and the kernel has let go of them: they
        // were unregistered, or never registered.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout(self.count));
            dealloc(self.bytes.as_ptr(), bytes_layout(self.count, self.size));
        }
    }
}

fn entries_layout(count: u16) -> Layout {
    layout(usize::from(count) * size_of::<BufRingEntry>())
}

fn bytes_layout(count: u16, size: usize) -> Layout {
    layout(usize::from(count) * size)
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, PAGE_BYTES).expect("a few megabytes fit the address space")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout is not empty: counts and sizes are above zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}
