//! What a request costs at a device, and what each byte of its answer adds.
//!
//! Purpose: decide by measurement how many unused registers are worth reading along to save a request.
//! The time from sending to the answer (with several under way: from answer to answer) is fitted by a
//! line over the answer's bytes, by least squares with forgetting. Its height at no bytes is what a
//! request costs; its slope what a byte costs. A gap is worth it as long as its bytes cost less than a
//! request.
//!
//! Invariants
//! - F1: nothing is said before [`SAMPLES_MIN`] answers, nor while their lengths are too much alike to
//!   tell a slope.
//! - F2: the slope that decides is the upper end of its uncertainty (two standard errors), so what is not
//!   known well makes gaps smaller, never larger.
//! - F3: a gap is from 0 to [`GAP_MAX`].
//!
//! It reads no clock and plans nothing.

use crate::codec::REGISTERS_MAX;

/// Answers before anything is said.
pub const SAMPLES_MIN: f64 = 64.0;
/// Answers after which older ones count half.
const SAMPLES_MAX: f64 = 1024.0;
/// Least spread of the answers' lengths (standard deviation), in bytes.
const SPREAD_BYTES: f64 = 8.0;
/// A single time counts at most so many means: a moment in which the machine did something else.
const CLIP: f64 = 32.0;
/// Most unused registers that are ever read along: what lies between the first and the last of a block.
pub const GAP_MAX: u16 = REGISTERS_MAX - 2;

/// The line through the answers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    count: f64,
    bytes: f64,
    ns: f64,
    bytes_bytes: f64,
    bytes_ns: f64,
    ns_ns: f64,
}

/// What the answers say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Of a request, in nanoseconds.
    pub request_ns: f64,
    /// Of a byte, in nanoseconds: the likeliest value, not below 0.
    pub byte_ns: f64,
    /// Of a byte at most, as far as the answers tell.
    pub byte_ns_most: f64,
}

impl Cost {
    /// An answer of so many bytes of data took so long.
    pub fn add(&mut self, bytes: usize, ns: u64) {
        if self.count >= SAMPLES_MAX {
            for sum in [
                &mut self.count,
                &mut self.bytes,
                &mut self.ns,
                &mut self.bytes_bytes,
                &mut self.bytes_ns,
                &mut self.ns_ns,
            ] {
                *sum /= 2.0;
            }
        }
        let (bytes, mut ns) = (bytes as f64, ns as f64);
        if self.count >= SAMPLES_MIN {
            ns = ns.min(CLIP * self.ns / self.count);
        }
        self.count += 1.0;
        self.bytes += bytes;
        self.ns += ns;
        self.bytes_bytes += bytes * bytes;
        self.bytes_ns += bytes * ns;
        self.ns_ns += ns * ns;
    }

    /// Forgets everything: what was measured holds no more.
    pub fn forget(&mut self) {
        *self = Cost::default();
    }

    /// What the answers say; `None` while they say nothing (F1).
    #[must_use]
    pub fn costs(&self) -> Option<Costs> {
        let count = self.count;
        let spread = self.bytes_bytes - self.bytes * self.bytes / count.max(1.0);
        if count < SAMPLES_MIN || spread < count * SPREAD_BYTES * SPREAD_BYTES {
            return None;
        }
        let together = self.bytes_ns - self.bytes * self.ns / count;
        let alone = self.ns_ns - self.ns * self.ns / count;
        let slope = together / spread;
        let left = (alone - slope * together).max(0.0) / (count - 2.0);
        let byte_ns = slope.max(0.0);
        let request_ns = ((self.ns - byte_ns * self.bytes) / count).max(0.0);
        Some(Costs { request_ns, byte_ns, byte_ns_most: byte_ns + 2.0 * (left / spread).sqrt() })
    }

    /// Most unused registers that are worth reading along to save a request.
    #[must_use]
    pub fn gap(&self) -> Option<u16> {
        let Costs { request_ns, byte_ns_most, .. } = self.costs()?;
        // A conversion of a number that is too large, or none, is held at the type's ends.
        Some(((request_ns / byte_ns_most / 2.0) as u16).min(GAP_MAX))
    }
}

