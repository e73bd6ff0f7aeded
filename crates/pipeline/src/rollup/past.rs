//! The one-second windows before the open ones, laid out for scans.
//!
//! The tags of a block that agreed in their open window close it together, and it goes into one row:
//! 33 bytes a tag, with no heap block for a tag alone. A value that comes late, or for one tag alone,
//! gives each tag of its block a queue of its own from then on.
//!
//! Invariant: a block has rows or queues, never both; `complete_from` is that of each tag while it
//! has rows.

use super::open::{LANES, Numbers, Tally};
use super::{WIDTH_NS, Window};
use model::TimestampNs;
use std::collections::VecDeque;

/// One window of every tag of a block.
struct Row {
    tally: Tally,
    numbers: [Numbers; LANES],
}

/// The windows of one tag.
#[derive(Clone, Default)]
struct Queue {
    windows: VecDeque<Window>,
    complete_from: Option<TimestampNs>,
}

/// The windows of a block's tags before the open ones, oldest first.
#[derive(Default)]
pub(super) struct Past {
    rows: VecDeque<Row>,
    queues: Option<Box<[Queue; LANES]>>,
    complete_from: Option<TimestampNs>,
}

impl Past {
    /// Takes in the window that was open for all tags; so many are kept, the open one included.
    /// Answers, as all that change this, by how many bytes it takes more memory now.
    pub(super) fn push_row(&mut self, tally: Tally, numbers: &[Numbers; LANES], keep: usize) -> isize {
        if self.queues.is_some() {
            let lanes = numbers.iter().enumerate();
            return lanes.map(|(lane, numbers)| self.push(lane, numbers.window(tally), keep)).sum();
        }
        while self.rows.len() + 1 >= keep {
            let Some(gone) = self.rows.pop_front() else { return 0 };
            self.complete_from = Some(gone.tally.start().plus_ns(WIDTH_NS));
        }
        let before = bytes(&self.rows);
        make_room(&mut self.rows, keep);
        self.rows.push_back(Row { tally, numbers: *numbers });
        bytes(&self.rows) - before
    }

    /// Takes in the window of one tag that was open.
    pub(super) fn push(&mut self, lane: usize, window: Window, keep: usize) -> isize {
        let (queue, parted) = self.queue(lane);
        let before = bytes(&queue.windows);
        queue.forget(keep.saturating_sub(1));
        make_room(&mut queue.windows, keep);
        queue.windows.push_back(window);
        bytes(&queue.windows) - before + parted
    }

    /// Takes in a value that is older than its tag's open window.
    #[cold]
    pub(super) fn add(&mut self, lane: usize, start: TimestampNs, time: TimestampNs, value: f64, keep: usize) -> isize {
        let (queue, parted) = self.queue(lane);
        let before = bytes(&queue.windows);
        // what lies beyond memory is in the log, and queries of that time read the log (R2)
        if queue.complete_from.is_none_or(|from| start >= from) {
            queue.window(start).add(time, value);
            queue.forget(keep);
        }
        bytes(&queue.windows) - before + parted
    }

    /// From when on a tag's windows are all there are. `None`: from the beginning.
    pub(super) fn complete_from(&self, lane: usize) -> Option<TimestampNs> {
        self.queues.as_ref().map_or(self.complete_from, |queues| queues[lane].complete_from)
    }

    /// The newest window of a tag that starts before a time.
    pub(super) fn newest_before(&self, lane: usize, from: TimestampNs) -> Option<Window> {
        match &self.queues {
            Some(queues) => {
                let windows = &queues[lane].windows;
                windows.get(windows.partition_point(|window| window.start < from).checked_sub(1)?).copied()
            }
            None => {
                let row = self.rows.get(self.rows.partition_point(|row| row.tally.start() < from).checked_sub(1)?)?;
                Some(row.window(lane))
            }
        }
    }

    /// The windows of a tag that start at or after a time.
    pub(super) fn since(&self, lane: usize, from: TimestampNs) -> impl Iterator<Item = Window> {
        let queue = self.queues.as_ref().map(|queues| &queues[lane].windows);
        let at = queue.map_or(0, |windows| windows.partition_point(|window| window.start < from));
        let row = self.rows.partition_point(|row| row.tally.start() < from);
        let rows = self.rows.range(row..).map(move |row| row.window(lane));
        queue.into_iter().flat_map(move |windows| windows.range(at..).copied()).chain(rows)
    }

