//! A small seeded random number generator (PCG32, XSH-RR output, 64-bit state).
//!
//! Invariant: the sequence depends on the seed and the stream alone, on every platform.
//! Not for anything that an adversary should not guess.

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const U32_SPAN: f64 = 4_294_967_296.0;

/// A deterministic source of randomness; two streams of one seed are independent.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
    increment: u64,
}

impl Rng {
    /// Makes the generator of one stream of a seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self { state: 0, increment: (stream << 1) | 1 };
        rng.next_u32();
        rng.state = rng.state.wrapping_add(seed);
        rng.next_u32();
        rng
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
        let mixed = (((old >> 18) ^ old) >> 27) as u32;
        let rotation = (old >> 59) as u32;
        mixed.rotate_right(rotation)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.next_u32()) / U32_SPAN
    }

    /// A number in `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Bell-shaped noise around zero with about the given standard deviation, bounded at
    /// three and a half deviations (the sum of four uniform numbers).
    pub fn noise(&mut self, deviation: f64) -> f64 {
        let sum = self.unit() + self.unit() + self.unit() + self.unit() - 2.0;
        sum * deviation * 3.0_f64.sqrt()
    }

    /// Whether something that happens on average once per `mean_s` seconds happens in the
    /// next `dt_s` seconds.
    pub fn happens(&mut self, mean_s: f64, dt_s: f64) -> bool {
        self.unit() < dt_s / mean_s
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn same_seed_same_sequence_other_stream_another() {
        let take = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            (0..8).map(|_| rng.next_u32()).collect::<Vec<_>>()
        };
        assert_eq!(take(42, 1), take(42, 1));
        assert_ne!(take(42, 1), take(42, 2));
        assert_ne!(take(42, 1), take(43, 1));
    }

    #[test]
    fn noise_is_centred_and_has_its_deviation() {
        let mut rng = Rng::new(7, 0);
        let count = 20_000;
        let values: Vec<f64> = (0..count).map(|_| rng.noise(2.0)).collect();
        let mean = values.iter().sum::<f64>() / f64::from(count);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(count);
        assert!(mean.abs() < 0.1, "mean {mean}");
        assert!((variance.sqrt() - 2.0).abs() < 0.1, "deviation {}", variance.sqrt());
    }
}
