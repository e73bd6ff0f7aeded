//! Rollups, kept up to date as samples are stored: one-second windows of every tag, and the windows
//! that `[[rollup]]` sections name ([`named`]). A [`stretch`] is what both queries and named windows
//! are made of.
//!
//! Invariants
//! - R1: a window in memory equals what the same stored samples give when they are added again in
//!   the same order (queries beyond memory do just that, from the log).
//! - R2: memory is bounded by [`WINDOWS_MAX`] windows a shard, shared evenly by its tags; how far
//!   back the memory of a tag is complete is always known ([`Rollups::complete_from`]).
//!
//! Windows are half-open, aligned to 1970 UTC, by the sample's time. Bad values count nowhere
//! (OPC 10000-13, 4.2.1.2: TreatUncertainAsBad is false here), text only in `count`.

pub mod named;
mod open;
mod past;
pub mod stretch;

pub use named::{Named, NamedWindow, RollupSpec};
pub use stretch::{Aggregate, Aggregates, Point};

use crate::pages::Pages;
use model::{TimestampNs, Value};
use open::{Added, Closed, LANES, Open};
use past::Past;

/// Width of the windows that are always kept.
pub const WIDTH_NS: i64 = 1_000_000_000;
/// Windows that one shard keeps in memory, all tags together (33 bytes each: 33 MiB; 56 where tags
/// are not scanned together: 56 MiB).
pub const WINDOWS_MAX: usize = 1 << 20;
/// Fewest windows that a tag keeps, however many tags there are: the open one and the one before,
/// which is what a rollup of the last whole second needs.
const WINDOWS_MIN: usize = 2;

/// Count, min, max, sum and last of the values in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Start of the window.
    pub start: TimestampNs,
    /// Values that are not bad.
    pub count: u64,
    /// Smallest; +∞ where there is no number.
    pub min: f64,
    /// Largest; −∞ where there is no number.
    pub max: f64,
    /// Sum of the numbers.
    pub sum: f64,
    /// The newest number by sample time; the later arrived of two with the same time.
    pub last: f64,
    /// Its time.
    pub last_time: TimestampNs,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub const fn new(start: TimestampNs) -> Window {
        Window {
            start,
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            last: f64::NAN,
            last_time: TimestampNs(i64::MIN),
        }
    }

    /// Takes in one value.
    #[inline]
    pub fn add(&mut self, time: TimestampNs, value: f64) {
        self.count += 1;
        // a value that is no number is never smaller nor larger; `f64::min` would ask it twice
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
        self.sum += value;
        if time >= self.last_time {
            self.last = value;
            self.last_time = time;
        }
    }

    /// Takes in another window of a later or the same start.
    pub fn merge(&mut self, other: &Window) {
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        if other.last_time >= self.last_time {
            self.last = other.last;
            self.last_time = other.last_time;
        }
    }

    /// Arithmetic mean; `None` without a value.
    #[must_use]
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// The number that a rollup takes from a value: text counts, but has no number.
#[must_use]
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// The windows of all tags of a shard, by tag number. The newest window of each tag lies apart: it
/// is what nearly every sample meets.
#[derive(Default)]
pub struct Rollups {
    open: Open,
    /// By block of tags, as the open ones; pages of 4096 tags.
    past: Pages<Past, 256>,
    /// Bytes that the past ones hold beside themselves.
    past_bytes: isize,
    /// The windows of the rollups that have a name.
    pub named: Named,
}

impl Rollups {
    /// The rollups that have a name, from now on. Before recovery, or the log answers for all that
    /// was stored before.
    pub fn configure(&mut self, specs: Vec<RollupSpec>) {
        self.named.configure(specs);
    }

    /// Takes in one value that is not bad.
    #[inline]
    pub fn add(&mut self, tag: u32, time: TimestampNs, value: f64) {
        self.add_in(tag, time.window_start(WIDTH_NS), time, value);
    }

    /// As [`add`](Self::add), for whoever knows where the value's window begins.
    #[inline(always)]
    pub(crate) fn add_in(&mut self, tag: u32, start: TimestampNs, time: TimestampNs, value: f64) {
        if !self.open.add_here(tag as usize, start, time, value) {
            self.add_slowly(tag as usize, start, time, value);
        }
    }

