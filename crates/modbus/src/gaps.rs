//! Missed polls as gaps: merged while they go on for one reason, said often enough to be kept.
//!
//! Purpose: turn "this poll failed" into few durable gap records.
//!
//! Invariants
//! - G1: the counts of all gaps said add up to the polls missed.
//! - G2: a gap that lasts is said at least every 10 s, so that a crash loses little.
//! - G3: a gap is never empty, whatever the wall clock does.
//!
//! It does not know sources or tags: whoever owns a [`GapRun`] knows whose polls it counts.

use model::{GapReason, TagId, TimestampNs};

/// Time after which missed polls are due to be said, in nanoseconds: 9 s, so that with the look
/// that is taken every [`LOOK_EVERY_NS`] they are said within 10 s.
pub const SAY_EVERY_NS: u64 = 9_000_000_000;
/// How often open runs should be asked whether they have something to say, in nanoseconds: 1 s.
pub const LOOK_EVERY_NS: u64 = 1_000_000_000;
/// Most runs of tags of one gap; more scattered tags are covered by one run from first to last.
const RUNS_MAX: usize = 64;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds that never go back.
    pub mono_ns: u64,
    /// The wall clock.
    pub wall: TimestampNs,
}

/// A gap to be recorded, for whose tags the owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From this time on.
    pub from: TimestampNs,
    /// Until just before this time.
    pub to: TimestampNs,
    /// Why.
    pub reason: GapReason,
    /// Polls missed.
    pub count: u64,
}

/// Missed polls of one thing that is polled, as long as they have one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GapRun(Option<Open>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    reason: GapReason,
    from: TimestampNs,
    unsaid_since_ns: u64,
    count: u64,
}

impl GapRun {
    /// Counts polls that brought nothing since `from`. Another reason ends the run before it.
    #[must_use]
    pub fn miss(&mut self, now: Moment, from: TimestampNs, reason: GapReason, count: u64) -> Option<Span> {
        if let Some(open) = &mut self.0
            && open.reason == reason
        {
            open.count += count;
            return None;
        }
        let ended = self.end(now);
        let from = from.min(now.wall);
        self.0 = Some(Open { reason, from, unsaid_since_ns: now.mono_ns, count });
        ended
    }

    /// A poll brought something: the run is over.
    #[must_use]
    pub fn end(&mut self, now: Moment) -> Option<Span> {
        self.0.take().and_then(|open| open.span(now))
    }

    /// Says what has been unsaid for [`SAY_EVERY_NS`]; the run goes on.
    #[must_use]
    pub fn say(&mut self, now: Moment) -> Option<Span> {
        let open = self.0.as_mut().filter(|open| open.due_ns() <= now.mono_ns)?;
        let span = open.span(now);
        *open = Open { from: now.wall, unsaid_since_ns: now.mono_ns, count: 0, ..*open };
        span
    }

    /// Whether polls are being missed.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.0.is_some()
    }
}

impl Open {
    fn due_ns(&self) -> u64 {
        self.unsaid_since_ns.saturating_add(SAY_EVERY_NS)
    }

    fn span(&self, now: Moment) -> Option<Span> {
        let to = now.wall.max(self.from.plus_ns(1));
        (self.count > 0).then_some(Span { from: self.from, to, reason: self.reason, count: self.count })
    }
}

/// The runs of consecutive ids among `ids`, which are sorted on the way. Where there are too many,
/// one run from the first to the last.
#[must_use]
pub fn tag_runs(ids: &mut Vec<TagId>) -> Vec<(TagId, u32)> {
    ids.sort_unstable();
    ids.dedup();
    let mut runs: Vec<(TagId, u32)> = Vec::new();
    for id in ids.iter() {
        match runs.last_mut() {
            Some((first, count)) if id.0 - first.0 == *count => *count += 1,
            _ => runs.push((*id, 1)),
        }
    }
    match (ids.first(), ids.last()) {
        (Some(first), Some(last)) if runs.len() > RUNS_MAX => vec![(*first, last.0 - first.0 + 1)],
        _ => runs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment { mono_ns: seconds * 1_000_000_000, wall: TimestampNs(seconds as i64 * 1_000_000_000) }
    }

    #[test]
    fn one_reason_is_one_gap_and_another_ends_it() {
        let mut run = GapRun::default();
        assert_eq!(run.miss(at(2), at(1).wall, GapReason::Timeout, 1), None);
        assert_eq!(run.miss(at(3), at(2).wall, GapReason::Timeout, 2), None);
        let timeouts = Span { from: at(1).wall, to: at(4).wall, reason: GapReason::Timeout, count: 3 };
        assert_eq!(run.miss(at(4), at(4).wall, GapReason::NotConnected, 1), Some(timeouts));
        assert_eq!(run.end(at(5)).map(|span| (span.reason, span.count)), Some((GapReason::NotConnected, 1)));
        assert_eq!(run.end(at(6)), None);
    }

    #[test]
    fn a_lasting_gap_is_said_every_ten_seconds_and_adds_up() {
        let mut run = GapRun::default();
        let mut said = 0;
        for second in 0..35 {
            assert_eq!(run.miss(at(second), at(second).wall, GapReason::Timeout, 1), None);
            said += run.say(at(second)).map_or(0, |span| span.count);
        }
        assert_eq!(said, 28);
        assert_eq!(said + run.end(at(35)).map_or(0, |span| span.count), 35);
    }

    #[test]
    fn a_wall_clock_that_goes_back_makes_no_empty_gap() {
        let mut run = GapRun::default();
        let _ = run.miss(at(100), at(99).wall, GapReason::Timeout, 1);
        let span = run.end(Moment { mono_ns: 1, wall: TimestampNs(5) }).expect("one poll was missed");
        assert!(span.to > span.from);
    }

    #[test]
    fn runs_are_of_consecutive_tags() {
        let mut ids = [5, 1, 2, 3, 7, 2].map(TagId).to_vec();
        assert_eq!(tag_runs(&mut ids), [(TagId(1), 3), (TagId(5), 1), (TagId(7), 1)]);
        let mut scattered: Vec<TagId> = (0..200).map(|i| TagId(i * 2)).collect();
        assert_eq!(tag_runs(&mut scattered), [(TagId(0), 399)]);
    }
}
