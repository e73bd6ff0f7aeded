//! The nine aggregates: of one span, and of windows.
//!
//! Like the rest of the queries in two steps: [`plan_aggregate`] and [`plan_rows`] run on the shard,
//! [`AggregatePlan::run`] and [`AggregatePlan::read`] on a helper thread. What is before the span
//! (the value that holds when it begins, the number that a delta starts from) is looked for at most
//! [`LOOK_BACK_NS`] and [`LOOK_BACK_BYTES_MAX`] back; what is older counts as not known.
//!
//! The span's end may be ahead of the newest sample: the last value holds until there. Whoever asks
//! holds the end to the present.

use super::order::{in_order, point};
use super::{GAPS_MAX, Plan, plan};
use crate::rollup::NumberBefore;
use crate::rollup::stretch::{Aggregates, Before, Point, Stretch};
use crate::state::State;
use env::disk::Storage;
use log::{ReadError, Span};
use model::{Gap, TagId, TimestampNs, ValueKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How far back a sample may lie that holds when a span begins: one day.
pub const LOOK_BACK_NS: i64 = 86_400_000_000_000;
/// How much of the log is read to find it.
pub const LOOK_BACK_BYTES_MAX: u64 = 256 << 20;

/// Batches in which a sample before the span may lie, and the newest sample time that these and all
/// that are looked at after them can hold.
struct Older {
    spans: Vec<Span>,
    newest: TimestampNs,
}

/// How the aggregates of a tag over a span are come by.
pub struct AggregatePlan(How);

enum How {
    /// From memory.
    Known(Rows),
    /// From the log.
    Read(Box<Reading>),
}

/// What is to be read.
struct Reading {
    plan: Plan,
    every_ns: Option<i64>,
    /// What memory knows of what was before.
    before: Before,
    /// Newest first; empty where `before` is all there is.
    older: Vec<Older>,
    look_from: TimestampNs,
}

/// Plans the aggregates of a tag over `[from, to)`. `None`: the tag is not in this log.
pub fn plan_aggregate(
    state: &State,
    spans: impl Fn(TimestampNs, TimestampNs) -> Vec<Span>,
    tag: TagId,
    from: TimestampNs,
    to: TimestampNs,
    texts: Arc<Vec<Arc<str>>>,
) -> Option<AggregatePlan> {
    planned(state, spans, tag, (from, to), None, texts)
}

/// Plans the aggregates of a tag over each window of `every_ns` that holds a sample in `[from, to)`.
/// Windows are aligned to 1970 UTC; the first and the last end where the range does. `None`: the tag
/// is not in this log.
pub fn plan_rows(
    state: &State,
    spans: impl Fn(TimestampNs, TimestampNs) -> Vec<Span>,
    tag: TagId,
    (from, to): (TimestampNs, TimestampNs),
    every_ns: i64,
    texts: Arc<Vec<Arc<str>>>,
) -> Option<AggregatePlan> {
    planned(state, spans, tag, (from, to), Some(every_ns.max(1)), texts)
}

fn planned(
    state: &State,
    spans: impl Fn(TimestampNs, TimestampNs) -> Vec<Span>,
    tag: TagId,
    (from, to): (TimestampNs, TimestampNs),
    every_ns: Option<i64>,
    texts: Arc<Vec<Arc<str>>>,
) -> Option<AggregatePlan> {
    if let Some(rows) = in_memory(state, tag, (from, to), every_ns) {
        return Some(AggregatePlan(How::Known(rows)));
    }
    let plan = plan(state, &spans, tag, from, to, texts)?;
    let mut look_from = from.plus_ns(-LOOK_BACK_NS);
    let mut before = Before::default();
    let mut known_empty = false;
    match state.rollups.number_before(tag.0, from) {
        NumberBefore::None => known_empty = true,
        NumberBefore::Is(time, _) if time < look_from => known_empty = true,
        NumberBefore::Is(time, number) => {
            before.base = Some(Point { time, number, usable: true });
            look_from = time;
        }
        NumberBefore::Unknown => {}
    }
    let older = if known_empty { Vec::new() } else { look_back(state, &spans, look_from, from) };
    Some(AggregatePlan(How::Read(Box::new(Reading { plan, every_ns, before, older, look_from }))))
}

/// The rows that the windows of a named rollup make, where they are all there are.
fn in_memory(state: &State, tag: TagId, (from, to): (TimestampNs, TimestampNs), every_ns: Option<i64>) -> Option<Rows> {
    let info = state.definitions.tag(tag)?;
    let mut rows = Rows { from, to, every_ns, ..Rows::default() };
    let named = &state.rollups.named;
    rows.before = named.read(tag.0, (from, to), every_ns, &mut |window| {
        if let Some(begin) = window.stretch.begin() {
            let row = rows.row(begin, Some(0));
            row.stretch.merge(&window.stretch);
            row.revision = row.revision.map(|revision| revision.saturating_add(window.revision));
        }
    })?;
    rows.gaps = state.gaps.touching(info.source, tag, from, to, GAPS_MAX);
    Some(rows)
}

/// Where to look for the newest sample before a time: the newest arrivals first, in parts that grow.
fn look_back(
    state: &State,
    spans: &impl Fn(TimestampNs, TimestampNs) -> Vec<Span>,
    look_from: TimestampNs,
    from: TimestampNs,
) -> Vec<Older> {
    let blocks = state.timeline.touching(look_from, from);
    let (mut older, mut seen, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    let (mut end, mut part) = (blocks.len(), 1);
    while end > 0 && bytes < LOOK_BACK_BYTES_MAX {
        let begin = end.saturating_sub(part);
        let mut found: Vec<Span> = Vec::new();
        for block in super::neighbours(&blocks[begin..end]) {
            found.extend(spans(block.received_first, block.received_last));
        }
        found.retain(|span| seen.insert((span.file, span.offset)));
        bytes += found.iter().map(|span| span.bytes).sum::<u64>();
        let newest = blocks[..end].iter().map(|block| block.time_max).max().unwrap_or(look_from);
        older.push(Older { spans: found, newest: newest.min(from) });
        (end, part) = (begin, part * 2);
    }
    older
}

impl AggregatePlan {
    /// Reads what the plan needs and answers the aggregates of the whole span.
    ///
    /// # Errors
    /// [`ReadError`]: the log could not be read at all. Damage inside it is a gap, not an error.
    pub fn run(&self, storage: &dyn Storage) -> Result<Aggregates, ReadError> {
        Ok(self.read(storage)?.whole())
    }

    /// Reads what the plan needs; logs that know one tag are put together with [`Rows::join`].
    ///
    /// # Errors
    /// [`ReadError`]: the log could not be read at all.
    pub fn read(&self, storage: &dyn Storage) -> Result<Rows, ReadError> {
        match &self.0 {
            How::Known(rows) => Ok(rows.clone()),
            How::Read(reading) => reading.read(storage),
        }
    }

    /// Whether memory has the answer, so that nothing is read.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self.0, How::Known(_))
    }
}

impl Reading {
    fn read(&self, storage: &dyn Storage) -> Result<Rows, ReadError> {
        let (from, to, every_ns) = (self.plan.from, self.plan.to, self.every_ns);
        let mut rows = Rows { from, to, every_ns, before: self.before(storage)?, ..Rows::default() };
        let mut gaps = self.plan.gaps.clone();
        in_order(&self.plan, storage, &mut gaps, &mut |point| {
            rows.row(point.time, None).stretch.add(point);
        })?;
        rows.gaps = gaps;
        Ok(rows)
    }

    fn before(&self, storage: &dyn Storage) -> Result<Before, ReadError> {
        let mut before = self.before;
        let mut best: [Option<(TimestampNs, u64, Point)>; 2] = [None; 2];
        let wants_number = self.plan.kind != ValueKind::Text && before.base.is_none();
        let mut gaps = Vec::new();
        for older in &self.older {
            let [held, base] = best.map(|found| found.is_some_and(|found| found.0 >= older.newest));
            if held && (base || !wants_number) {
                break;
            }
            let range = (self.look_from, self.plan.from);
            self.plan.read_range(storage, &older.spans, range, &mut gaps, &mut |found| {
                let found = (found.place.time, found.place.code(), point(&found));
                for (best, wanted) in best.iter_mut().zip([true, found.2.is_number()]) {
                    if wanted && best.is_none_or(|best| (best.0, best.1) < (found.0, found.1)) {
                        *best = Some(found);
                    }
                }
            })?;
        }
        let [held, base] = best.map(|found| found.map(|found| found.2));
        before.held = held;
        before.base = base.or(before.base);
        Ok(before)
    }
}

/// One window's aggregates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AggregateRow {
    /// Start of the window, also where the range begins inside it.
    pub start: TimestampNs,
    /// What its samples say.
    pub aggregates: Aggregates,
    /// How often late samples have changed it; `None` where memory does not have it any more.
    pub revision: Option<u32>,
}

