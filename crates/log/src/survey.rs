//! What lies in a log's directory, read only: each segment's whole batches and its damage.

use crate::RecoverError;
use crate::header::{BatchHeader, BatchKind, SegmentHeader, SegmentStart};
use crate::layout::SEGMENT_HEADER_BYTES;
use crate::scan::{Piece, Walk, Window};
use crate::span::Span;
use env::disk::{FileNumber, Storage};
use model::{LogPosition, ShardId, TimestampNs};
use std::ops::ControlFlow;

/// A step between two batches counts for no more running time than this (`layout`, "Running time").
/// Marks come every ten seconds, so only a clock that jumped makes a longer one.
const STEP_NS_MAX: i64 = 30_000_000_000;

/// Bytes of a segment that are not whole.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) unreadable: bool,
    /// Position after the last whole batch before, in this file or the ones before.
    pub(crate) from: LogPosition,
    /// Position of the next whole batch in this file.
    pub(crate) to: Option<LogPosition>,
}

/// One segment file.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) file: FileNumber,
    /// Its bytes, without what remains of an older segment behind them.
    pub(crate) length: u64,
    /// What stands behind the last whole batch of a file that was used before: remains, or torn or rotten
    /// batches that only missing positions tell from them.
    pub(crate) remains: Option<Damage>,
    pub(crate) header: Option<SegmentHeader>,
    /// Position before its first data batch, where header or batches tell.
    pub(crate) base: Option<LogPosition>,
    /// Whole prologue batches.
    pub(crate) prologue: Vec<Span>,
    /// Whole data and mark batches, joined.
    pub(crate) runs: Vec<Span>,
    pub(crate) damage: Vec<Damage>,
    /// Highest known-durable mark in it.
    pub(crate) durable: LogPosition,
    pub(crate) batches: u64,
    /// Received time of its last whole batch.
    last: Option<TimestampNs>,
    /// Running time that passed in it.
    pub(crate) stepped_ns: u64,
}

impl Segment {
    /// Whether nothing in it is whole.
    pub(crate) fn is_void(&self) -> bool {
        self.header.is_none() && self.batches == 0
    }

    /// Bytes of its file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.length + self.remains.as_ref().map_or(0, |remains| remains.bytes)
    }

    /// Sets apart what an older segment left in the file. An unreadable end stays damage: it may be ours.
    fn part_remains(&mut self, begun: bool) {
        let was_used = self.header.is_some_and(|header| header.reused) || (!begun && self.batches == 0);
        if was_used && let Some(end) = self.damage.pop_if(|damage| damage.to.is_none() && !damage.unreadable) {
            self.length = end.offset;
            self.remains = Some(end);
        }
    }

    /// Running time of the log at its end, where its header tells.
    pub(crate) fn ended_ns(&self) -> Option<u64> {
        self.header.map(|h| h.running_ns.saturating_add(self.stepped_ns))
    }

    fn take(&mut self, header: &BatchHeader) {
        let span = span_of(header);
        if header.kind == BatchKind::Prologue {
            self.prologue.push(span);
        } else if !self.runs.last_mut().is_some_and(|last| last.join(&span)) {
            self.runs.push(span);
        }
        if let Some(damage) = self.damage.last_mut().filter(|d| d.to.is_none()) {
            damage.to = Some(header.position);
        }
        self.base.get_or_insert(header.position);
        self.durable = self.durable.max(header.durable);
        self.batches += 1;
        let before = self.last.or(self.header.map(|h| h.created));
        let step = before.map_or(0, |before| header.received_last.0.saturating_sub(before.0));
        self.stepped_ns += step.clamp(0, STEP_NS_MAX) as u64;
        self.last = Some(header.received_last);
    }
}

/// The span of one batch.
pub(crate) fn span_of(header: &BatchHeader) -> Span {
    Span {
        shard: header.shard,
        file: header.file,
        offset: header.offset,
        bytes: header.bytes(),
        from: header.position,
        to: header.position_end(),
        received_from: header.received_first,
        received_to: header.received_last,
    }
}

/// Looks at every segment, ascending. Changes nothing.
pub(crate) fn survey(storage: &dyn Storage, shard: ShardId) -> Result<Vec<Segment>, RecoverError> {
    let mut files = storage.list().map_err(|error| RecoverError::List { error })?;
    files.sort_unstable();
    let mut segments = Vec::with_capacity(files.len());
    let mut end = LogPosition(0);
    for file in files {
        let segment = segment(storage, shard, file, end)?;
        end = segment.runs.last().map(|run| run.to).or(segment.base).unwrap_or(end);
        segments.push(segment);
    }
    Ok(segments)
}

