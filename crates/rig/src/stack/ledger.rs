//! What was sent, what was told and what was acknowledged; and what must therefore be stored.
//!
//! Accounts of a producer without acknowledgements, by its source, which is its own: what is
//! missing stands in gap records once, frames that never came with their number, shed ones with
//! that of their samples.

use super::model::Record;
use crate::system::Stored;
use model::{GapReason, ProducerId, Sequence, TagId, ValueKind};
use std::collections::BTreeMap;

/// A tag as a producer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number.
    pub id: u32,
    /// What its values are.
    pub kind: ValueKind,
    /// Whose it is.
    pub source: String,
}

/// Every number that any producer was ever told.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// By path.
    pub tags: BTreeMap<String, Told>,
    /// By text.
    pub texts: BTreeMap<String, u32>,
}

impl Names {
    /// The kind of every tag.
    pub fn kinds(&self) -> impl Iterator<Item = (TagId, ValueKind)> {
        self.tags.values().map(|told| (TagId(told.id), told.kind))
    }

    /// A producer is told a tag's number.
    ///
    /// # Errors
    /// It was another one, or another tag has it.
    pub fn tag(&mut self, path: String, told: Told) -> Result<(), String> {
        if let Some((other, _)) = self.tags.iter().find(|(other, known)| known.id == told.id && **other != path) {
            return Err(format!("tags {path} and {other} have the same number {}", told.id));
        }
        match self.tags.insert(path.clone(), told.clone()) {
            Some(before) if before != told => Err(format!("tag {path} was {before:?} and is told to be {told:?}")),
            _ => Ok(()),
        }
    }

    /// A producer is told a text's number.
    ///
    /// # Errors
    /// It was another one, or another text has it.
    pub fn text(&mut self, text: &str, id: u32) -> Result<(), String> {
        let clash = self.texts.iter().any(|(other, known)| (*known == id) != (other == text));
        self.texts.insert(text.to_owned(), id);
        if clash { Err(format!("text {text:?} is told to be {id}, which means another one")) } else { Ok(()) }
    }
}

/// One producer's history.
#[derive(Debug, Default)]
struct History {
    acks: bool,
    /// Samples of each frame, where there are always so many.
    per_frame: u64,
    sent: Vec<Vec<u8>>,
    acknowledged: u64,
    /// Highest sequence that was shed in this life, and in any.
    shed_to: u64,
    shed_ever: u64,
}

/// Everything over all lives of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    producers: BTreeMap<ProducerId, History>,
    /// What was told.
    pub names: Names,
    /// Frames made.
    pub frames: u64,
}

impl Ledger {
    /// A producer joins.
    pub fn join(&mut self, producer: ProducerId, acks: bool, per_frame: u64) {
        self.producers.insert(producer, History { acks, per_frame, ..History::default() });
    }

    /// A producer makes its next frame.
    pub fn sent(&mut self, producer: ProducerId, bytes: Vec<u8>) {
        self.frames += 1;
        self.producers.entry(producer).or_default().sent.push(bytes);
    }

    /// The last sequence that a producer has made.
    #[must_use]
    pub fn last(&self, producer: ProducerId) -> Sequence {
        Sequence(self.producers.get(&producer).map_or(0, |history| history.sent.len() as u64))
    }

    /// A frame that was made.
    #[must_use]
    pub fn frame(&self, producer: ProducerId, sequence: Sequence) -> &[u8] {
        let frame = self.producers.get(&producer).and_then(|history| history.sent.get(sequence.0 as usize - 1));
        frame.map_or(&[], Vec::as_slice)
    }

    /// A producer hears that everything up to a sequence is durable.
    ///
    /// # Errors
    /// It was never sent.
    pub fn acknowledged(&mut self, producer: ProducerId, sequence: Sequence) -> Result<(), String> {
        let history = self.producers.entry(producer).or_default();
        if sequence.0 > history.sent.len() as u64 {
            return Err(format!("sequence {sequence} of producer {producer} was acknowledged but never sent"));
        }
        history.acknowledged = history.acknowledged.max(sequence.0);
        Ok(())
    }

    /// A producer is told to go on after a sequence.
    ///
    /// # Errors
    /// More was acknowledged, or it was never sent.
    pub fn welcomed(&mut self, producer: ProducerId, sequence: Sequence) -> Result<(), String> {
        let history = self.producers.entry(producer).or_default();
        if sequence.0 > history.sent.len() as u64 {
            return Err(format!("producer {producer} is told to go on after {sequence}, which it never sent"));
        }
        if !history.acks {
            return Ok(());
        }
        let known = history.acknowledged;
        if sequence.0 < known {
            return Err(format!("producer {producer} is told to go on after {sequence}, {known} was acknowledged"));
        }
        self.acknowledged(producer, sequence)
    }

