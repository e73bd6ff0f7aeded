//! Samples that somebody wants to see one by one: rules and synchronisation.
//!
//! Invariants
//! - W1: a tag that nobody watches costs one look at a byte that lies beside its neighbours'.
//! - W2: what is taken down is bounded by [`WATCHED_MAX`]. A sample that finds no room is counted,
//!   and its tag is marked: whoever watches then looks at the tag's latest value instead, so a state
//!   that lasts is never missed.

use model::{Quality, TimestampNs, ValueKind};
use std::collections::{BTreeSet, VecDeque};
use std::task::Waker;

/// Samples that wait to be seen.
pub const WATCHED_MAX: usize = 1 << 16;

/// One sample of a watched tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// The tag's number.
    pub tag: u32,
    /// What its bits are.
    pub kind: ValueKind,
    /// The value's 64 bits.
    pub bits: u64,
    /// Its quality.
    pub quality: Quality,
    /// Server time of its arrival.
    pub received: TimestampNs,
}

/// What is watched, and what was seen of it.
#[derive(Default)]
pub struct Watch {
    flags: Vec<bool>,
    seen: VecDeque<Watched>,
    missed: BTreeSet<u32>,
    waker: Option<Waker>,
    /// Samples that found no room.
    pub overflowed: u64,
}

impl Watch {
    /// From now on, samples of this tag are taken down.
    pub fn add(&mut self, tag: u32) {
        let wanted = tag as usize + 1;
        if self.flags.len() < wanted {
            self.flags.resize(wanted, false);
        }
        self.flags[tag as usize] = true;
    }

    /// Whether nobody watches any tag.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.flags.is_empty()
    }

    /// Whether any tag of a run is watched.
    #[must_use]
    #[inline]
    pub fn touches(&self, first: u32, count: usize) -> bool {
        let from = (first as usize).min(self.flags.len());
        let to = (first as usize + count).min(self.flags.len());
        self.flags[from..to].contains(&true)
    }

    /// Whether a tag is watched.
    #[must_use]
    #[inline]
    pub fn is_watched(&self, tag: u32) -> bool {
        self.flags.get(tag as usize).copied().unwrap_or(false)
    }

    /// Takes a sample of a watched tag down.
    pub fn note(&mut self, sample: Watched) {
        if self.seen.len() >= WATCHED_MAX {
            self.overflowed += 1;
            self.missed.insert(sample.tag);
        } else {
            self.seen.push_back(sample);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next sample, in order of arrival.
    pub fn take(&mut self) -> Option<Watched> {
        self.seen.pop_front()
    }

    /// Tags of which samples were missed, once everything before was seen.
    pub fn take_missed(&mut self) -> BTreeSet<u32> {
        if self.seen.is_empty() { std::mem::take(&mut self.missed) } else { BTreeSet::new() }
    }

    /// Whether there is something to see.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.seen.is_empty() || !self.missed.is_empty()
    }

    /// Wakes whoever watches with the next sample.
    pub fn wake_with(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tag: u32, bits: u64) -> Watched {
        let received = TimestampNs(i64::try_from(bits).unwrap_or(0));
        Watched { tag, kind: ValueKind::I64, bits, quality: Quality::GOOD, received }
    }

    #[test]
    fn only_what_is_watched_is_touched() {
        let mut watch = Watch::default();
        watch.add(5);
        assert!(watch.touches(0, 6) && watch.touches(5, 1) && !watch.touches(0, 5) && !watch.touches(6, 100));
        assert!(watch.is_watched(5) && !watch.is_watched(4) && !watch.is_watched(1_000));
    }

    #[test]
    fn what_finds_no_room_is_marked_and_told_after_what_was_seen() {
        let mut watch = Watch::default();
        (0..WATCHED_MAX as u64 + 3).for_each(|i| watch.note(sample(1 + u32::from(i >= WATCHED_MAX as u64), i)));
        assert_eq!(watch.overflowed, 3);
        assert!(watch.take_missed().is_empty());
        for i in 0..WATCHED_MAX as u64 {
            assert_eq!(watch.take().map(|sample| sample.bits), Some(i));
        }
        assert!(watch.is_waiting());
        assert_eq!(watch.take_missed(), BTreeSet::from([2]));
        assert!(!watch.is_waiting());
    }
}
