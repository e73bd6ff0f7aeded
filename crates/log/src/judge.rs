//! What of a directory is kept: the union of all whole batches up to where the log ends, and what
//! each damaged part means.
//!
//! Invariant L5 is kept here. It changes nothing on disk: `recover` acts on the judgement, `verify`
//! shows it.

use crate::survey::{Damage, Segment, split};
use crate::{Fence, FenceKind, Span, Truncated};
use env::disk::{FileNumber, Storage};
use model::LogPosition;
use std::collections::VecDeque;

/// What recovery must do to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Cut it to this length.
    Truncate { file: FileNumber, length: u64 },
    /// Remove it: nothing in it is kept.
    Remove { file: FileNumber },
}

/// The judgement.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Kept spans in the order of their positions, each position once. A span of no bytes stands
    /// for the start of a segment.
    pub(crate) kept: Vec<Span>,
    /// Where the log ends.
    pub(crate) end: LogPosition,
    /// Known durable up to here.
    pub(crate) durable: LogPosition,
    pub(crate) fences: Vec<Fence>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) truncated: Option<Truncated>,
    /// Whether something half-written stays in a kept file, of no consequence.
    pub(crate) is_ragged: bool,
}

/// A stretch of positions that nobody holds, below the known-durable mark or unreadable.
struct Hole {
    from: LogPosition,
    to: LogPosition,
    /// The kept span before it, by index; the one behind it is the next.
    before: Option<usize>,
}

pub(crate) fn judge(storage: &dyn Storage, segments: &[Segment]) -> Judgement {
    let durable = segments.iter().map(|s| s.durable).max().unwrap_or_default();
    let mut kept = Vec::new();
    for segment in segments {
        merge(storage, &mut kept, with_start(segment));
    }
    let (holes, end) = find_end(segments, &mut kept, durable);
    let (cuts, truncated) = cuts(storage, segments, end);
    let (fences, is_ragged) = fences(segments, &kept, &holes, &cuts, durable);
    Judgement { kept, end, durable, fences, cuts, truncated, is_ragged }
}

/// A segment's runs behind a span of no bytes that stands for its start.
fn with_start(segment: &Segment) -> Vec<Span> {
    let start = segment.header.map(|h| Span {
        shard: h.shard,
        file: segment.file,
        offset: 0,
        bytes: 0,
        from: h.position,
        to: h.position,
        received_from: h.created,
        received_to: h.created,
    });
    start.into_iter().chain(segment.runs.iter().copied()).collect()
}

/// Lays a newer segment's spans over the older ones: where both hold a position, the newer wins;
/// what only the older holds stays.
fn merge(storage: &dyn Storage, kept: &mut Vec<Span>, newer: Vec<Span>) {
    let Some(start) = newer.first().map(|span| span.from) else { return };
    let mut older = VecDeque::new();
    while let Some(last) = kept.pop_if(|last| last.to > start) {
        let (before, behind) = split(storage, &last, start);
        if let Some(behind) = behind {
            older.push_front(behind);
        }
        if let Some(before) = before {
            kept.push(before);
            break;
        }
    }
    for span in newer {
        while let Some(old) = older.pop_front_if(|old| old.from < span.from) {
            let (before, behind) = split(storage, &old, span.from);
            kept.extend(before);
            if let Some(behind) = behind {
                older.push_front(behind);
            }
        }
        while let Some(old) = older.pop_front_if(|old| old.from < span.to) {
            if let (_, Some(behind)) = split(storage, &old, span.to) {
                older.push_front(behind);
                break;
            }
        }
        kept.push(span);
    }
    kept.extend(older);
}