    /// A producer starts again without memory and takes the numbers behind `from` for other frames.
    pub fn restarted(&mut self, producer: ProducerId, from: Sequence) {
        if let Some(history) = self.producers.get_mut(&producer) {
            history.sent.truncate(from.0 as usize);
        }
    }

    /// What was shed in this life, all of it.
    pub fn shed(&mut self, shed: &[(ProducerId, Sequence)]) {
        for (producer, history) in &mut self.producers {
            let ours = shed.iter().filter(|(of, _)| of == producer);
            history.shed_to = ours.map(|(_, sequence)| sequence.0).max().unwrap_or(0);
            history.shed_ever = history.shed_ever.max(history.shed_to);
        }
    }

    /// The marks that may stand above the stored frames.
    #[must_use]
    pub fn marks(&self) -> Vec<(ProducerId, Sequence)> {
        self.producers.iter().map(|(producer, history)| (*producer, Sequence(history.shed_ever))).collect()
    }

    /// Holds what is stored against what was promised. `source`: number of a producer's source.
    /// `live`: the whole of it is there, and this life has said all its gaps. `complete`: the run is
    /// over, nothing may be on its way any more.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn check(
        &self,
        record: &Record,
        source: impl Fn(ProducerId) -> u32,
        live: bool,
        complete: bool,
    ) -> Result<(), String> {
        let mut stored: BTreeMap<ProducerId, Vec<&Stored>> = BTreeMap::new();
        for frame in &record.frames {
            stored.entry(frame.producer).or_default().push(frame);
        }
        if let Some(stranger) = stored.keys().find(|producer| !self.producers.contains_key(producer)) {
            return Err(format!("frames of producer {stranger} are stored, who sent none"));
        }
        for (producer, history) in &self.producers {
            let frames = stored.get(producer).map_or(&[][..], Vec::as_slice);
            history
                .check_frames(frames)
                .and_then(|()| match history.acks {
                    true => history.check_acknowledged(frames, complete),
                    false => history.check_accounts(frames, record, source(*producer), live, complete),
                })
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
                Some(sent) if *sent != frame.bytes => {
                    return Err(format!("sequence {} is not what was sent", frame.sequence));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Everything acknowledged is there, and no hole before it.
    fn check_acknowledged(&self, frames: &[&Stored], complete: bool) -> Result<(), String> {
        if let Some((index, found)) = frames.iter().zip(1_u64..).map(|(f, i)| (i, f.sequence.0)).find(|(i, s)| i != s) {
            return Err(format!("sequence {index} is missing before {found}"));
        }
        let wanted = if complete { self.sent.len() as u64 } else { self.acknowledged };
        let stored = frames.len() as u64;
        if stored < wanted {
            let what = if complete { "sent" } else { "acknowledged" };
            return Err(format!("{what} up to {wanted}, stored up to {stored}: {} frames are lost", wanted - stored));
        }
        Ok(())
    }

    /// Sent = stored + in gap records.
    fn check_accounts(
        &self,
        frames: &[&Stored],
        record: &Record,
        source: u32,
        live: bool,
        complete: bool,
    ) -> Result<(), String> {
        let count = |reason: GapReason| -> u64 {
            let ours = record.gaps.iter().filter(|gap| gap.source.0 == source && gap.reason == reason);
            ours.map(|gap| gap.count.unwrap_or(0)).sum()
        };
        let (lost, shed_samples) = (count(GapReason::LostInTransit), count(GapReason::Shed));
        if !shed_samples.is_multiple_of(self.per_frame.max(1)) {
            return Err(format!("gap records name {shed_samples} shed samples, frames have {}", self.per_frame));
        }
        let shed = shed_samples / self.per_frame.max(1);
        let stored = frames.len() as u64;
        let last = frames.last().map_or(0, |frame| frame.sequence.0);
        let least = if live { last.max(self.shed_to) } else { last } - stored;
        let most = last.max(self.shed_ever) - stored;
        if lost > most || lost + shed < least || lost + shed > most {
            return Err(format!("{least} to {most} frames are missing, gap records name {lost} lost and {shed} shed"));
        }
        if complete && last != self.sent.len() as u64 {
            return Err(format!("the last frame {} is not stored, {last} is", self.sent.len()));
        }
        Ok(())
    }
}