/// Whether another gap than the one in use is worth planning anew: half as many again, or less by as much.
#[must_use]
pub fn is_other(now: u16, wanted: u16) -> bool {
    let (now, wanted) = (u32::from(now) + 1, u32::from(wanted) + 1);
    wanted * 2 >= now * 3 || now * 2 >= wanted * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of a device with these costs; each is up to `noise` per mille longer.
    fn measured(request_ns: u64, register_ns: u64, noise: u64, registers: &[u16], answers: usize) -> Cost {
        let mut cost = Cost::default();
        let mut state = 7_u64;
        for registers in registers.iter().cycle().take(answers) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let ns = request_ns + register_ns * u64::from(*registers);
            cost.add(usize::from(*registers) * 2, ns + ns * ((state >> 33) % (noise + 1)) / 1_000);
        }
        cost
    }

    #[test]
    fn a_slow_line_is_worth_few_registers_and_a_far_device_many() {
        // 9,600 baud: 8 bytes of request, 5 of answer, silences, the device's own time; 2.3 ms a register
        let serial = measured(25_000_000, 2_300_000, 20, &[1, 4, 10, 30, 60], 400);
        let gap = serial.gap().expect("its lengths differ");
        assert!((8..=11).contains(&gap), "{gap}");
        // 5 ms away, 1 Gbit/s: the bytes cost nothing that could be seen
        let far = measured(5_000_000, 16, 5, &[2, 50, 125], 2_000);
        assert_eq!(far.gap(), Some(GAP_MAX));
        let costs = far.costs().expect("its lengths differ");
        assert!((4_900_000.0..5_100_000.0).contains(&costs.request_ns), "{costs:?}");
    }

    #[test]
    fn what_is_not_known_well_makes_gaps_smaller() {
        // the same device, with times up to three times as long by chance
        let clear = measured(1_000_000, 20_000, 0, &[1, 20, 100], 300).gap().expect("known");
        let noisy = measured(1_000_000, 20_000, 3_000, &[1, 20, 100], 300).gap().expect("known");
        let longer = measured(1_000_000, 20_000, 3_000, &[1, 20, 100], 1_000).gap().expect("known");
        assert!((49..=50).contains(&clear), "{clear}");
        assert!(noisy < longer && longer <= clear + 5, "{noisy} {longer} {clear}");
    }

    #[test]
    fn few_answers_and_equal_lengths_say_nothing() {
        assert_eq!(measured(1_000_000, 1_000, 0, &[1, 100], 60).costs(), None);
        assert_eq!(measured(1_000_000, 1_000, 10, &[10], 5_000).costs(), None);
        assert_eq!(measured(1_000_000, 1_000, 10, &[10, 12], 5_000).gap(), None);
        let mut cost = measured(1_000_000, 1_000, 0, &[1, 100], 100);
        cost.forget();
        assert_eq!(cost, Cost::default());
    }

    #[test]
    fn a_device_that_changed_is_followed_and_a_hiccup_is_not() {
        let mut cost = measured(50_000_000, 1_000_000, 10, &[1, 20, 100], 1_000);
        let slow = cost.gap().expect("known");
        assert!((45..=55).contains(&slow), "{slow}");
        cost.add(2, 3_600_000_000_000);
        let costs = cost.costs().expect("known");
        assert!(costs.request_ns < 60_000_000.0, "{costs:?}");
        for registers in [1_u16, 20, 100].iter().cycle().take(12_000) {
            cost.add(usize::from(*registers) * 2, 5_000_000 + 1_000_000 * u64::from(*registers));
        }
        let fast = cost.gap().expect("known");
        assert!((4..=6).contains(&fast), "{fast}");
    }

    #[test]
    fn small_changes_are_not_worth_a_new_plan() {
        assert!(!is_other(16, 16) && !is_other(16, 20) && !is_other(16, 12));
        assert!(is_other(16, 25) && is_other(16, 10) && is_other(0, 1) && is_other(1, 0));
    }
}
