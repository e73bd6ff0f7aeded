//! Samples in the order of time, out of a log that is in the order of arrival.
//!
//! Invariant Q2 here: at most [`SORTED_MAX`] samples wait for those that are before them in time.
//! Where more would, the later half is let go and read again afterwards, so that any disorder costs
//! time and never memory.

use super::{FoundSample, Plan};
use crate::rollup::number;
use crate::rollup::stretch::Point;
use env::disk::Storage;
use log::ReadError;
use model::{Gap, TimestampNs};

/// Samples that wait for those before them (40 bytes each: 40 MiB).
const SORTED_MAX: usize = 1 << 20;

/// Time, then place in the log.
type Key = (TimestampNs, u64);

/// What an aggregate takes from a sample.
pub(super) fn point(found: &FoundSample) -> Point {
    let usable = !found.quality.is_bad();
    Point { time: found.place.time, number: found.value.as_ref().map_or(f64::NAN, number), usable }
}

/// Hands over the samples of a plan's range, oldest first; of one time in the order of arrival.
pub(super) fn in_order(
    plan: &Plan,
    storage: &dyn Storage,
    gaps: &mut Vec<Gap>,
    on: &mut dyn FnMut(Point),
) -> Result<(), ReadError> {
    let later_from: Vec<TimestampNs> = plan.groups.iter().map(|group| group.later_from).collect();
    let mut read = |at: usize, sorter: &mut Sorter| {
        plan.read(storage, &plan.groups[at].spans, gaps, &mut |found| {
            sorter.take((found.place.time, found.place.code()), point(&found));
        })
    };
    sorted(SORTED_MAX, &later_from, &mut read, on)
}

/// Reads groups, each of which has a time that nothing after it precedes, and hands over in order
/// what they hold, with room for so many samples.
fn sorted<E>(
    room: usize,
    later_from: &[TimestampNs],
    read: &mut dyn FnMut(usize, &mut Sorter) -> Result<(), E>,
    on: &mut dyn FnMut(Point),
) -> Result<(), E> {
    let mut from = Some((TimestampNs(i64::MIN), 0));
    while let Some(begin) = from {
        let mut sorter = Sorter { from: begin, until: None, room, waiting: Vec::new(), oldest: TimestampNs(i64::MAX) };
        for (at, later_from) in later_from.iter().enumerate() {
            read(at, &mut sorter)?;
            sorter.release(*later_from, on);
            if sorter.until.is_some_and(|until| until.0 < *later_from) {
                break;
            }
        }
        sorter.release(TimestampNs(i64::MAX), on);
        from = sorter.until;
    }
    Ok(())
}

struct Sorter {
    /// What is before was handed over by a pass before this one.
    from: Key,
    /// From here on it is left to the next pass.
    until: Option<Key>,
    room: usize,
    waiting: Vec<(Key, Point)>,
    oldest: TimestampNs,
}

impl Sorter {
    fn take(&mut self, key: Key, point: Point) {
        if key < self.from || self.until.is_some_and(|until| key >= until) {
            return;
        }
        self.oldest = self.oldest.min(key.0);
        self.waiting.push((key, point));
        if self.waiting.len() > self.room {
            let keep = self.room.div_ceil(2);
            let (_, (first_out, _), _) = self.waiting.select_nth_unstable_by_key(keep, |(key, _)| *key);
            self.until = Some(*first_out);
            self.waiting.truncate(keep);
        }
    }

    /// Hands over what no sample that is still to come can precede.
    fn release(&mut self, below: TimestampNs, on: &mut dyn FnMut(Point)) {
        if self.oldest >= below {
            return;
        }
        self.waiting.sort_by_key(|(key, _)| *key);
        let count = self.waiting.partition_point(|(key, _)| key.0 < below);
        self.waiting.drain(..count).for_each(|(_, point)| on(point));
        self.oldest = self.waiting.first().map_or(TimestampNs(i64::MAX), |(key, _)| key.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    proptest! {
        /// Whatever the disorder and however little room there is: all of it, once, in order.
        #[test]
        fn any_disorder_is_put_in_order(
            groups in prop::collection::vec(prop::collection::vec(0..40_i64, 0..12), 0..12), room in 1..60_usize
        ) {
            let earliest = |rest: &[Vec<i64>]| rest.iter().flatten().min().copied().unwrap_or(i64::MAX);
            let later_from: Vec<_> = (0..groups.len()).map(|at| TimestampNs(earliest(&groups[at + 1..]))).collect();
            let mut place = 0;
            let mut stored: Vec<Vec<(Key, Point)>> = Vec::new();
            for group in &groups {
                let keyed = group.iter().map(|time| {
                    place += 1;
                    let time = TimestampNs(*time);
                    ((time, place), Point { time, number: place as f64, usable: true })
                });
                stored.push(keyed.collect());
            }
            let (mut most, mut given) = (0, Vec::new());
            let mut read = |at: usize, sorter: &mut Sorter| -> Result<(), Infallible> {
                for (key, point) in &stored[at] {
                    sorter.take(*key, *point);
                    most = most.max(sorter.waiting.len());
                }
                Ok(())
            };
            let outcome = sorted(room, &later_from, &mut read, &mut |point| given.push(point));
            prop_assert!(outcome.is_ok() && most <= room);
            let mut wanted: Vec<(Key, Point)> = stored.into_iter().flatten().collect();
            wanted.sort_by_key(|(key, _)| *key);
            prop_assert_eq!(given, wanted.into_iter().map(|(_, point)| point).collect::<Vec<_>>());
        }
    }
}
