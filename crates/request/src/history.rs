//! When a tag was written, as far back as its rate looks.
//!
//! Invariants
//! - W1: of the writes that it let pass, any span of the rate's length (begin included, end not)
//!   holds at most the rate's number.
//! - W2: a clock that is set back forgets nothing and locks nothing: the times move with it, as if no
//!   time had passed meanwhile.
//! - W3: it holds at most [`RATE_WRITES_MAX`] times.

use crate::envelope::Rate;
use model::TimestampNs;
use std::collections::VecDeque;

/// Most writes of one rate.
pub const RATE_WRITES_MAX: u32 = 1_000;

/// Times of past writes to one tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteHistory {
    /// Ascending.
    times: VecDeque<TimestampNs>,
    /// The latest time heard of.
    seen: Option<TimestampNs>,
}

impl WriteHistory {
    /// Notes a write, also one of before a restart, as the journal has it; in the order of writing.
    pub fn note(&mut self, at: TimestampNs) {
        self.look(at);
        if self.times.len() >= RATE_WRITES_MAX as usize {
            self.times.pop_front();
        }
        self.times.push_back(at);
    }

    /// Whether one more write may be made, or how long to wait for it, ns.
    pub(crate) fn room(&mut self, rate: &Rate, now: TimestampNs) -> Result<(), u64> {
        self.look(now);
        let age = |at: TimestampNs| now.0.saturating_sub(at.0).max(0).unsigned_abs();
        self.times.retain(|at| age(*at) < rate.per_ns);
        let writes = rate.writes.min(RATE_WRITES_MAX) as usize;
        let Some(over) = (self.times.len() + 1).checked_sub(writes).filter(|over| *over > 0) else { return Ok(()) };
        // as many as there are too many must have passed; with a rate of none, none ever may
        Err(rate.per_ns - self.times.get(over - 1).map_or(0, |first| age(*first)))
    }

    /// Moves the times with a clock that was set back (W2).
    fn look(&mut self, now: TimestampNs) {
        if let Some(back) = self.seen.map(|seen| seen.0.saturating_sub(now.0)).filter(|back| *back > 0) {
            self.times.iter_mut().for_each(|at| *at = at.plus_ns(-back));
        }
        self.seen = Some(now);
    }
}
