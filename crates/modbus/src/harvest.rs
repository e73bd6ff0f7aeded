//! What a lane has read and not handed on yet: answers as they came, then values.
//!
//! Purpose: keep the data of answers until the next requests are on their way, so that the device works
//! on these while the values are decoded and handed on (a copy of 250 bytes is cheaper than a device that
//! waits for it); gather the values of arrays as runs, which the pass takes as they are, and all others as
//! readings.
//!
//! Invariants
//! - B1: of one tag, what is handed on is in the order in which it came: answers are decoded before
//!   anything else is said of their tags ([`Harvest::decode`]).
//! - B2: not decoded are the answers of one read of the socket at most
//!   ([`crate::poller::Poller::publish`]).
//! - B3: a tag is told to be bad once for each reason.
//!
//! It does not know requests, cycles or gaps: see [`crate::lane`].

use crate::array::Array;
use crate::decode::bit_at;
use crate::gaps::Moment;
use crate::outlet::Tags;
use crate::plan::{Block, Point};
use model::{Intake, Quality, Reading, Run, SourceId, TagId, TimestampNs, Value, ValueKind};

/// Values of consecutive tags: tag of the first, their kind, where their bits begin.
#[derive(Clone, Copy, Debug)]
struct Piece {
    first: TagId,
    kind: ValueKind,
    from: usize,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    /// Data of answers that are not decoded, end to end, and whose it is.
    data: Vec<u8>,
    blocks: Vec<(Block, Option<Array>)>,
    pieces: Vec<Piece>,
    bits: Vec<u64>,
    readings: Vec<Reading>,
    since_ns: u64,
    wall: TimestampNs,
}

impl Harvest {
    /// Whether there is nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.bits.is_empty() && self.readings.is_empty()
    }

    /// Values.
    pub(crate) const fn len(&self) -> usize {
        self.bits.len() + self.readings.len()
    }

    /// When the oldest came, while there is any.
    pub(crate) const fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// When the newest came.
    pub(crate) const fn wall(&self) -> TimestampNs {
        self.wall
    }

    /// Something of this moment comes.
    pub(crate) const fn note(&mut self, now: Moment) {
        if self.is_empty() {
            self.since_ns = now.mono_ns;
        }
        self.wall = now.wall;
    }

    /// Takes down an answer: [`Block::answer_bytes`] of data.
    pub(crate) fn push(&mut self, block: Block, array: Option<Array>, data: &[u8]) {
        debug_assert_eq!(data.len(), block.answer_bytes(), "data is as long as was asked for");
        self.data.extend_from_slice(data);
        self.blocks.push((block, array));
    }

    /// Makes values of the answers.
    pub(crate) fn decode(&mut self, points: &[Point], tags: &mut Tags, text: &mut (Vec<u8>, String)) {
        if self.blocks.is_empty() {
            return;
        }
        let (blocks, data) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.data));
        let mut rest = &data[..];
        for (block, array) in &blocks {
            let (data, after) = rest.split_at_checked(block.answer_bytes()).unwrap_or_default();
            rest = after;
            if !array.as_ref().is_some_and(|array| self.read_array(array, data, tags)) {
                self.read_points(block, points, data, tags, text);
            }
        }
        (self.blocks, self.data) = (blocks, data);
        self.blocks.clear();
        self.data.clear();
    }

    /// False, and nothing done, where the values are not all good.
    fn read_array(&mut self, array: &Array, data: &[u8], tags: &mut Tags) -> bool {
        let from = self.bits.len();
        let goes_on = self.pieces.last().is_some_and(|piece| {
            piece.kind == array.kind && piece.first.0 as usize + from - piece.from == array.first.0 as usize
        });
        if !array.decode(data, &mut self.bits) {
            return false;
        }
        if !goes_on {
            self.pieces.push(Piece { first: array.first, kind: array.kind, from });
        }
        if let Some(told) = tags.told.get_mut(array.tag..array.tag + array.count) {
            told.fill(Quality::GOOD);
        }
        true
    }

    fn read_points(
        &mut self,
        block: &Block,
        points: &[Point],
        data: &[u8],
        tags: &mut Tags,
        text: &mut (Vec<u8>, String),
    ) {
        for point in block.points(points) {
            let offset = usize::from(point.address.saturating_sub(block.address));
            let (value, quality) = if block.function.is_bits() {
                bit_at(data, offset).map_or((None, Quality::BAD_DECODING), |on| point.spec.bit(on))
            } else {
                let bytes = data.get(offset * 2..).unwrap_or_default();
                if point.spec.is_text() {
                    let bytes = bytes.get(..usize::from(point.span) * 2).unwrap_or(bytes);
                    let (scratch, text) = &mut *text;
                    point.spec.text(bytes, scratch, text);
                    (Some(Value::Text(tags.text(point.tag, text))), Quality::GOOD)
                } else {
                    point.spec.registers(bytes)
                }
            };
            self.read(point.tag, value, quality, tags);
        }
    }

    /// Takes down a value, or that there is none; a bad quality is told once.
    pub(crate) fn read(&mut self, tag: u32, value: Option<Value>, quality: Quality, tags: &mut Tags) {
        let (Some(id), Some(told)) = (tags.ids.get(tag as usize), tags.told.get_mut(tag as usize)) else { return };
        if value.is_some() {
            *told = Quality::GOOD;
        } else if quality == Quality::BAD_TIMEOUT && *told == Quality::BAD_NO_COMMUNICATION {
            // Another timeout is no news of a device that is known to be away.
            return;
        } else if std::mem::replace(told, quality) == quality {
            return;
        }
        self.readings.push(Reading { tag: *id, source_time: None, value, quality });
    }

    /// Hands the values on and forgets them. How many of them were refused.
    pub(crate) fn submit(&mut self, intake: &dyn Intake, source: SourceId) -> usize {
        let mut refused = 0;
        let ends = self.pieces.iter().skip(1).map(|next| next.from).chain([self.bits.len()]);
        for (piece, end) in self.pieces.iter().zip(ends) {
            let run = Run { first: piece.first, kind: piece.kind, bits: &self.bits[piece.from..end] };
            refused += intake.submit_run(source, self.wall, run).map_or(run.bits.len(), |_| 0);
        }
        if !self.readings.is_empty() {
            if !self.readings.is_sorted_by_key(|reading| reading.tag) {
                self.readings.sort_by_key(|reading| reading.tag);
            }
            refused += intake.submit(source, self.wall, &self.readings).map_or(self.readings.len(), |_| 0);
        }
        self.pieces.clear();
        self.bits.clear();
        self.readings.clear();
        refused
    }
}
