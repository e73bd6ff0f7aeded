//! Gaps: those that still wait for the log, and those that queries show.

use model::{Gap, SourceId, TagId, TimestampNs};
use std::collections::VecDeque;

/// Gaps that may wait while the log takes nothing; beyond it gaps of one source melt into one.
pub const WAITING_MAX: usize = 4_096;
/// Gaps of one shard that queries see; the oldest go first, the log keeps them.
pub const SHOWN_MAX: usize = 65_536;

/// Gaps on their way into the log. Nothing that was said here is lost: it is merged.
#[derive(Default)]
pub struct WaitingGaps {
    waiting: Vec<Gap>,
}

impl WaitingGaps {
    /// Takes a gap in, merged with one of the same kind that it touches.
    pub fn push(&mut self, gap: Gap) {
        let full = self.waiting.len() >= WAITING_MAX;
        let same = |known: &&mut Gap| known.source == gap.source && known.reason == gap.reason;
        let touches = |known: &Gap| known.tags == gap.tags && gap.from <= known.to && gap.to >= known.from;
        match self.waiting.iter_mut().rev().filter(same).find(|known| full || touches(known)) {
            Some(known) => melt(known, &gap),
            None => self.waiting.push(gap),
        }
    }

    /// What waits.
    #[must_use]
    pub fn waiting(&self) -> &[Gap] {
        &self.waiting
    }

    /// The log holds the first `count` of them.
    pub fn written(&mut self, count: usize) {
        self.waiting.drain(..count);
    }
}

/// A rotten stretch of the log as a gap of a source. Where its times are not known any more it
/// reaches as far as it may.
#[must_use]
pub fn rot(source: SourceId, fence: &log::Fence) -> Gap {
    let from = fence.received_from.or(fence.received_to).unwrap_or_default();
    let to = fence.received_to.unwrap_or(from).max(from);
    Gap { source, tags: None, from, to, reason: model::GapReason::Rot, count: None }
}

fn melt(known: &mut Gap, gap: &Gap) {
    if known.tags != gap.tags {
        known.tags = None;
    }
    known.from = known.from.min(gap.from);
    known.to = known.to.max(gap.to);
    known.count = known.count.zip(gap.count).map(|(a, b)| a.saturating_add(b));
}

/// The gaps that queries show.
#[derive(Default)]
pub struct ShownGaps {
    gaps: VecDeque<Gap>,
}

impl ShownGaps {
    /// Takes in a gap that the log holds.
    pub fn push(&mut self, gap: Gap) {
        if self.gaps.len() >= SHOWN_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// The gaps of a tag or its source that touch `[from, to)`, in log order, at most `limit`.
    #[must_use]
    pub fn touching(&self, source: SourceId, tag: TagId, from: TimestampNs, to: TimestampNs, limit: usize) -> Vec<Gap> {
        let ours = |gap: &&Gap| gap.source == source && gap.touches(tag, from, to);
        self.gaps.iter().filter(ours).take(limit).copied().collect()
    }

    /// Whether just this gap is there.
    #[must_use]
    pub fn contains(&self, gap: &Gap) -> bool {
        self.gaps.contains(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::GapReason;

    fn gap(from: i64, to: i64, count: u64) -> Gap {
        Gap::of_source(SourceId(1), TimestampNs(from), TimestampNs(to), GapReason::Timeout, count)
    }

    #[test]
    fn touching_gaps_of_a_kind_melt_and_no_count_is_lost() {
        let mut waiting = WaitingGaps::default();
        waiting.push(gap(0, 10, 1));
        waiting.push(gap(10, 20, 2));
        waiting.push(gap(100, 110, 4));
        assert_eq!(waiting.waiting(), [gap(0, 20, 3), gap(100, 110, 4)]);
        waiting.written(1);
        assert_eq!(waiting.waiting(), [gap(100, 110, 4)]);
    }

    #[test]
    fn when_too_many_wait_counts_still_add_up() {
        let mut waiting = WaitingGaps::default();
        for i in 0..2 * WAITING_MAX as i64 {
            waiting.push(gap(i * 100, i * 100 + 10, 1));
        }
        assert_eq!(waiting.waiting().len(), WAITING_MAX);
        let total: u64 = waiting.waiting().iter().filter_map(|gap| gap.count).sum();
        assert_eq!(total, 2 * WAITING_MAX as u64);
    }
}