    /// A tag's queue, and by how many bytes it takes more memory that each tag has one now.
    fn queue(&mut self, lane: usize) -> (&mut Queue, isize) {
        let Past { rows, queues, complete_from } = self;
        let mut parted = 0;
        let queues = queues.get_or_insert_with(|| {
            parted -= bytes(rows);
            let rows = std::mem::take(rows);
            let queue = |lane: usize| Queue {
                windows: rows.iter().map(|row| row.window(lane)).collect(),
                complete_from: *complete_from,
            };
            let queues: Box<[Queue; LANES]> = Box::new(std::array::from_fn(queue));
            let windows: isize = queues.iter().map(|queue| bytes(&queue.windows)).sum();
            parted += windows + size_of::<[Queue; LANES]>() as isize;
            queues
        });
        (&mut queues[lane], parted)
    }
}

/// Bytes of memory that a list takes.
fn bytes<T>(list: &VecDeque<T>) -> isize {
    (list.capacity() * size_of::<T>()) as isize
}

/// Room for one more, never for more than `keep` - 1.
fn make_room<T>(list: &mut VecDeque<T>, keep: usize) {
    if list.capacity() > 2 * keep {
        list.shrink_to(keep); // there are more tags now, so each keeps less
    }
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().clamp(1, keep.saturating_sub(1 + list.len()).max(1)));
    }
}

impl Row {
    fn window(&self, lane: usize) -> Window {
        self.numbers[lane].window(self.tally)
    }
}

impl Queue {
    /// Lets the oldest windows go until there are fewer than `keep`.
    fn forget(&mut self, keep: usize) {
        while self.windows.len() >= keep {
            let Some(gone) = self.windows.pop_front() else { return };
            self.complete_from = Some(gone.start.plus_ns(WIDTH_NS));
        }
    }

    /// The window with this start, made where there is none.
    fn window(&mut self, start: TimestampNs) -> &mut Window {
        let at = self.windows.partition_point(|window| window.start < start);
        if self.windows.get(at).is_none_or(|window| window.start != start) {
            self.windows.insert(at, Window::new(start));
        }
        &mut self.windows[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = WIDTH_NS;

    fn starts(past: &Past, lane: usize) -> Vec<i64> {
        past.since(lane, TimestampNs(i64::MIN)).map(|window| window.start.0 / S).collect()
    }

    #[test]
    fn rows_become_queues_that_say_the_same() {
        let mut past = Past::default();
        let numbers = [Numbers::EMPTY; LANES];
        for second in 0..5 {
            past.push_row(Tally::first(TimestampNs(second * S)), &numbers, 4);
        }
        assert_eq!((starts(&past, 3), past.complete_from(3)), (vec![2, 3, 4], Some(TimestampNs(2 * S))));
        past.add(0, TimestampNs(3 * S), TimestampNs(3 * S + 1), 7.0, 4);
        assert_eq!((starts(&past, 3), past.complete_from(3)), (vec![2, 3, 4], Some(TimestampNs(2 * S))));
        assert_eq!(past.newest_before(0, TimestampNs(4 * S)).map(|window| window.last), Some(7.0));
        past.push_row(Tally::first(TimestampNs(5 * S)), &numbers, 2);
        assert_eq!((starts(&past, 3), past.complete_from(3)), (vec![5], Some(TimestampNs(5 * S))));
    }

    #[test]
    fn memory_follows_what_is_kept() {
        let mut past = Past::default();
        for second in 0..1_000 {
            past.push_row(Tally::first(TimestampNs(second * S)), &[Numbers::EMPTY; LANES], 900);
        }
        assert!(past.rows.capacity() < 900 && past.rows.len() == 899);
        past.push_row(Tally::first(TimestampNs(1_000 * S)), &[Numbers::EMPTY; LANES], 2);
        assert!(past.rows.capacity() <= 2 && past.rows.len() == 1);
    }
}
