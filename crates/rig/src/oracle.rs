//! What was sent, what was acknowledged, and what must therefore be stored.

use crate::system::{Contents, Sent, Stored};
use model::{LogPosition, ProducerId, Sequence};
use std::collections::BTreeMap;

/// One producer's history.
#[derive(Debug, Default)]
struct History {
    acks: bool,
    sent: Vec<Sent>,
    /// Where each was stored last; the end of all positions while it was not.
    positions: Vec<LogPosition>,
    acknowledged: Sequence,
}

/// Everything that was sent and acknowledged, over all lives of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    producers: BTreeMap<ProducerId, History>,
    /// Retention may have removed everything up to here.
    removed: LogPosition,
}

impl Oracle {
    /// A producer sends a frame for the first time.
    pub fn sent(&mut self, frame: &Sent) {
        let history = self.producers.entry(frame.producer).or_default();
        history.acks = frame.acks;
        history.sent.push(frame.clone());
        history.positions.push(LogPosition(u64::MAX));
    }

    /// The system took a frame, up to a position.
    pub fn taken(&mut self, frame: &Sent, position: LogPosition) {
        let history = self.producers.entry(frame.producer).or_default();
        if let Some(known) = history.positions.get_mut(frame.sequence.0 as usize - 1) {
            *known = position;
        }
    }

    /// The system says that retention removed everything up to a position.
    pub fn removed(&mut self, position: LogPosition) {
        self.removed = self.removed.max(position);
    }

    /// The system acknowledged everything of a producer up to a sequence.
    ///
    /// # Errors
    /// It was never sent.
    pub fn acknowledged(&mut self, producer: ProducerId, sequence: Sequence) -> Result<(), String> {
        let history = self.producers.entry(producer).or_default();
        if sequence.0 > history.sent.len() as u64 {
            return Err(format!("sequence {sequence} of producer {producer} was acknowledged but never sent"));
        }
        history.acknowledged = history.acknowledged.max(sequence);
        Ok(())
    }

    /// The last acknowledged sequence of a producer.
    #[must_use]
    pub fn last_acknowledged(&self, producer: ProducerId) -> Sequence {
        self.producers.get(&producer).map_or(Sequence(0), |history| history.acknowledged)
    }

    /// Frames sent, each counted once.
    #[must_use]
    pub fn sent_count(&self) -> usize {
        self.producers.values().map(|history| history.sent.len()).sum()
    }

    /// Holds what is stored against what was promised. `complete`: the run is over, nothing may be
    /// on its way any more.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn check(&self, contents: &Contents, complete: bool) -> Result<(), String> {
        let mut stored: BTreeMap<ProducerId, Vec<&Stored>> = BTreeMap::new();
        for frame in &contents.frames {
            stored.entry(frame.producer).or_default().push(frame);
        }
        if let Some(stranger) = stored.keys().find(|producer| !self.producers.contains_key(producer)) {
            return Err(format!("frames of producer {stranger} are stored, who sent none"));
        }
        for (producer, history) in &self.producers {
            let frames = stored.get(producer).map_or(&[][..], Vec::as_slice);
            history.check_frames(frames).map_err(|why| format!("producer {producer}: {why}"))?;
            let present: Vec<u64> = frames.iter().map(|frame| frame.sequence.0).collect();
            if history.acks {
                history.check_acknowledged(&present, self.removed, complete)
            } else {
                let first = history.first_judged(&present, self.removed);
                history.check_accounted(*producer, &present, first, contents, complete)
            }
            .map_err(|why| format!("producer {producer}: {why}"))?;
        }
        Ok(())
    }
}

impl History {
    /// Nothing altered, nothing twice, nothing out of order.
    fn check_frames(&self, frames: &[&Stored]) -> Result<(), String> {
        let mut last = Sequence(0);
        for frame in frames {
            if frame.sequence <= last {
                return Err(format!("sequence {} is stored after {last}: twice or out of order", frame.sequence));
            }
            last = frame.sequence;
            match self.sent.get(frame.sequence.0 as usize - 1) {
                None => return Err(format!("sequence {} is stored but was never sent", frame.sequence)),
                Some(sent) if sent.bytes != frame.bytes => {
                    return Err(format!("sequence {} is not what was sent", frame.sequence));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Everything acknowledged is there but what retention removed, and no hole before it.
    fn check_acknowledged(&self, present: &[u64], removed: LogPosition, complete: bool) -> Result<(), String> {
        let gone = self.positions.iter().take_while(|position| **position <= removed).count() as u64;
        let before = present.first().map_or(gone, |first| first - 1);
        if before > gone {
            return Err(format!("sequence {} is missing before {}, and was not removed", gone + 1, before + 1));
        }
        if let Some((wanted, found)) = (before + 1..).zip(present).find(|(wanted, found)| wanted != *found) {
            return Err(format!("sequence {wanted} is missing before {found}"));
        }
        let wanted = if complete { self.sent.len() as u64 } else { self.acknowledged.0 };
        let stored = before + present.len() as u64;
        if stored < wanted {
            let what = if complete { "sent" } else { "acknowledged" };
            return Err(format!("{what} up to {wanted}, stored up to {stored}: {} frames are lost", wanted - stored));
        }
        Ok(())
    }

    /// The first sequence whose absence must be explained: what retention removed took its gap records along.
    fn first_judged(&self, present: &[u64], removed: LogPosition) -> u64 {
        let gone = self.positions.iter().rposition(|position| *position <= removed).map_or(0, |index| index as u64 + 1);
        if gone == 0 { 0 } else { present.first().copied().unwrap_or(gone + 1) }
    }

    /// Everything that is missing from a sequence on stands in a gap record: sent = stored + in gaps.
    fn check_accounted(
        &self,
        producer: ProducerId,
        present: &[u64],
        first: u64,
        contents: &Contents,
        complete: bool,
    ) -> Result<(), String> {
        let judged = if complete { self.sent.len() as u64 } else { present.last().copied().unwrap_or(0) };
        let judged = self.sent.iter().take(judged as usize).filter(|sent| sent.sequence.0 >= first);
        let missing = judged.filter(|sent| present.binary_search(&sent.sequence.0).is_err());
        for sent in missing {
            let covered = contents.gaps.iter().any(|gap| {
                u64::from(gap.source.0) == producer.0 && gap.from_ns <= sent.time_ns && sent.time_ns < gap.to_ns
            });
            if !covered {
                return Err(format!("sequence {} is neither stored nor in a gap record", sent.sequence));
            }
        }
        Ok(())
    }
}
