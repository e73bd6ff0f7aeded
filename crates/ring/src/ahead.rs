//! Asking for memory before it is needed.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a processor's hint takes an address"))]

/// Bytes that come into a cache together.
const LINE_BYTES: usize = 64;

/// Has the processor fetch all of a value that will soon be needed, where it can be told to.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<i8>();
    for at in (0..size_of::<T>()).step_by(LINE_BYTES) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `at` lies within the value. The hint reads and writes nothing that a program could see.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(start.add(at));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (start, at);
    }
}
