//! When a unit is polled, and when it is left alone.
//!
//! Purpose: due times of one cycle ([`Timing`]), and the demotion of a unit that does not answer
//! ([`Demotion`]).
//!
//! Invariants
//! - S1: due times keep their phase: they are `base + n * every`, whatever happened between.
//! - S2: at most one poll waits: a due time that finds the one before under way begins right after it if
//!   that went well; each further one is skipped and counted, and so is each that passed while nobody
//!   looked.
//! - S3: a demoted unit has at most one request under way: its probe.
//!
//! It does not send, and knows no sockets: see [`crate::poller`].

/// Longest wait from the start to the first poll of a cycle, in nanoseconds: 1 s.
const FIRST_WITHIN_NS: u64 = 1_000_000_000;

/// Due times fall on multiples of a slot of a sixty-fourth of their interval, at most this long, in
/// nanoseconds: 20 ms. So cycles of many sources are spread, and yet one wake-up and one commit of the
/// log serve those of a slot.
const SLOT_NS_MAX: u64 = 20_000_000;
/// Slots of an interval, at least.
const SLOTS: u64 = 64;

/// Due times of one cycle of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    every_ns: u64,
    due_ns: u64,
    early: Option<u64>,
}

/// What a look at the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is due.
    NotYet,
    /// Poll now; `missed` due times passed before this one.
    Begin {
        /// Due times passed without a poll.
        missed: u64,
    },
    /// Due, but the poll before is still under way.
    Skip {
        /// Due times passed without a poll, from 1.
        missed: u64,
    },
}

impl Timing {
    /// A cycle that starts now; `phase_ns` spreads cycles over `every_ns` (from 1).
    #[must_use]
    pub fn new(now_ns: u64, every_ns: u64, phase_ns: u64) -> Timing {
        let every_ns = every_ns.max(1);
        let slot_ns = (every_ns / SLOTS).clamp(1, SLOT_NS_MAX);
        let phase_ns = phase_ns % every_ns;
        let phase_ns = phase_ns.saturating_sub(now_ns.saturating_add(phase_ns) % slot_ns);
        let first = phase_ns.min(phase_ns % FIRST_WITHIN_NS);
        let early = (first < phase_ns).then_some(now_ns.saturating_add(first));
        Timing { every_ns, due_ns: now_ns.saturating_add(phase_ns), early }
    }

    /// Time between two due times, in nanoseconds.
    #[must_use]
    pub const fn every_ns(&self) -> u64 {
        self.every_ns
    }

    /// Asks for a poll out of turn, at `at_ns`; the due times stay.
    pub fn early(&mut self, at_ns: u64) {
        self.early = Some(self.early.map_or(at_ns, |early| early.min(at_ns)));
    }

    /// When there is something to do next.
    #[must_use]
    pub fn next_ns(&self, busy: bool) -> u64 {
        self.early.filter(|_| !busy).map_or(self.due_ns, |early| early.min(self.due_ns))
    }

    /// Looks at the clock; `busy` says that the poll before is still under way.
    pub fn turn(&mut self, now_ns: u64, busy: bool) -> Turn {
        if let Some(late_ns) = now_ns.checked_sub(self.due_ns) {
            let passed = late_ns / self.every_ns;
            self.due_ns = self.due_ns.saturating_add((passed + 1).saturating_mul(self.every_ns));
            if busy {
                return Turn::Skip { missed: passed + 1 };
            }
            self.early = None;
            return Turn::Begin { missed: passed };
        }
        if !busy && self.early.is_some_and(|early| early <= now_ns) {
            self.early = None;
            return Turn::Begin { missed: 0 };
        }
        Turn::NotYet
    }
}

/// Whether a unit is polled or only probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demotion {
    after: u8,
    first_ns: u64,
    max_ns: u64,
    in_row: u8,
    wait_ns: u64,
    probe_at_ns: Option<u64>,
}

impl Demotion {
    /// A unit that is polled; demoted after `after` timeouts in a row (from 1), first for
    /// `first_ns`, doubling up to `max_ns`.
    #[must_use]
    pub fn new(after: u8, first_ns: u64, max_ns: u64) -> Demotion {
        let first_ns = first_ns.max(1);
        Demotion {
            after: after.max(1),
            first_ns,
            max_ns: max_ns.max(first_ns),
            in_row: 0,
            wait_ns: first_ns,
            probe_at_ns: None,
        }
    }