/// The shard that the first readable header of a directory names.
pub(crate) fn shard_of(storage: &dyn Storage) -> Result<Option<ShardId>, RecoverError> {
    for file in storage.list().map_err(|error| RecoverError::List { error })? {
        let length = storage.length(file).map_err(|error| RecoverError::Open { file, error })?;
        let mut window = Window::new(storage, file);
        if let SegmentStart::Header { header, .. } = SegmentHeader::read(window.at(0, SEGMENT_HEADER_BYTES, length)) {
            return Ok(Some(header.shard));
        }
    }
    Ok(None)
}

fn segment(storage: &dyn Storage, shard: ShardId, file: FileNumber, end: LogPosition) -> Result<Segment, RecoverError> {
    let length = storage.length(file).map_err(|error| RecoverError::Open { file, error })?;
    let mut window = Window::new(storage, file);
    let mut begun = true;
    let (header, previous_crc) = match SegmentHeader::read(window.at(0, SEGMENT_HEADER_BYTES, length)) {
        SegmentStart::Version(found) => return Err(RecoverError::Version { file, found }),
        SegmentStart::Header { header, .. } if header.shard != shard => {
            return Err(RecoverError::Shard { file, found: header.shard, wanted: shard });
        }
        SegmentStart::Header { header, crc } if header.file == file => (Some(header), Some(crc)),
        // The file has its new number, and still the header of the segment that it held before.
        SegmentStart::Header { header, .. } => {
            begun = header.file > file;
            (None, None)
        }
        SegmentStart::Damaged => (None, None),
    };
    let mut segment = Segment {
        file,
        length,
        remains: None,
        header,
        base: header.map(|h| h.position),
        prologue: Vec::new(),
        runs: Vec::new(),
        damage: Vec::new(),
        durable: header.map_or(LogPosition(0), |h| h.durable),
        batches: 0,
        last: None,
        stepped_ns: 0,
    };
    let walk = Walk {
        shard,
        file,
        from: (SEGMENT_HEADER_BYTES as u64).min(length),
        to: length,
        previous_crc,
        damaged_from: (header.is_none() && length > 0).then_some(0),
    };
    walk.run(&mut window, &mut |piece| {
        match piece {
            Piece::Batch(header, _) => segment.take(&header),
            Piece::Damage { offset, bytes, unreadable } => {
                let from = segment.runs.last().map(|run| run.to).or(segment.base).unwrap_or(end);
                segment.damage.push(Damage { offset, bytes, unreadable, from, to: None });
            }
        }
        ControlFlow::Continue(())
    });
    segment.part_remains(begun);
    Ok(segment)
}

/// Cuts a span in two at a position: whole batches that end at or before it, whole batches that
/// start at or behind it.
pub(crate) fn split(storage: &dyn Storage, span: &Span, at: LogPosition) -> (Option<Span>, Option<Span>) {
    if span.to <= at {
        return (Some(*span), None);
    }
    if span.from >= at {
        return (None, Some(*span));
    }
    let (mut before, mut behind) = (None::<Span>, None::<Span>);
    for_each_batch(storage, span, &mut |header, _| {
        let one = span_of(header);
        let side = if one.to <= at {
            &mut before
        } else if one.from >= at {
            &mut behind
        } else {
            return ControlFlow::Continue(());
        };
        match side {
            Some(side) => {
                let joined = side.join(&one);
                debug_assert!(joined, "batches of one span follow each other");
            }
            None => *side = Some(one),
        }
        ControlFlow::Continue(())
    });
    (before, behind)
}

/// Walks the whole batches of a span.
pub(crate) fn for_each_batch(
    storage: &dyn Storage,
    span: &Span,
    on: &mut dyn FnMut(&BatchHeader, &[u8]) -> ControlFlow<()>,
) {
    let mut window = Window::new(storage, span.file);
    walk_of(span).run(&mut window, &mut |piece| match piece {
        Piece::Batch(header, body) => on(&header, body),
        Piece::Damage { .. } => ControlFlow::Continue(()),
    });
}

pub(crate) fn walk_of(span: &Span) -> Walk {
    Walk {
        shard: span.shard,
        file: span.file,
        from: span.offset,
        to: span.offset_end(),
        previous_crc: None,
        damaged_from: None,
    }
}
