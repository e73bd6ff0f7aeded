//! The machine's clocks and its randomness.

#![expect(unsafe_code, reason = "clock_gettime and getrandom have no safe call in the standard library")]

use std::time::{SystemTime, UNIX_EPOCH};

use env::clock::{Clock, Random};
use model::TimestampNs;

/// The machine's clocks. The monotonic one is `CLOCK_MONOTONIC`: the same for all threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> TimestampNs {
        let ns = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        };
        TimestampNs(ns)
    }

    fn monotonic_ns(&self) -> u64 {
        read_clock(libc::CLOCK_MONOTONIC)
    }
}

/// A kernel clock in nanoseconds.
pub(crate) fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call fills. It cannot fail for the clocks of this
    // crate, which every Linux has; were it to, zero is read.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Random bits by the kernel, fetched a few at a time.
#[derive(Debug)]
pub struct SystemRandom {
    bits: [u64; SystemRandom::FETCHED],
    left: usize,
}

impl SystemRandom {
    /// Numbers fetched at once: 256 bytes, which the kernel gives in one piece.
    const FETCHED: usize = 32;

    /// A source with nothing fetched yet.
    #[must_use]
    pub fn new() -> SystemRandom {
        SystemRandom { bits: [0; Self::FETCHED], left: 0 }
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        SystemRandom::new()
    }
}

impl Random for SystemRandom {
    fn next_u64(&mut self) -> u64 {
        if self.left == 0 {
            let bytes = size_of_val(&self.bits);
            loop {
                // SAFETY: the array is `bytes` long, is borrowed for writing, and any bits are
                // valid u64s.
                let got = unsafe { libc::getrandom(self.bits.as_mut_ptr().cast(), bytes, 0) };
                // Up to 256 bytes come whole or, before the machine's pool is ready, interrupted.
                if got == bytes as isize {
                    break;
                }
                let error = std::io::Error::last_os_error();
                assert!(
                    error.kind() == std::io::ErrorKind::Interrupted,
                    "the kernel gives no random bits (getrandom: {error}); is the system call filtered?"
                );
            }
            self.left = Self::FETCHED;
        }
        self.left -= 1;
        self.bits[self.left]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run() {
        let clock = SystemClock;
        let first = clock.monotonic_ns();
        assert!(clock.monotonic_ns() >= first && first > 0);
        assert!(clock.wall() > TimestampNs(1_600_000_000_000_000_000));
    }

    #[test]
    fn random_numbers_differ_over_fetches() {
        let mut random = SystemRandom::new();
        let mut seen: Vec<u64> = (0..100).map(|_| random.next_u64()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
    }
}