/// Follows the kept spans to the first hole that is a torn tail, drops what lies behind it, and
/// answers the holes before it and where the log ends.
fn find_end(segments: &[Segment], kept: &mut Vec<Span>, durable: LogPosition) -> (Vec<Hole>, LogPosition) {
    let mut holes = Vec::new();
    // A log whose start retention removed knows that everything before its first segment was
    // durable; without that knowledge the first segments are missing because a crash took them.
    let mut end = kept.first().map_or(durable, |span| span.from.min(durable));
    for index in 0..kept.len() {
        let span = kept[index];
        if span.from > end {
            if end >= durable && !goes_on(kept, index) && unreadable_bytes(segments, end).is_none() {
                kept.truncate(index);
                break;
            }
            holes.push(Hole { from: end, to: span.from, before: index.checked_sub(1) });
        }
        end = end.max(span.to);
    }
    // The disk refuses to read the end: it may hold what was acknowledged, so it is not cut but
    // left behind a fence, and the log goes on behind any position that it can hold.
    let beyond = unreadable_bytes(segments, end).map_or(end, |bytes| LogPosition(end.0 + bytes));
    let beyond = beyond.max(durable);
    if beyond > end {
        holes.push(Hole { from: end, to: beyond, before: kept.len().checked_sub(1) });
    }
    (holes, beyond)
}

/// Whether a span directly follows the one before it in a file: a jump of positions between them was
/// made on purpose, behind an end that could not be read.
fn goes_on(kept: &[Span], index: usize) -> bool {
    index > 0 && kept[index - 1].file == kept[index].file && kept[index - 1].offset_end() == kept[index].offset
}

/// Bytes of an unreadable part at the end of a file's data, where that data ends at a position.
fn unreadable_bytes(segments: &[Segment], at: LogPosition) -> Option<u64> {
    let parts = segments.iter().flat_map(|segment| &segment.damage);
    parts.filter(|d| d.unreadable && d.from == at && d.to.is_none_or(|to| to > at)).map(|d| d.bytes).max()
}

/// What must be cut off so that no file holds anything at or behind the log's end.
fn cuts(storage: &dyn Storage, segments: &[Segment], end: LogPosition) -> (Vec<Cut>, Option<Truncated>) {
    let mut cuts = Vec::new();
    let mut truncated: Option<Truncated> = None;
    let kept_last = segments.iter().rposition(|s| !s.is_void() && s.base.is_some_and(|base| base <= end));
    for (index, segment) in segments.iter().enumerate() {
        let file = segment.file;
        let behind = kept_last.is_none_or(|last| index > last);
        if segment.is_void() && segment.damage.iter().all(|damage| is_left_over(segments, index, damage)) {
            // Given up before anything in it counted; alone at the beginning, nothing would say so any more.
            cuts.push(Cut::Remove { file });
            continue;
        }
        let length = if segment.length == 0 || (behind && !keeps_unreadable(segment)) {
            0
        } else {
            cut_offset(storage, segment, end)
        };
        if length >= segment.length && segment.length > 0 {
            continue;
        }
        cuts.push(if length == 0 { Cut::Remove { file } } else { Cut::Truncate { file, length } });
        if segment.length > 0 {
            let bytes = segment.length - length;
            truncated.get_or_insert(Truncated { file, offset: length, bytes: 0 }).bytes += bytes;
        }
    }
    (cuts, truncated)
}

fn keeps_unreadable(segment: &Segment) -> bool {
    segment.damage.iter().any(|d| d.unreadable)
}

/// The length up to which a file holds nothing behind the log's end.
fn cut_offset(storage: &dyn Storage, segment: &Segment, end: LogPosition) -> u64 {
    let of_run = segment.runs.iter().find(|run| run.to > end).map(|run| match split(storage, run, end) {
        (Some(before), _) => before.offset_end(),
        (None, _) => run.offset,
    });
    let torn = |d: &&Damage| !d.unreadable && d.from >= end && d.to.is_none_or(|to| to > end);
    let of_damage = segment.damage.iter().find(torn).map(|d| d.offset);
    of_run.into_iter().chain(of_damage).min().unwrap_or(segment.length).min(segment.length)
}

