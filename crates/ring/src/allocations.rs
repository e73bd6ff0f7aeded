//! How often a thread asks for memory.
//!
//! [`CountingAllocator`] is the system's allocator with a count. A program that wants to know declares
//! it as its global allocator (the server's feature `count-allocations`, tests); in all others the
//! counts stay at zero, and reading them costs one load.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait; every call goes to the system's, unchanged")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    // Constant and without a destructor, so that reaching it allocates nothing, also while a thread ends.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread how often it was asked for memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

/// Times that the calling thread asked for memory so far, growing what it had included; 0 for ever where
/// [`CountingAllocator`] is not the program's allocator. Giving memory back does not count.
#[must_use]
pub fn allocations() -> u64 {
    COUNT.with(Cell::get)
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to `System`, which keeps the contract, with the caller's own promises;
// counting touches one number of the thread and neither allocates nor panics.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; `at` came from `System`, as all memory here does.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise; `at` came from `System`, as all memory here does.
        unsafe { System.realloc(at, layout, bytes) }
    }
}
