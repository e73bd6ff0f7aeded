//! What is known of the newest so many names.
//!
//! Telemetry waits for each poll of the flows, so neither a name more nor one less may take long: a table or queue
//! that doubles copies all it holds at once, which took milliseconds. This one is a thousand small tables, and a
//! queue of short pieces.

use delivery::Offset;
use std::collections::{HashMap, VecDeque};

/// Tables; with [`crate::desk::IDS_MAX`] names in all, each holds a thousand.
const PARTS: usize = 1_024;
/// Names in a piece of the queue.
const PIECE: usize = 512;

/// Values by name, in the order in which they came.
pub(crate) struct Newest<V> {
    parts: Vec<HashMap<u128, V>>,
    order: Line,
    count: usize,
}

impl<V> Default for Newest<V> {
    fn default() -> Newest<V> {
        Newest { parts: (0..PARTS).map(|_| HashMap::new()).collect(), order: Line::default(), count: 0 }
    }
}

impl<V> Newest<V> {
    fn part(&mut self, name: u128) -> &mut HashMap<u128, V> {
        &mut self.parts[name as usize % PARTS]
    }

    pub(crate) fn get(&self, name: u128) -> Option<&V> {
        self.parts[name as usize % PARTS].get(&name)
    }

    /// Names that are known.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Times that a name came and was not taken out again since.
    pub(crate) const fn turns(&self) -> usize {
        self.order.count
    }

    /// A name came, at an offset behind all that came before; answers what was known of it.
    pub(crate) fn put(&mut self, name: u128, value: V, at: Offset) -> Option<V> {
        self.order.push(name, at);
        self.replace(name, value)
    }

    /// Something else is known of a name, and its turn stays; answers what was.
    pub(crate) fn replace(&mut self, name: u128, value: V) -> Option<V> {
        let before = self.part(name).insert(name, value);
        self.count += usize::from(before.is_none());
        before
    }

    /// The name whose turn it is, and the offset at which it came.
    pub(crate) fn first(&self) -> Option<(u128, Offset)> {
        self.order.first()
    }

    /// Takes the first turn; its name stays known where `is_its` says no of what is known.
    pub(crate) fn take_first(&mut self, is_its: impl FnOnce(&V, Offset) -> bool) -> Option<V> {
        let (name, at) = self.order.pop()?;
        if !self.get(name).is_some_and(|value| is_its(value, at)) {
            return None;
        }
        let gone = self.part(name).remove(&name);
        self.count -= usize::from(gone.is_some());
        gone
    }
}

/// Names in order.
#[derive(Default)]
struct Line {
    pieces: VecDeque<Vec<(u128, Offset)>>,
    /// Those of the first piece that are gone.
    gone: usize,
    count: usize,
}

impl Line {
    fn push(&mut self, name: u128, at: Offset) {
        self.count += 1;
        match self.pieces.back_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push((name, at)),
            None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push((name, at));
                self.pieces.push_back(piece);
            }
        }
    }

    fn first(&self) -> Option<(u128, Offset)> {
        self.pieces.front()?.get(self.gone).copied()
    }

    fn pop(&mut self) -> Option<(u128, Offset)> {
        let first = self.first()?;
        self.count -= 1;
        self.gone += 1;
        if self.pieces.front().is_some_and(|piece| piece.len() == self.gone) {
            self.pieces.pop_front();
            self.gone = 0;
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain map and queue, over many pieces, with names that come again.
    #[test]
    fn it_knows_what_a_plain_table_knows() {
        let (mut ours, mut map, mut queue) = (Newest::default(), HashMap::new(), VecDeque::new());
        let mut random = 7_u64;
        for step in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = u128::from(random >> 33) % 3_000;
            if random >> 60 < 9 {
                assert_eq!(ours.put(name, step, Offset(step)), map.insert(name, step));
                queue.push_back((name, Offset(step)));
            } else {
                let expected =
                    queue.pop_front().and_then(
                        |(name, at): (u128, Offset)| {
                            if map.get(&name) == Some(&at.0) { map.remove(&name) } else { None }
                        },
                    );
                assert_eq!(ours.take_first(|value, at| *value == at.0), expected);
            }
            assert_eq!((ours.first(), ours.turns()), (queue.front().copied(), queue.len()));
            assert_eq!((ours.get(name), ours.len()), (map.get(&name), map.len()));
        }
        assert!(ours.turns() > PIECE, "the queue was never longer than a piece");
    }
}