    /// The unit answered. True when it was demoted: poll it again.
    pub fn on_answer(&mut self) -> bool {
        self.in_row = 0;
        self.wait_ns = self.first_ns;
        self.probe_at_ns.take().is_some()
    }

    /// The unit did not answer. True when that demotes it.
    pub fn on_timeout(&mut self, now_ns: u64) -> bool {
        self.in_row = self.in_row.saturating_add(1);
        if self.in_row < self.after {
            return false;
        }
        let already = self.probe_at_ns.is_some();
        if already {
            self.wait_ns = self.wait_ns.saturating_mul(2).min(self.max_ns);
        }
        self.probe_at_ns = Some(now_ns.saturating_add(self.wait_ns));
        !already
    }

    /// A new connection: a demoted unit is probed at once.
    pub fn on_connected(&mut self, now_ns: u64) {
        if let Some(at) = &mut self.probe_at_ns {
            *at = now_ns;
        }
    }

    /// When to probe; `None` while it is polled.
    #[must_use]
    pub const fn probe_at_ns(&self) -> Option<u64> {
        self.probe_at_ns
    }

    /// Whether it is only probed.
    #[must_use]
    pub const fn is_demoted(&self) -> bool {
        self.probe_at_ns.is_some()
    }

    /// Whether its last request was not answered.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.in_row > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_keep_their_phase_and_count_what_they_miss() {
        let mut timing = Timing::new(1_000, 100, 30);
        assert_eq!(timing.turn(1_029, false), Turn::NotYet);
        assert_eq!(timing.turn(1_035, false), Turn::Begin { missed: 0 });
        assert_eq!(timing.next_ns(false), 1_130);
        assert_eq!(timing.turn(1_131, true), Turn::Skip { missed: 1 });
        assert_eq!(timing.turn(1_131, true), Turn::NotYet);
        assert_eq!(timing.turn(1_540, false), Turn::Begin { missed: 3 });
        assert_eq!(timing.next_ns(false), 1_630);
    }

    #[test]
    fn every_due_time_is_begun_or_counted() {
        let mut timing = Timing::new(0, 7, 3);
        let (mut begun, mut missed) = (0, 0);
        for now in (0..7_000).step_by(5) {
            match timing.turn(now, now % 3 == 0) {
                Turn::NotYet => {}
                Turn::Begin { missed: more } => (begun, missed) = (begun + 1, missed + more),
                Turn::Skip { missed: more } => missed += more,
            }
        }
        assert_eq!(begun + missed, (6_995 - 3) / 7 + 1);
    }

    #[test]
    fn an_early_poll_leaves_the_phase_alone() {
        let mut timing = Timing::new(0, 60_000_000_000, 30_500_000_000);
        assert_eq!(timing.next_ns(false), 500_000_000);
        assert_eq!(timing.turn(500_000_000, false), Turn::Begin { missed: 0 });
        timing.early(1_000_000_000);
        assert_eq!((timing.next_ns(true), timing.next_ns(false)), (30_500_000_000, 1_000_000_000));
        assert_eq!(timing.turn(1_000_000_000, true), Turn::NotYet);
        assert_eq!(timing.turn(1_100_000_000, false), Turn::Begin { missed: 0 });
        assert_eq!(timing.next_ns(false), 30_500_000_000);
    }

    #[test]
    fn demotion_doubles_up_to_its_limit_and_ends_with_an_answer() {
        let mut unit = Demotion::new(3, 10, 40);
        assert!(!unit.on_timeout(0) && !unit.on_timeout(1) && unit.on_timeout(2));
        assert_eq!(unit.probe_at_ns(), Some(12));
        for (now, probe_at) in [(12, 32), (32, 72), (72, 112)] {
            assert!(!unit.on_timeout(now));
            assert_eq!(unit.probe_at_ns(), Some(probe_at));
        }
        unit.on_connected(80);
        assert_eq!(unit.probe_at_ns(), Some(80));
        assert!(unit.on_answer() && !unit.on_answer());
        assert!(!unit.is_demoted() && !unit.is_suspect());
        assert!(!unit.on_timeout(90));
    }
}
