//! How long to wait before the next try to connect.
//!
//! Purpose: waits that double, with jitter, so that a device that comes back is not met by all its
//! clients at once.
//!
//! Invariants
//! - B1: every wait lies between half of its step and the whole of it; steps never pass the limit.

/// First step, in nanoseconds: 250 ms.
const FIRST_NS: u64 = 250_000_000;
/// Longest step, in nanoseconds: 30 s.
const MAX_NS: u64 = 30_000_000_000;

/// Waits between tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    step_ns: u64,
    state: u64,
}

impl Backoff {
    /// Starts at the first step; `seed` is the source of the jitter.
    #[must_use]
    pub const fn new(seed: u64) -> Backoff {
        Backoff { step_ns: FIRST_NS, state: seed }
    }

    /// It worked: the next wait is of the first step again.
    pub const fn reset(&mut self) {
        self.step_ns = FIRST_NS;
    }

    /// The next wait, in nanoseconds.
    pub fn next_ns(&mut self) -> u64 {
        let half = self.step_ns / 2;
        self.step_ns = self.step_ns.saturating_mul(2).min(MAX_NS);
        half + self.random() % (half + 1)
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    const fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_jitter_and_start_again() {
        let mut backoff = Backoff::new(7);
        let mut step = FIRST_NS;
        for _ in 0..20 {
            let wait = backoff.next_ns();
            assert!(wait >= step / 2 && wait <= step, "{wait} of {step}");
            step = (step * 2).min(MAX_NS);
        }
        backoff.reset();
        assert!(backoff.next_ns() <= FIRST_NS);
        assert_ne!(Backoff::new(1).next_ns(), Backoff::new(2).next_ns());
    }
}
