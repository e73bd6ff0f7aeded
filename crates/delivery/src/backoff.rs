//! How long to wait before the next attempt.

use crate::random::SplitMix64;

/// A receiver that asks for more patience than this gets no more: one hour.
pub const RETRY_AFTER_MAX_NS: u64 = 3_600_000_000_000;

/// The wait after the `failures`-th failure in a row (from 1), ns: full jitter, uniform from nothing
/// to the exponential cap (Brooker, Exponential Backoff And Jitter, 2015), and never less than what
/// the receiver asked for.
#[must_use]
pub fn backoff_ns(
    failures: u32,
    first_ns: u64,
    max_ns: u64,
    retry_after_ns: Option<u64>,
    random: &mut SplitMix64,
) -> u64 {
    let doublings = failures.saturating_sub(1).min(63);
    let cap =
        first_ns.checked_shl(doublings).filter(|cap| cap >> doublings == first_ns).unwrap_or(u64::MAX).min(max_ns);
    let asked = retry_after_ns.unwrap_or(0).min(RETRY_AFTER_MAX_NS);
    let wait = random.up_to(cap);
    // those that were all asked to come back at the same moment are spread over one more step
    if asked > 0 { wait.max(asked.saturating_add(random.up_to(first_ns))) } else { wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_doubles_to_its_limit_and_jitter_fills_it() {
        let mut random = SplitMix64::new(1);
        for (failures, cap) in [(1, 500), (2, 1_000), (3, 2_000), (8, 60_000), (200, 60_000)] {
            let waits: Vec<u64> = (0..2_000).map(|_| backoff_ns(failures, 500, 60_000, None, &mut random)).collect();
            assert!(waits.iter().all(|wait| *wait <= cap), "{failures}");
            let mean = waits.iter().sum::<u64>() as f64 / 2_000.0;
            assert!((mean / cap as f64 - 0.5).abs() < 0.05, "full jitter: half the cap on average, not {mean}");
        }
    }

    #[test]
    fn what_the_receiver_asks_for_is_a_floor_with_a_limit() {
        let mut random = SplitMix64::new(1);
        for _ in 0..1_000 {
            assert!(backoff_ns(1, 500, 60_000, Some(7_000), &mut random) >= 7_000);
            assert!(backoff_ns(1, 500, 60_000, Some(u64::MAX), &mut random) <= RETRY_AFTER_MAX_NS + 500);
        }
    }
}
