//! Reading back: raw samples and rollups of one tag, in time order.
//!
//! Two steps. [`plan`] runs on the shard: it looks up which stretches of the log can matter and
//! which gaps touch the range, and costs microseconds. [`samples`] and [`rollups`] run on the
//! helper thread: they read the log, checking every batch.
//!
//! The nine aggregates go the same way: [`plan_aggregate`] for one span, [`plan_rows`] for windows.
//!
//! Invariants
//! - Q1: only durable data is answered; what is answered once cannot be gone after a crash.
//! - Q2: memory is bounded by the page, not by the range.
//! - Q3: damaged stretches are skipped and said as gaps, never served.

mod aggregate;
mod order;

pub use crate::rollup::stretch::Aggregates;
pub use aggregate::{AggregatePlan, AggregateRow, Rows, plan_aggregate, plan_rows};

use crate::rollup::{Regroup, WIDTH_NS, Window};
use crate::state::State;
use crate::timeline::{Block, sample_time};
use env::disk::Storage;
use frame::{Frame, View};
use log::{ReadError, Span};
use model::{Gap, LogPosition, Quality, SourceId, TagId, TimestampNs, Value, ValueKind};
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Gaps that one answer shows.
pub const GAPS_MAX: usize = 1_000;
/// Stretches of arrival that a plan looks up one by one; a longer range is looked up in larger ones,
/// so that planning a week costs the shard what planning half an hour costs.
const LOOK_UPS_MAX: usize = 1_024;
/// Blocks that lie further apart in arrival than this are looked up apart: between them is nothing.
const APART_NS: i64 = 2_000_000_000;

/// Where a sample stands: its time, then its place in the log. Orders answers and pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The sample's time.
    pub time: TimestampNs,
    /// Its frame's position.
    pub position: LogPosition,
    /// Its number within the frame.
    pub index: u32,
    /// How many samples the frame has.
    pub of: u32,
}

impl Place {
    /// One number for position and index, in the order of the log: a frame is longer in bytes than
    /// it has samples, so no two samples of a log share it.
    #[must_use]
    pub const fn code(&self) -> u64 {
        self.position.0.saturating_sub(self.of as u64) + self.index as u64
    }
}

/// One sample read back.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSample {
    /// Where it stands.
    pub place: Place,
    /// The device's time.
    pub source_time: Option<TimestampNs>,
    /// The server's time of arrival.
    pub received: TimestampNs,
    /// The value; `None` where the quality is bad.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
}

/// A page of samples.
#[derive(Debug, Default)]
pub struct Page {
    /// In time order; one more than was asked for where there is more.
    pub samples: Vec<FoundSample>,
    /// Whether there is more behind the last of them.
    pub more: bool,
    /// Gaps that touch the range.
    pub gaps: Vec<Gap>,
}

/// Batches that are read together, and the earliest sample time of all that come after them.
struct Group {
    spans: Vec<Span>,
    later_from: TimestampNs,
}

/// What is to be read for a tag and a range.
pub struct Plan {
    tag: TagId,
    source: SourceId,
    kind: ValueKind,
    from: TimestampNs,
    to: TimestampNs,
    groups: Vec<Group>,
    gaps: Vec<Gap>,
    texts: Arc<Vec<Arc<str>>>,
}

/// Looks up what must be read for a tag and `[from, to)`. `None`: the tag is not in this log.
pub fn plan(
    state: &State,
    spans: impl Fn(TimestampNs, TimestampNs) -> Vec<Span>,
    tag: TagId,
    from: TimestampNs,
    to: TimestampNs,
    texts: Arc<Vec<Arc<str>>>,
) -> Option<Plan> {
    let info = state.definitions.tag(tag)?;
    let mut groups: Vec<Group> = Vec::new();
    let mut later_from = TimestampNs(i64::MAX);
    for block in neighbours(&state.timeline.touching(from, to)).iter().rev() {
        groups.push(Group { spans: spans(block.received_first, block.received_last), later_from });
        later_from = later_from.min(block.time_min);
    }
    groups.reverse();
    once(&mut groups);
    let gaps = state.gaps.touching(info.source, tag, from, to, GAPS_MAX);
    Some(Plan { tag, source: info.source, kind: info.kind, from, to, groups, gaps, texts })
}