    /// Takes in values of consecutive tags at one time, none of them bad: `value(i)` is that of the
    /// tag `first + i`.
    #[inline]
    pub fn add_run(&mut self, first: u32, count: usize, time: TimestampNs, value: impl Fn(usize) -> f64) {
        let (start, first) = (time.window_start(WIDTH_NS), first as usize);
        self.make_room(first + count);
        let tags = self.open.tags();
        let mut at = 0;
        while at < count {
            let Rollups { open, past, past_bytes, .. } = self;
            let close = |block: usize, closed: Closed<'_>| {
                let keep = windows_kept(tags);
                let Some(past) = past.get_mut(block) else { return };
                *past_bytes += match closed {
                    Closed::Lane(lane, window) => past.push(lane, window, keep),
                    Closed::Block(tally, numbers) => past.push_row(tally, numbers, keep),
                };
            };
            at += open.add_blocks(first + at, count - at, (start, time), |i| value(at + i), close);
            // a part of a block, or one whose tags do not agree
            let some = Open::rest_of_block(first + at).min(count - at);
            (at..at + some).for_each(|i| self.add_in((first + i) as u32, start, time, value(i)));
            at += some;
        }
    }

    fn make_room(&mut self, tags: usize) {
        if self.open.tags() < tags {
            self.open.make_room(tags);
            self.past.grow(tags.div_ceil(LANES), Past::default);
        }
    }

    /// A value that does not simply belong into its tag's open window.
    #[inline(never)]
    fn add_slowly(&mut self, tag: usize, start: TimestampNs, time: TimestampNs, value: f64) {
        self.make_room(tag + 1);
        let added = self.open.add(tag, start, time, value);
        if matches!(added, Added::Here | Added::Opened(None)) {
            return;
        }
        let (keep, lane) = (windows_kept(self.open.tags()), tag % LANES);
        let Some(past) = self.past.get_mut(tag / LANES) else { return };
        self.past_bytes += match added {
            Added::Opened(Some(before)) => past.push(lane, before, keep),
            Added::Older => past.add(lane, start, time, value, keep),
            Added::Here | Added::Opened(None) => 0,
        };
    }

    /// From when on the windows of a tag in memory are all there are. `None`: from the beginning.
    #[must_use]
    pub fn complete_from(&self, tag: u32) -> Option<TimestampNs> {
        self.past(tag).and_then(|past| past.complete_from(tag as usize % LANES))
    }

    fn past(&self, tag: u32) -> Option<&Past> {
        self.past.get(tag as usize / LANES)
    }

    /// Bytes of memory that the one-second windows take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.open.bytes() + self.past.bytes() + usize::try_from(self.past_bytes).unwrap_or(0)
    }

    /// What the one-second windows know of the newest number before a time, itself not one of them.
    #[must_use]
    pub fn number_before(&self, tag: u32, from: TimestampNs) -> NumberBefore {
        let open = self.open.window(tag as usize).filter(|open| open.start < from);
        match open.or_else(|| self.past(tag)?.newest_before(tag as usize % LANES, from)) {
            Some(window) if window.last_time < from && !window.last.is_nan() => {
                NumberBefore::Is(window.last_time, window.last)
            }
            None if self.complete_from(tag).is_none() => NumberBefore::None,
            _ => NumberBefore::Unknown,
        }
    }

    /// The windows of a tag that start in `[from, to)`, oldest first.
    pub fn windows(&self, tag: u32, from: TimestampNs, to: TimestampNs) -> impl Iterator<Item = Window> {
        let open = self.open.window(tag as usize).filter(|open| open.start >= from);
        let past = self.past(tag).into_iter().flat_map(move |past| past.since(tag as usize % LANES, from));
        past.chain(open).take_while(move |window| window.start < to)
    }
}

/// Windows that each of so many tags keeps, the open one included.
fn windows_kept(tags: usize) -> usize {
    (WINDOWS_MAX / tags.max(1)).max(WINDOWS_MIN)
}

/// The newest number before a time, as far as memory knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NumberBefore {
    /// There is none: no sample before that time was usable.
    None,
    /// Its time, and the number. No usable sample lies between it and the time.
    Is(TimestampNs, f64),
    /// Memory does not reach back, or the newest sample has no number.
    Unknown,
}

/// Makes rows of `every_ns` out of windows or samples of at most that width.
pub struct Regroup {
    every_ns: i64,
    rows: Vec<Window>,
}