/// What was read of one tag: windows with samples, and what was before them.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    from: TimestampNs,
    to: TimestampNs,
    every_ns: Option<i64>,
    before: Before,
    rows: Vec<Row>,
    gaps: Vec<Gap>,
}

#[derive(Clone, Debug)]
struct Row {
    start: TimestampNs,
    stretch: Stretch,
    revision: Option<u32>,
}

impl Rows {
    /// The row of a time that is not before the last one's.
    fn row(&mut self, time: TimestampNs, revision: Option<u32>) -> &mut Row {
        let start = self.every_ns.map_or(self.from, |every_ns| time.window_start(every_ns));
        if self.rows.last().is_none_or(|last| last.start != start) {
            self.rows.push(Row { start, stretch: Stretch::EMPTY, revision });
        }
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// The gaps that touch the range.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Puts together what two logs know of one tag in the same range and windows. A tag moves to
    /// another log when the number of shards changes, so that its logs follow each other in time.
    #[must_use]
    pub fn join(mut self, other: Rows) -> Rows {
        self.before = self.before.newest(&other.before);
        self.gaps.extend(other.gaps);
        self.rows.extend(other.rows);
        self.rows.sort_by_key(|row| (row.start, row.stretch.begin()));
        self.rows.dedup_by(|next, kept| {
            let same = next.start == kept.start;
            if same {
                kept.stretch.merge(&next.stretch);
                kept.revision = kept.revision.zip(next.revision).map(|(a, b)| a.saturating_add(b));
            }
            same
        });
        self
    }

    /// The aggregates of the whole range.
    #[must_use]
    pub fn whole(&self) -> Aggregates {
        let mut whole = Stretch::EMPTY;
        self.rows.iter().for_each(|row| whole.merge(&row.stretch));
        whole.finish(self.from, self.to, &self.before.since(self.from.plus_ns(-LOOK_BACK_NS)))
    }

    /// The aggregates of each window that holds a sample, oldest first.
    #[must_use]
    pub fn finish(&self) -> Vec<AggregateRow> {
        let mut before = self.before;
        let finished = |row: &Row| {
            let begin = row.start.max(self.from);
            let end = self.every_ns.map_or(self.to, |every_ns| row.start.plus_ns(every_ns)).min(self.to);
            let known = before.since(begin.plus_ns(-LOOK_BACK_NS));
            row.stretch.leave_to(&mut before);
            AggregateRow {
                start: row.start,
                aggregates: row.stretch.finish(begin, end, &known),
                revision: row.revision,
            }
        };
        self.rows.iter().map(finished).collect()
    }
}