/// Blocks that are looked up together, in order of arrival: those that follow each other melt where
/// there are many.
fn neighbours(blocks: &[Block]) -> Vec<Block> {
    let together = blocks.len().div_ceil(LOOK_UPS_MAX);
    let mut all: Vec<(Block, usize)> = Vec::new();
    for block in blocks {
        match all.last_mut() {
            Some((known, count)) if *count < together && follows(known, block) => {
                known.received_first = known.received_first.min(block.received_first);
                known.received_last = known.received_last.max(block.received_last);
                known.time_min = known.time_min.min(block.time_min);
                known.time_max = known.time_max.max(block.time_max);
                *count += 1;
            }
            _ => all.push((*block, 1)),
        }
    }
    all.into_iter().map(|(block, _)| block).collect()
}

fn follows(known: &Block, next: &Block) -> bool {
    let ns = next.received_first.0.saturating_sub(known.received_last.0);
    (-APART_NS..=APART_NS).contains(&ns)
}

/// A stretch of the log that two blocks share is read once, with the first of them. Told apart by
/// place: blocks overlap in any way where the wall clock went back, and a mark has no length.
fn once(groups: &mut [Group]) {
    let mut seen = BTreeSet::new();
    for group in groups {
        group.spans.retain(|span| seen.insert((span.file, span.offset)));
    }
}

/// One page of raw samples, strictly behind a time and [`Place::code`] if they are given.
///
/// # Errors
/// [`ReadError`]: the log could not be read at all. Damage inside it is a gap, not an error.
pub fn samples(
    storage: &dyn Storage,
    plan: &Plan,
    limit: usize,
    after: Option<(TimestampNs, u64)>,
) -> Result<Page, ReadError> {
    let mut best = Smallest { found: BinaryHeap::new(), wanted: limit + 1 };
    let mut gaps = plan.gaps.clone();
    for group in &plan.groups {
        plan.read(storage, &group.spans, &mut gaps, &mut |found| {
            if after.is_none_or(|after| (found.place.time, found.place.code()) > after) {
                best.offer(found);
            }
        })?;
        if best.is_settled(group.later_from) {
            break;
        }
    }
    let samples = best.into_sorted();
    let more = samples.len() > limit;
    Ok(Page { samples, more, gaps })
}

/// Rollup rows of `every_ns`, a multiple of one second, from the stored samples.
///
/// # Errors
/// [`ReadError`]: the log could not be read at all.
pub fn rollups(storage: &dyn Storage, plan: &Plan, every_ns: i64) -> Result<(Vec<Window>, Vec<Gap>), ReadError> {
    let mut rows = Regroup::new(every_ns);
    let mut gaps = plan.gaps.clone();
    for group in &plan.groups {
        plan.read(storage, &group.spans, &mut gaps, &mut |found| {
            if !found.quality.is_bad() {
                let number = found.value.as_ref().map_or(f64::NAN, crate::rollup::number);
                rows.row(found.place.time).add(found.place.time, number);
            }
        })?;
    }
    Ok((rows.finish(), gaps))
}

/// Rollup rows from the windows in memory, where those are all there are for the range.
#[must_use]
pub fn rollups_in_memory(
    state: &State,
    tag: TagId,
    from: TimestampNs,
    to: TimestampNs,
    every_ns: i64,
) -> Option<Vec<Window>> {
    if state.rollups.complete_from(tag.0).is_some_and(|complete| complete > from) {
        return None;
    }
    debug_assert!(every_ns % WIDTH_NS == 0);
    let mut rows = Regroup::new(every_ns);
    for window in state.rollups.windows(tag.0, from, to) {
        rows.row(window.start).merge(&window);
    }
    Some(rows.finish())
}

