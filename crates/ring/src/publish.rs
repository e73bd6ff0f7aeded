//! Publishing into memory that is shared with somebody who is not Rust: a kernel ring's tail.

#![expect(unsafe_code, reason = "the address comes from outside and must be vouched for")]

use std::sync::atomic::{AtomicU16, Ordering};

/// Stores a number so that whoever reads it with acquire sees all that this thread wrote before.
///
/// # Safety
/// `to` is valid for writes and aligned for as long as the call lasts, and while others may look at
/// it at the same time, it is accessed atomically only.
pub unsafe fn publish_u16(to: *mut u16, value: u16) {
    // SAFETY: the caller vouches for the address and for atomic access.
    let shared = unsafe { AtomicU16::from_ptr(to) };
    // Release: publishes the ring entries written before to the reader of this tail.
    shared.store(value, Ordering::Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn stores_the_number() {
        let mut number = 1;
        // SAFETY: a local number, borrowed for writing, and nobody else looks at it.
        unsafe { publish_u16(&mut number, 7) };
        assert_eq!(number, 7);
    }
}