/// What is reported: each hole with the damage that made it, and each damage that made none.
/// Damage at or above the known-durable mark that made no hole is half-written too: a prologue or
/// a mark, or a copy of what is whole elsewhere; all from the mark on is logged again and replaces it.
fn fences(
    segments: &[Segment],
    kept: &[Span],
    holes: &[Hole],
    cuts: &[Cut],
    durable: LogPosition,
) -> (Vec<Fence>, bool) {
    let mut open: Vec<&Hole> = holes.iter().collect();
    let (mut fences, mut is_ragged) = (Vec::new(), false);
    for (index, segment) in segments.iter().enumerate() {
        let whole_up_to = cuts.iter().find_map(|cut| match *cut {
            Cut::Truncate { file, length } if file == segment.file => Some(length),
            Cut::Remove { file } if file == segment.file => Some(0),
            _ => None,
        });
        for damage in &segment.damage {
            let is_cut = whole_up_to.is_some_and(|length| damage.offset >= length);
            if is_cut || is_left_over(segments, index, damage) {
                continue;
            }
            let hole = open.iter().position(|hole| hole.from == damage.from).map(|at| open.remove(at));
            if hole.is_none() && damage.from >= durable {
                is_ragged = true;
                continue;
            }
            fences.push(fence(segment, damage, hole, kept));
        }
    }
    for hole in open {
        fences.push(match rotten_end(segments, hole) {
            Some((segment, end)) => fence(segment, end, Some(hole), kept),
            None => missing(hole, kept),
        });
    }
    fences.sort_by_key(|fence| (fence.from, fence.file, fence.offset));
    (fences, is_ragged)
}

/// Whether damage says nothing, because all from there on was logged again: the end of a segment that was
/// given up after a failed write or sync, or the torn beginning of one that a crash cut short.
fn is_left_over(segments: &[Segment], index: usize, damage: &Damage) -> bool {
    // At the beginning of all that is kept, nothing before says which position it is.
    let unplaced = index == 0 && damage.offset == 0;
    let at = damage.to.filter(|_| unplaced).unwrap_or(damage.from);
    let logged_again = |later: &Segment| later.header.is_some_and(|h| h.replaces && h.position <= at);
    segments[index + 1..].iter().any(logged_again)
}

fn fence(segment: &Segment, damage: &Damage, hole: Option<&Hole>, kept: &[Span]) -> Fence {
    let (received_from, received_to) = hole.map_or((None, None), |hole| received_around(hole, kept));
    // Damage before everything that is kept has no hole behind it to say how far it reaches.
    let first = kept.first().map_or(damage.from, |span| span.from);
    Fence {
        kind: if damage.unreadable { FenceKind::Unreadable } else { FenceKind::Damaged },
        file: segment.file,
        offset: damage.offset,
        bytes: damage.bytes,
        from: damage.from,
        to: hole.map_or(first.max(damage.from), |hole| hole.to),
        received_from,
        received_to,
    }
}

/// The end of a file that was used before, where that explains a hole: what is missing stood there, and no
/// file between it and the next is gone.
fn rotten_end<'s>(segments: &'s [Segment], hole: &Hole) -> Option<(&'s Segment, &'s Damage)> {
    let at = segments.iter().rposition(|s| s.remains.as_ref().is_some_and(|end| end.from == hole.from))?;
    let next_stands = segments.get(at + 1).is_none_or(|next| next.file.0 == segments[at].file.0 + 1);
    segments[at].remains.as_ref().filter(|_| next_stands).map(|end| (&segments[at], end))
}

/// A hole that no damage explains: a file is gone.
fn missing(hole: &Hole, kept: &[Span]) -> Fence {
    let (received_from, received_to) = received_around(hole, kept);
    let before = hole.before.map(|index| kept[index].file.0 + 1);
    Fence {
        kind: FenceKind::Missing,
        file: FileNumber(before.unwrap_or_default()),
        offset: 0,
        bytes: 0,
        from: hole.from,
        to: hole.to,
        received_from,
        received_to,
    }
}

fn received_around(hole: &Hole, kept: &[Span]) -> (Option<model::TimestampNs>, Option<model::TimestampNs>) {
    let before = hole.before.map(|index| kept[index].received_to);
    let behind = kept.get(hole.before.map_or(0, |index| index + 1)).map(|span| span.received_from);
    (before, behind)
}