impl Regroup {
    /// Rows of this width, a multiple of [`WIDTH_NS`].
    #[must_use]
    pub const fn new(every_ns: i64) -> Regroup {
        Regroup { every_ns, rows: Vec::new() }
    }

    /// The row that a time belongs to. Rows are kept in order.
    pub fn row(&mut self, time: TimestampNs) -> &mut Window {
        let start = time.window_start(self.every_ns);
        let at = match self.rows.last() {
            Some(last) if last.start == start => self.rows.len() - 1,
            _ => {
                let at = self.rows.partition_point(|row| row.start < start);
                if self.rows.get(at).is_none_or(|row| row.start != start) {
                    self.rows.insert(at, Window::new(start));
                }
                at
            }
        };
        &mut self.rows[at]
    }

    /// The rows, oldest first.
    #[must_use]
    pub fn finish(self) -> Vec<Window> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = WIDTH_NS;

    #[test]
    fn values_fall_into_half_open_windows() {
        let mut rollups = Rollups::default();
        for (time, value) in [(0, 1.0), (S - 1, 3.0), (S, 10.0), (S / 2, 2.0)] {
            rollups.add(0, TimestampNs(time), value);
        }
        let windows: Vec<_> = rollups.windows(0, TimestampNs(0), TimestampNs(2 * S)).collect();
        assert_eq!(windows.len(), 2);
        assert_eq!((windows[0].count, windows[0].min, windows[0].max, windows[0].last), (3, 1.0, 3.0, 3.0));
        assert_eq!(windows[0].average(), Some(2.0));
        assert_eq!(windows[1].count, 1);
    }

    proptest! {
        /// A run is what its values are one by one, whichever window each of its tags has open.
        #[test]
        fn a_run_equals_its_values(
            runs in prop::collection::vec((0_u32..40, 0..6, 0..4 * S, prop::collection::vec(-9.0..9.0_f64, 0..80)), 1..60)
        ) {
            let (mut whole, mut single) = (Rollups::default(), Rollups::default());
            for (n, (first, aligned, time, values)) in runs.iter().enumerate() {
                // mostly whole blocks in the order of time, as scans are; and everything else
                let (first, time) = if *aligned > 0 { (first / 16 * 16, time / 9 + n as i64 * S / 7) } else { (*first, *time) };
                whole.add_run(first, values.len(), TimestampNs(time), |i| values[i]);
                for (tag, value) in (first..).zip(values) {
                    single.add(tag, TimestampNs(time), *value);
                }
            }
            for tag in 0..120 {
                let all = |rollups: &Rollups| -> Vec<Window> {
                    rollups.windows(tag, TimestampNs(0), TimestampNs(99 * S)).collect()
                };
                // a last number that is none is not equal to itself
                prop_assert_eq!(format!("{:?}", all(&whole)), format!("{:?}", all(&single)));
                for from in [0, S / 2, 2 * S, 5 * S, 99 * S] {
                    let before = |rollups: &Rollups| rollups.number_before(tag, TimestampNs(from));
                    prop_assert_eq!(before(&whole), before(&single));
                }
            }
        }

        /// R1: whatever the order of arrival, memory says what adding the samples again says.
        #[test]
        fn memory_equals_the_samples_added_again(
            samples in prop::collection::vec((0..50 * S, -1e6..1e6_f64), 1..400), every in 1..7_i64
        ) {
            let mut rollups = Rollups::default();
            let mut again = Regroup::new(every * S);
            for (time, value) in &samples {
                rollups.add(3, TimestampNs(*time), *value);
                again.row(TimestampNs(*time)).add(TimestampNs(*time), *value);
            }
            let mut regrouped = Regroup::new(every * S);
            for window in rollups.windows(3, TimestampNs(0), TimestampNs(60 * S)) {
                regrouped.row(window.start).merge(&window);
            }
            let (memory, log) = (regrouped.finish(), again.finish());
            prop_assert_eq!(memory.len(), log.len());
            for (a, b) in memory.iter().zip(&log) {
                prop_assert_eq!((a.start, a.count, a.min, a.max, a.last), (b.start, b.count, b.min, b.max, b.last));
                prop_assert!((a.sum - b.sum).abs() <= 1e-6 * b.sum.abs().max(1e6));
            }
        }
    }
}
