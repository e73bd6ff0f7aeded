//! Which part of the log holds which sample times.
//!
//! The log is in order of arrival; queries ask by sample time. One block a second of arrival says
//! which sample times it holds, so that a query reads only the blocks that can matter.

use model::TimestampNs;

/// Arrival time that one block covers.
const BLOCK_NS: i64 = 1_000_000_000;
/// Blocks in memory; above it neighbours melt (32 bytes each: 4 MiB).
const BLOCKS_MAX: usize = 131_072;
/// A source time further ahead of its arrival than this is not used as the sample's time.
const AHEAD_NS: i64 = 60_000_000_000;
/// A source time further behind its arrival than this is not used as the sample's time (31 days).
const BEHIND_NS: i64 = 31 * 86_400_000_000_000;

/// The time that a sample is found under: its source time where there is a sane one, else arrival.
#[must_use]
#[inline]
pub fn sample_time(source: Option<TimestampNs>, received: TimestampNs) -> TimestampNs {
    source.map_or(received, |time| sample_time_ns(time.0, received))
}

/// As [`sample_time`], for a source time as it stands in frames, where `i64::MIN` is none: that is
/// never a sane one.
#[must_use]
#[inline]
pub fn sample_time_ns(source_ns: i64, received: TimestampNs) -> TimestampNs {
    let latest = received.0.saturating_add(AHEAD_NS);
    let earliest = received.0.saturating_sub(BEHIND_NS).max(i64::MIN + 1);
    if source_ns >= earliest && source_ns <= latest { TimestampNs(source_ns) } else { received }
}

/// A stretch of arrival time and the sample times that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First arrival.
    pub received_first: TimestampNs,
    /// Last arrival.
    pub received_last: TimestampNs,
    /// Oldest sample time.
    pub time_min: TimestampNs,
    /// Newest sample time.
    pub time_max: TimestampNs,
}

/// The blocks of one log, in order of arrival.
#[derive(Default, Clone)]
pub struct Timeline {
    blocks: Vec<Block>,
}

impl Timeline {
    /// Samples of these times arrived now.
    pub fn note(&mut self, received: TimestampNs, time_min: TimestampNs, time_max: TimestampNs) {
        if let Some(block) = self.blocks.last_mut()
            && received.0.saturating_sub(block.received_first.0) < BLOCK_NS
            && received >= block.received_first
        {
            block.received_last = block.received_last.max(received);
            block.time_min = block.time_min.min(time_min);
            block.time_max = block.time_max.max(time_max);
            return;
        }
        if self.blocks.len() >= BLOCKS_MAX {
            self.halve();
        }
        self.blocks.push(Block { received_first: received, received_last: received, time_min, time_max });
    }

    /// The blocks that hold sample times in `[from, to)`, in order of arrival.
    #[must_use]
    pub fn touching(&self, from: TimestampNs, to: TimestampNs) -> Vec<Block> {
        self.blocks.iter().filter(|b| b.time_min < to && b.time_max >= from).copied().collect()
    }

    /// The newest sample time of all.
    #[must_use]
    pub fn newest(&self) -> Option<TimestampNs> {
        self.blocks.iter().map(|block| block.time_max).max()
    }

    fn halve(&mut self) {
        self.blocks = self
            .blocks
            .chunks(2)
            .map(|pair| Block {
                received_first: pair.iter().map(|b| b.received_first).min().unwrap_or_default(),
                received_last: pair.iter().map(|b| b.received_last).max().unwrap_or_default(),
                time_min: pair.iter().map(|b| b.time_min).min().unwrap_or_default(),
                time_max: pair.iter().map(|b| b.time_max).max().unwrap_or_default(),
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insane_source_times_fall_back_to_arrival() {
        let received = TimestampNs(1_790_000_000_000_000_000);
        assert_eq!(sample_time(None, received), received);
        assert_eq!(sample_time(Some(TimestampNs(received.0 - 5)), received), TimestampNs(received.0 - 5));
        assert_eq!(sample_time(Some(TimestampNs(0)), received), received);
        assert_eq!(sample_time(Some(TimestampNs(i64::MAX)), received), received);
    }

    #[test]
    fn a_late_sample_is_found_by_its_own_time() {
        let s = 1_000_000_000;
        let mut timeline = Timeline::default();
        timeline.note(TimestampNs(10 * s), TimestampNs(10 * s), TimestampNs(10 * s));
        timeline.note(TimestampNs(20 * s), TimestampNs(3 * s), TimestampNs(20 * s));
        let found = timeline.touching(TimestampNs(2 * s), TimestampNs(4 * s));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].received_first, TimestampNs(20 * s));
        assert_eq!(timeline.touching(TimestampNs(21 * s), TimestampNs(30 * s)), []);
    }

    #[test]
    fn blocks_are_bounded_and_still_find_everything() {
        let s = 1_000_000_000;
        let mut timeline = Timeline::default();
        for i in 0..BLOCKS_MAX as i64 + 10 {
            timeline.note(TimestampNs(i * s), TimestampNs(i * s), TimestampNs(i * s));
        }
        assert!(timeline.blocks.len() <= BLOCKS_MAX);
        assert_eq!(timeline.touching(TimestampNs(77 * s), TimestampNs(77 * s + 1)).len(), 1);
    }
}
