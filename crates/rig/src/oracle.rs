//! What was sent, what was acknowledged, and what must therefore be stored.

use crate::system::{Contents, Sent, Stored};
use model::{ProducerId, Sequence};
use std::collections::BTreeMap;

/// One producer's history.
#[derive(Debug, Default)]
struct History {
    acks: bool,
    sent: Vec<Sent>,
    acknowledged: Sequence,
}

/// Everything that was sent and acknowledged, over all lives of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    producers: BTreeMap<ProducerId, History>,
}

impl Oracle {
    /// A producer sends a frame for the first time.
    pub fn sent(&mut self, frame: &Sent) {
        let history = self.producers.entry(frame.producer).or_default();
        history.acks = frame.acks;
        history.sent.push(frame.clone());
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
                history.check_acknowledged(&present, complete)
            } else {
                history.check_accounted(*producer, &present, contents, complete)
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

    /// Everything acknowledged is there, and no hole before it.
    fn check_acknowledged(&self, present: &[u64], complete: bool) -> Result<(), String> {
        if let Some((index, found)) = present.iter().enumerate().find(|(index, found)| **found != *index as u64 + 1) {
            return Err(format!("sequence {} is missing before {found}", index + 1));
        }
        let wanted = if complete { self.sent.len() as u64 } else { self.acknowledged.0 };
        let stored = present.len() as u64;
        if stored < wanted {
            let what = if complete { "sent" } else { "acknowledged" };
            return Err(format!("{what} up to {wanted}, stored up to {stored}: {} frames are lost", wanted - stored));
        }
        Ok(())
    }

    /// Everything that is missing stands in a gap record: sent = stored + in gaps.
    fn check_accounted(
        &self,
        producer: ProducerId,
        present: &[u64],
        contents: &Contents,
        complete: bool,
    ) -> Result<(), String> {
        let judged = if complete { self.sent.len() as u64 } else { present.last().copied().unwrap_or(0) };
        let missing = self.sent.iter().take(judged as usize).filter(|s| present.binary_search(&s.sequence.0).is_err());
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
