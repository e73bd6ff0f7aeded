//! What the tags of a load read: numbers of two digits behind the point that wander slowly, as an
//! instrument's do. Every value follows from the tag and the round, so that every server that is
//! measured gets the same, whatever its protocol.

/// Rounds of a value's way up and down again.
const PERIOD: u64 = 4_096;

/// A tag's value in hundredths; always four digits.
pub(crate) fn hundredths(tag: usize, round: u64) -> u32 {
    let tag = tag as u64;
    let at = (round + tag * 37) % PERIOD;
    let wave = at.min(PERIOD - at) / 4;
    // The last digit trembles: a bit of a multiplicative hash (Knuth, The Art of Computer Programming 3, 6.4).
    let tremble = (tag << 32 ^ round).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 62;
    (2_000 + tag % 997 + wave + tremble) as u32
}

/// The same as a number.
pub(crate) fn value(tag: usize, round: u64) -> f64 {
    f64::from(hundredths(tag, round)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_four_digits_and_differ_from_round_to_round() {
        for tag in [0, 1, 996, 9_999] {
            let values: Vec<u32> = (0..10_000).map(|round| hundredths(tag, round)).collect();
            assert!(values.iter().all(|value| (1_000..10_000).contains(value)));
            assert!(values.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 4));
            assert!(values.windows(2).filter(|pair| pair[0] != pair[1]).count() > 5_000);
        }
        assert_eq!(value(0, 0), f64::from(hundredths(0, 0)) / 100.0);
    }
}
