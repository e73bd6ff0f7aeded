//! Acknowledgements that wait for the disk.
//!
//! Invariant A1: [`AckQueue::on_durable`] answers a sequence only when the position of every entry up
//! to it is durable. Merging entries only ever delays.

use model::{LogPosition, Sequence};
use std::collections::VecDeque;

/// Sequences of one connection, each with the position that must be durable first.
#[derive(Debug)]
pub(crate) struct AckQueue {
    waiting: VecDeque<(Sequence, LogPosition)>,
    entries_max: usize,
}

impl AckQueue {
    pub(crate) fn new(entries_max: usize) -> AckQueue {
        AckQueue { waiting: VecDeque::new(), entries_max: entries_max.max(2) }
    }

    /// Sequences and positions only grow; a position below the one before waits for that one.
    pub(crate) fn push(&mut self, sequence: Sequence, position: LogPosition) {
        if let Some(back) = self.waiting.back_mut()
            && back.1 >= position
        {
            debug_assert!(back.0 < sequence);
            back.0 = sequence;
            return;
        }
        if self.waiting.len() >= self.entries_max {
            self.thin_out();
        }
        self.waiting.push_back((sequence, position));
    }

    /// Merges each entry with the one behind it, so that what is left is spread evenly.
    fn thin_out(&mut self) {
        let count = self.waiting.len();
        let mut index = 0;
        self.waiting.retain(|_| {
            index += 1;
            index % 2 == 0 || index == count
        });
    }

    /// The highest sequence that may be acknowledged now and was not before.
    pub(crate) fn on_durable(&mut self, durable: LogPosition) -> Option<Sequence> {
        let mut last = None;
        while let Some((sequence, position)) = self.waiting.front().copied()
            && position <= durable
        {
            last = Some(sequence);
            self.waiting.pop_front();
        }
        last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn acknowledges_only_what_is_durable_and_in_the_end_all(
            steps in proptest::collection::vec((0_u64..50, prop::option::of(0_u64..60)), 1..200),
            entries_max in 1_usize..8,
        ) {
            let mut queue = AckQueue::new(entries_max);
            let (mut position, mut durable, mut acked) = (0, 0, 0);
            let mut positions = vec![0];
            for (i, (grow, synced)) in steps.iter().enumerate() {
                position += grow;
                positions.push(position);
                queue.push(Sequence(i as u64 + 1), LogPosition(position));
                prop_assert!(queue.waiting.len() <= entries_max.max(2));
                if let Some(more) = synced {
                    durable = (durable + more).min(position);
                    if let Some(Sequence(s)) = queue.on_durable(LogPosition(durable)) {
                        prop_assert!(s > acked && positions[s as usize] <= durable);
                        acked = s;
                    }
                }
            }
            if let Some(Sequence(s)) = queue.on_durable(LogPosition(position)) {
                acked = s;
            }
            prop_assert_eq!(acked, steps.len() as u64);
            prop_assert!(queue.is_empty());
        }
    }
}
