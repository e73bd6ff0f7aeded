//! What arrives twice counts once: the last stored sequence of every producer.

use frame::{Builder, EncodeError, ProducerMark, Producers};
use model::{ProducerId, Refused, Sequence, SourceId, limits};
use std::collections::HashMap;

/// Marks that go into one frame (16 bytes each).
const PER_FRAME: usize = 4096;

/// What a sequence number means for its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The next one.
    Next,
    /// It, or a later one, is stored already.
    Duplicate,
    /// This many before it never came.
    Hole {
        /// Missing frames.
        missing: u64,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    last: Sequence,
    source: Option<SourceId>,
}

/// Producers of one shard.
#[derive(Default)]
pub struct ProducerTable {
    known: HashMap<ProducerId, Known>,
}

impl ProducerTable {
    /// Makes a producer known as one of a source; answers its last stored sequence.
    ///
    /// # Errors
    /// [`Refused::Limit`] above [`limits::PRODUCERS_MAX`].
    pub fn open(&mut self, producer: ProducerId, source: SourceId) -> Result<Sequence, Refused> {
        if self.known.len() >= limits::PRODUCERS_MAX && !self.known.contains_key(&producer) {
            return Err(Refused::Limit);
        }
        let known = self.known.entry(producer).or_default();
        known.source = Some(source);
        Ok(known.last)
    }

    /// The source of a producer that is open.
    #[must_use]
    pub fn source(&self, producer: ProducerId) -> Option<SourceId> {
        self.known.get(&producer).and_then(|known| known.source)
    }

    /// The last stored sequence.
    #[must_use]
    pub fn last(&self, producer: ProducerId) -> Sequence {
        self.known.get(&producer).map_or(Sequence(0), |known| known.last)
    }

    /// What to do with a frame of this sequence. Changes nothing.
    #[must_use]
    pub fn admit(&self, producer: ProducerId, sequence: Sequence) -> Admission {
        let last = self.last(producer);
        if sequence <= last {
            Admission::Duplicate
        } else if sequence == last.next() {
            Admission::Next
        } else {
            Admission::Hole { missing: sequence.0 - last.0 - 1 }
        }
    }

    /// A frame of this sequence is in the log. Never goes back.
    pub fn stored(&mut self, producer: ProducerId, sequence: Sequence) {
        let known = self.known.entry(producer).or_default();
        known.last = known.last.max(sequence);
    }

    /// Every producer and its last stored sequence.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, Sequence)> + '_ {
        self.known.iter().map(|(producer, known)| (*producer, known.last))
    }

    /// Writes the dedupe state: part of the head of a segment.
    ///
    /// # Errors
    /// [`EncodeError`]: cannot happen within the limits.
    pub fn encode(&self, to: &mut Builder) -> Result<(), EncodeError> {
        let mut marks: Vec<_> = self.iter().filter(|(_, last)| last.0 > 0).collect();
        marks.sort_unstable_by_key(|(producer, _)| *producer);
        encode_marks(marks.into_iter(), to)
    }
}

/// Writes marks of producers, in as many frames as they need.
pub(crate) fn encode_marks(
    marks: impl Iterator<Item = (ProducerId, Sequence)>,
    to: &mut Builder,
) -> Result<(), EncodeError> {
    let mark = |(producer, last): (ProducerId, Sequence)| ProducerMark { producer: producer.0, sequence: last.0 };
    let marks: Vec<ProducerMark> = marks.map(mark).collect();
    for part in marks.chunks(PER_FRAME) {
        to.producers(ProducerId::SELF, Sequence(0), &Producers { producers: part.to_vec() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_counts_once_and_holes_are_seen() {
        let mut table = ProducerTable::default();
        let p = ProducerId(9);
        assert_eq!(table.open(p, SourceId(0)), Ok(Sequence(0)));
        assert_eq!(table.admit(p, Sequence(1)), Admission::Next);
        table.stored(p, Sequence(1));
        assert_eq!(table.admit(p, Sequence(1)), Admission::Duplicate);
        assert_eq!(table.admit(p, Sequence(5)), Admission::Hole { missing: 3 });
        table.stored(p, Sequence(5));
        table.stored(p, Sequence(2));
        assert_eq!(table.last(p), Sequence(5));
    }
}
