//! Randomness from a seed.

use env::clock::Random;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA '14): small, fast, and good enough to choose faults.
#[derive(Clone, Debug)]
pub struct SimRandom(u64);

impl SimRandom {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> SimRandom {
        SimRandom(seed)
    }

    /// An independent generator, so that one part's use does not shift another's.
    #[must_use]
    pub fn fork(&mut self) -> SimRandom {
        SimRandom(self.next_u64())
    }

    /// A number below `limit`; 0 where `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next_u64() % limit }
    }

    /// A number from `from` up to but not including `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// True this many times in a million.
    pub fn ppm(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.next_u64() & 1 == 1
    }
}

impl Random for SimRandom {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