impl Plan {
    /// The gaps that touch the range, as far as they are known without reading.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Hands over the tag's samples of some batches that lie in the range; damage becomes gaps (Q3).
    fn read(
        &self,
        storage: &dyn Storage,
        spans: &[Span],
        gaps: &mut Vec<Gap>,
        on: &mut dyn FnMut(FoundSample),
    ) -> Result<(), ReadError> {
        self.read_range(storage, spans, (self.from, self.to), gaps, on)
    }

    /// The same for another range.
    fn read_range(
        &self,
        storage: &dyn Storage,
        spans: &[Span],
        range: (TimestampNs, TimestampNs),
        gaps: &mut Vec<Gap>,
        on: &mut dyn FnMut(FoundSample),
    ) -> Result<(), ReadError> {
        let report = log::read(storage, spans, &mut |frame, position| {
            self.frame(frame, position, range, on);
            ControlFlow::Continue(())
        })?;
        for fence in &report.fences {
            let gap = crate::gaps::rot(self.source, fence);
            if gaps.len() < GAPS_MAX && !gaps.contains(&gap) {
                gaps.push(gap);
            }
        }
        Ok(())
    }

    fn frame(
        &self,
        frame: Frame<'_>,
        position: LogPosition,
        (from, to): (TimestampNs, TimestampNs),
        on: &mut dyn FnMut(FoundSample),
    ) {
        let received = frame.received();
        let of = frame.sample_count() as u32;
        let mut found = |index: u32, source_time: Option<TimestampNs>, bits: u64, quality: Quality| {
            let time = sample_time(source_time, received);
            if time >= from && time < to {
                let value = if quality.is_bad() { None } else { self.value(bits) };
                on(FoundSample { place: Place { time, position, index, of }, source_time, received, value, quality });
            }
        };
        match frame.view() {
            View::Scan(scan) => {
                let index = self.tag.0.wrapping_sub(scan.tag_first().0);
                if (index as usize) < scan.len() {
                    let (bits, quality) = scan.at(index as usize);
                    found(index, scan.source_time(), bits, quality);
                }
            }
            View::Samples(samples) => {
                let ours = samples.iter().enumerate().filter(|(_, sample)| sample.0 == self.tag);
                ours.for_each(|(i, (_, source_time, bits, quality))| found(i as u32, source_time, bits, quality));
            }
            _ => {}
        }
    }

    fn value(&self, bits: u64) -> Option<Value> {
        match self.kind {
            ValueKind::Text => self.texts.get(bits as usize).map(|text| Value::Text(Arc::clone(text))),
            kind => Value::from_bits(kind, bits),
        }
    }
}

/// The smallest places of all that were offered (Q2).
struct Smallest {
    found: BinaryHeap<ByPlace>,
    wanted: usize,
}

struct ByPlace(FoundSample);

impl PartialEq for ByPlace {
    fn eq(&self, other: &ByPlace) -> bool {
        self.0.place == other.0.place
    }
}
impl Eq for ByPlace {}
impl PartialOrd for ByPlace {
    fn partial_cmp(&self, other: &ByPlace) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ByPlace {
    fn cmp(&self, other: &ByPlace) -> std::cmp::Ordering {
        self.0.place.cmp(&other.0.place)
    }
}

impl Smallest {
    fn offer(&mut self, sample: FoundSample) {
        if self.found.len() == self.wanted {
            if self.found.peek().is_some_and(|largest| sample.place >= largest.0.place) {
                return;
            }
            self.found.pop();
        }
        self.found.push(ByPlace(sample));
    }

    /// Whether nothing that comes at or after this time can change the answer.
    fn is_settled(&self, later_from: TimestampNs) -> bool {
        self.found.len() == self.wanted && self.found.peek().is_some_and(|largest| largest.0.place.time < later_from)
    }

    fn into_sorted(self) -> Vec<FoundSample> {
        self.found.into_sorted_vec().into_iter().map(|by_place| by_place.0).collect()
    }
}
