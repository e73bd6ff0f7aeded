//! What came to whoever subscribed: values, ticks that are missing among them, intervals.
//!
//! Invariants
//! - Every value says of which variable and which tick it is ([`plant::fleet::OpcuaFleet::value`]), so
//!   a tick that was left out, and one that came again, is seen in the values themselves.
//! - An interval counts from one arrival of a variable's value to the next, whatever happened between.

use super::wire::{Change, Seen};
use crate::hiccup::histogram;
use hdrhistogram::Histogram;

/// Ticks that fit below a variable's number in a value.
const TICK_SPAN: f64 = 4_294_967_296.0;

/// What is known of one variable.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    tick: u32,
    /// When its last value came, ns on the relay's clock; 0: none came.
    at_ns: u64,
}

/// Counts of one measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Messages with values.
    pub(crate) messages: u64,
    /// Values of variables that change.
    pub(crate) values: u64,
    /// Values of others: points that were written.
    pub(crate) others: u64,
    /// Ticks of variables that were left out.
    pub(crate) missing: u64,
    /// Values of ticks that had come before.
    pub(crate) repeated: u64,
    /// Values with the overflow bit: the server's queue lost some before them.
    pub(crate) overflowed: u64,
    /// Values of the largest message.
    pub(crate) message_values_max: u64,
}

/// Everything that came.
#[derive(Debug)]
pub(crate) struct Meter {
    every_ns: u64,
    /// Monitored items that are waited for: variables and points.
    asked: usize,
    lasts: Vec<Last>,
    seen: usize,
    created: usize,
    refused: usize,
    /// From a connection's beginning to the answer with which all items that are asked for were made.
    subscribed_ns: Option<u64>,
    /// A connection whose bytes could not be read.
    is_garbled: bool,
    sums: Sums,
    /// Deviation of each interval from the asked one, ns.
    deviations: Histogram<u64>,
    /// From a value's source time to its arrival, ns.
    delays: Histogram<u64>,
}

impl Meter {
    /// Variables that change so often, and points.
    pub(crate) fn new(variables: usize, points: usize, every_ns: u64) -> Meter {
        Meter {
            every_ns,
            asked: variables + points,
            lasts: vec![Last::default(); variables],
            seen: 0,
            created: 0,
            refused: 0,
            subscribed_ns: None,
            is_garbled: false,
            sums: Sums::default(),
            deviations: histogram(),
            delays: histogram(),
        }
    }

    /// Forgets what was counted; the last tick of each variable stays known.
    pub(crate) fn reset(&mut self) {
        self.sums = Sums::default();
        self.deviations.reset();
        self.delays.reset();
    }

    /// A message arrived: `now_ns` on the relay's clock, `wall_ns` since 1970, `age_ns` since its
    /// connection began.
    pub(crate) fn on(&mut self, seen: &Seen, now_ns: u64, wall_ns: i64, age_ns: u64) {
        match seen {
            Seen::Created { good, bad } => {
                self.created += good;
                self.refused += bad;
                if self.created >= self.asked {
                    self.subscribed_ns.get_or_insert(age_ns);
                }
            }
            Seen::Notified(changes) => {
                self.sums.messages += 1;
                self.sums.message_values_max = self.sums.message_values_max.max(changes.len() as u64);
                for change in changes {
                    self.on_change(change, now_ns.max(1), wall_ns);
                }
            }
        }
    }

    fn on_change(&mut self, change: &Change, now_ns: u64, wall_ns: i64) {
        self.sums.overflowed += u64::from(change.has_overflowed);
        let Some(value) = change.value else {
            self.sums.others += 1;
            return;
        };
        let index = (value / TICK_SPAN) as usize;
        let Some(last) = self.lasts.get_mut(index) else {
            self.sums.others += 1;
            return;
        };
        let tick = (value - index as f64 * TICK_SPAN) as u32;
        self.sums.values += 1;
        let before = std::mem::replace(last, Last { tick, at_ns: now_ns });
        if before.at_ns == 0 {
            self.seen += 1;
            return;
        }
        match tick.checked_sub(before.tick) {
            None | Some(0) => self.sums.repeated += 1,
            Some(steps) => self.sums.missing += u64::from(steps - 1),
        }
        self.deviations.saturating_record(now_ns.saturating_sub(before.at_ns).abs_diff(self.every_ns));
        if let Some(source_ns) = change.source_ns {
            self.delays.saturating_record(u64::try_from(wall_ns - source_ns).unwrap_or(0));
        }
    }

    /// What a connection carried could not be read.
    pub(crate) fn on_garbled(&mut self) {
        self.is_garbled = true;
    }

    /// Whether every variable's value came once.
    pub(crate) fn is_complete(&self) -> bool {
        self.seen == self.lasts.len()
    }

    /// How it stands, for a person who waits.
    pub(crate) fn progress(&self) -> String {
        let garbled = if self.is_garbled { "; a connection could not be read: is it without security?" } else { "" };
        format!(
            "{} of {} items made, {} refused, values of {} variables{garbled}",
            self.created, self.asked, self.refused, self.seen
        )
    }

    /// The last tick that came of a variable.
    pub(crate) fn last_tick(&self, variable: usize) -> u32 {
        self.lasts.get(variable).map_or(0, |last| last.tick)
    }

    /// How long it took until all items were made, ns.
    pub(crate) fn subscribed_ns(&self) -> Option<u64> {
        self.subscribed_ns
    }

    /// Monitored items made so far.
    pub(crate) fn created(&self) -> usize {
        self.created
    }

    /// What came since the last reset.
    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    /// Deviation of each interval from the asked one, and delay from source time to arrival, ns.
    pub(crate) fn times(&self) -> (Histogram<u64>, Histogram<u64>) {
        (self.deviations.clone(), self.delays.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plant::fleet::OpcuaFleet;

    fn change(index: u32, tick: u32) -> Change {
        Change { value: Some(OpcuaFleet::value(index, tick)), has_overflowed: tick == 9, source_ns: Some(100) }
    }

    #[test]
    fn what_is_left_out_and_what_comes_again_is_seen() {
        let mut meter = Meter::new(2, 1, 1_000);
        meter.on(&Seen::Created { good: 2, bad: 1 }, 1, 0, 70);
        assert_eq!(meter.subscribed_ns(), None);
        meter.on(&Seen::Created { good: 1, bad: 0 }, 1, 0, 80);
        meter.on(&Seen::Created { good: 1, bad: 0 }, 1, 0, 90);
        assert_eq!((meter.subscribed_ns(), meter.created()), (Some(80), 4));
        let point = Change { value: None, has_overflowed: false, source_ns: None };
        meter.on(&Seen::Notified(vec![change(0, 1), change(1, 1), point]), 1_000, 150, 0);
        assert!(meter.is_complete());
        meter.reset();
        meter.on(&Seen::Notified(vec![change(0, 2), change(1, 5)]), 2_000, 150, 0);
        meter.on(&Seen::Notified(vec![change(0, 9), change(1, 5), change(7, 1)]), 3_010, 150, 0);
        let sums = meter.sums();
        let wanted = Sums {
            messages: 2,
            values: 4,
            others: 1,
            missing: 3 + 6,
            repeated: 1,
            overflowed: 1,
            message_values_max: 3,
        };
        assert_eq!(sums, wanted);
        let (deviations, delays) = meter.times();
        assert_eq!((deviations.len(), deviations.max(), delays.max()), (4, 10, 50));
        assert_eq!((meter.last_tick(0), meter.last_tick(1)), (9, 5));
    }
}
