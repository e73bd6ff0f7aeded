//! Taking a log's directory into use.
//!
//! Survey (what is there), judge (what is kept), repair (cut off the rest, durably), sync, visit.
//! Only repair and sync change anything, each change is durable before the next, and each leaves a
//! directory that judges the same: recovery that is killed is simply run again.

use crate::header::{BatchHeader, BatchKind};
use crate::judge::{Cut, Judgement, judge};
use crate::layout::BATCH_HEADER_BYTES;
use crate::span::SegmentIndex;
use crate::survey::{Segment, for_each_batch, split, survey};
use crate::{Fence, FenceKind, Truncated};
use env::disk::{Block, FileNumber, Storage};
use frame::{Frame, FrameKind};
use model::{LogPosition, ShardId, TimestampNs};
use std::ops::ControlFlow;
use std::{fmt, io};

/// Why a log cannot be taken into use. Nothing was thrown away.
#[derive(Debug)]
pub enum RecoverError {
    /// The directory cannot be listed.
    List {
        /// What the system said.
        error: io::Error,
    },
    /// A file cannot be opened.
    Open {
        /// Which.
        file: FileNumber,
        /// What the system said.
        error: io::Error,
    },
    /// A torn tail cannot be cut off, or a torn file not removed.
    Cut {
        /// Which.
        file: FileNumber,
        /// What the system said.
        error: io::Error,
    },
    /// What was found cannot be made durable.
    Sync {
        /// Which.
        file: FileNumber,
        /// What the system said.
        error: io::Error,
    },
    /// The directory cannot be made durable.
    SyncDirectory {
        /// What the system said.
        error: io::Error,
    },
    /// Files that waited to be used again cannot be removed.
    Retired {
        /// What the system said.
        error: io::Error,
    },
    /// The directory holds another shard's log.
    Shard {
        /// Which file.
        file: FileNumber,
        /// Whose it is.
        found: ShardId,
        /// Whose was wanted.
        wanted: ShardId,
    },
    /// A later release wrote this file.
    Version {
        /// Which file.
        file: FileNumber,
        /// Its format version.
        found: u8,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::List { error } => {
                write!(f, "the log's directory cannot be read: {error}; check that it exists and its permissions")
            }
            RecoverError::Open { file, error } => {
                write!(f, "{file} cannot be opened: {error}; check its permissions and the disk")
            }
            RecoverError::Cut { file, error } => {
                write!(f, "the half-written end of {file} cannot be cut off: {error}; check the disk, then start again")
            }
            RecoverError::Sync { file, error } => {
                write!(f, "{file} cannot be made durable: {error}; check the disk, then start again")
            }
            RecoverError::SyncDirectory { error } => {
                write!(f, "the log's directory cannot be made durable: {error}; check the disk, then start again")
            }
            RecoverError::Retired { error } => {
                write!(f, "a retired file of the log cannot be removed: {error}; remove it, then start again")
            }
            RecoverError::Shard { file, found, wanted } => write!(
                f,
                "{file} belongs to shard {found}, not to shard {wanted}; the directories of two shards are mixed up, put them back"
            ),
            RecoverError::Version { file, found } => write!(
                f,
                "{file} has log format {found}, written by a later release; start that release, this one changes nothing"
            ),
        }
    }
}

impl std::error::Error for RecoverError {}

/// What recovery found, and what a writer needs to go on.
#[derive(Debug)]
pub struct Recovered {
    /// Position after the last kept frame; new frames come behind it.
    pub end: LogPosition,
    /// Everything up to here is known to have been durable. What lies between this and `end` was
    /// synced by recovery and is logged again by the next writer before it counts, because a sync
    /// that failed before the crash may have left it in memory only: answer a producer's hello only
    /// when [`crate::Writer::durable`] has reached `end`.
    pub durable: LogPosition,
    /// Received time of the last batch or mark; Millstream was not running from there on.
    pub last_received: Option<TimestampNs>,
    /// Whether the writer before was closed in order, or there was none.
    pub clean: bool,
    /// The torn tail, if there was one.
    pub truncated: Option<Truncated>,
    /// Damage below the known-durable mark: fenced, reported, not served.
    pub rot: Vec<Fence>,
    pub(crate) segments: Vec<SegmentIndex>,
    pub(crate) tail: Vec<TailBatch>,
    pub(crate) next_file: FileNumber,
    pub(crate) running_ns: u64,
}

/// A batch that is not known to be durable, kept to be logged again.
#[derive(Clone, Debug)]
pub(crate) struct TailBatch {
    pub(crate) header: BatchHeader,
    /// Room for the header, then the frames.
    pub(crate) block: Block,
}

/// Takes a log's directory into use: finds what is whole, cuts off what a crash left half-written,
/// fences what rotted, makes the rest durable, and visits every stored frame, oldest first, with
/// the position after it (definitions that begin a segment: with the position where they were
/// made). Can be killed at any point and started again.
///
/// # Errors
/// [`RecoverError`]; nothing was thrown away that could have been acknowledged.
pub fn recover(
    storage: &mut dyn Storage,
    shard: ShardId,
    visit: &mut dyn FnMut(Frame<'_>, LogPosition),
) -> Result<Recovered, RecoverError> {
    let segments = survey(storage, shard)?;
    let judgement = judge(storage, &segments);
    repair(storage, &judgement.cuts)?;
    let removed = |file: FileNumber| judgement.cuts.contains(&Cut::Remove { file });
    let remaining: Vec<&Segment> = segments.iter().filter(|s| !removed(s.file)).collect();
    make_durable(storage, &remaining, &judgement)?;
    storage.remove_retired().map_err(|error| RecoverError::Retired { error })?;
    let (last, unserved) = visit_kept(storage, &remaining, &judgement, visit);
    let (index, tail) = divide(storage, &remaining, &judgement);
    let running_ns = remaining.iter().filter_map(|s| s.ended_ns()).max().unwrap_or(0);
    let next_file = segments.last().map_or(1, |s| s.file.0 + 1);
    Ok(Recovered {
        end: judgement.end,
        durable: if tail.is_empty() { judgement.end } else { judgement.durable.min(judgement.end) },
        last_received: last.map(|(_, received)| received),
        clean: last.is_none_or(|(kind, _)| kind == BatchKind::Final)
            && judgement.truncated.is_none()
            && !judgement.is_ragged,
        truncated: judgement.truncated,
        rot: judgement.fences.into_iter().chain(unserved).collect(),
        segments: index,
        tail,
        next_file: FileNumber(next_file),
        running_ns,
    })
}

fn repair(storage: &mut dyn Storage, cuts: &[Cut]) -> Result<(), RecoverError> {
    for cut in cuts {
        match *cut {
            Cut::Truncate { file, length } => {
                storage.truncate(file, length).map_err(|error| RecoverError::Cut { file, error })?;
            }
            Cut::Remove { file } => storage.remove(file).map_err(|error| RecoverError::Cut { file, error })?,
        }
    }
    Ok(())
}

/// Syncs every file that holds something not known to be durable, and the directory, or a file that
/// the process before removed could come back with the next power cut.
fn make_durable(storage: &mut dyn Storage, segments: &[&Segment], judgement: &Judgement) -> Result<(), RecoverError> {
    let unsure = |file| judgement.kept.iter().any(|s| s.file == file && s.to > judgement.durable);
    let newest = segments.last().map(|s| s.file);
    if newest.is_none() {
        return storage.sync_directory().map_err(|error| RecoverError::SyncDirectory { error });
    }
    for segment in segments.iter().filter(|s| unsure(s.file) || Some(s.file) == newest) {
        let file = segment.file;
        storage.sync(file).map_err(|error| RecoverError::Sync { file, error })?;
    }
    Ok(())
}

/// Visits all that is kept; answers kind and received time of the newest batch, and what of whole
/// batches could not be served.
fn visit_kept(
    storage: &dyn Storage,
    segments: &[&Segment],
    judgement: &Judgement,
    visit: &mut dyn FnMut(Frame<'_>, LogPosition),
) -> (Option<(BatchKind, TimestampNs)>, Vec<Fence>) {
    let mut unserved = Vec::new();
    let mut begun: Option<FileNumber> = None;
    let mut newest: Option<BatchHeader> = None;
    let mut seen = |header: &BatchHeader| {
        if newest.is_none_or(|n| (n.file, n.offset) < (header.file, header.offset)) {
            newest = Some(*header);
        }
    };
    for span in &judgement.kept {
        if begun.is_none_or(|file| file < span.file) {
            begun = Some(span.file);
            let segment = segments.iter().find(|s| s.file == span.file);
            let stored_to = segment.map_or(LogPosition(0), |s| stored_to(segments, s, judgement.end));
            for prologue in segment.iter().flat_map(|s| &s.prologue) {
                for_each_batch(storage, prologue, &mut |header, body| {
                    // Dedupe state of a log that was not stored as far would claim frames that are not there.
                    seen(header);
                    let stored = header.as_of <= stored_to;
                    let count = frames(body, header.position, &mut |frame, _| {
                        if stored || frame.kind() != FrameKind::Producers {
                            visit(frame, header.as_of);
                        }
                    });
                    unserved.extend(fence_unserved(header, count));
                    ControlFlow::Continue(())
                });
            }
        }
        for_each_batch(storage, span, &mut |header, body| {
            seen(header);
            let count = frames(body, header.position, &mut |frame, end| {
                visit(frame, end.min(header.position_end()));
            });
            unserved.extend(fence_unserved(header, count));
            ControlFlow::Continue(())
        });
    }
    (newest.map(|header| (header.kind, header.received_last)), unserved)
}

/// Up to where the writer of a segment came to store what it appended: at most to where any later
/// writer found the end.
fn stored_to(segments: &[&Segment], segment: &Segment, end: LogPosition) -> LogPosition {
    let Some(header) = segment.header else { return LogPosition(0) };
    let later = segments.iter().filter_map(|s| s.header).filter(|h| h.writer() > header.writer());
    later.map(|h| h.started).min().unwrap_or(end).min(end)
}

/// Visits the frames of a whole batch with the position after each, up to the first that fails its
/// check; answers how many.
pub(crate) fn frames(body: &[u8], position: LogPosition, visit: &mut dyn FnMut(Frame<'_>, LogPosition)) -> u32 {
    let (mut at, mut count) = (0, 0);
    while let Ok(frame) = frame::check(&body[at..]) {
        at += frame.bytes().len();
        count += 1;
        visit(frame, LogPosition(position.0 + at as u64));
    }
    count
}

/// A whole batch holds only frames that were checked. One that serves fewer is damaged in a way
/// that its checksum does not see, or of a later release: what is not served is fenced.
pub(crate) fn fence_unserved(header: &BatchHeader, served: u32) -> Option<Fence> {
    (served < header.frames).then(|| Fence {
        kind: FenceKind::Damaged,
        file: header.file,
        offset: header.offset,
        bytes: header.bytes(),
        from: header.position,
        to: header.position_end(),
        received_from: Some(header.received_first),
        received_to: Some(header.received_last),
    })
}

/// Parts what is kept into what is known durable, which stays where it is, and the batches behind,
/// which are logged again.
fn divide(storage: &dyn Storage, segments: &[&Segment], judgement: &Judgement) -> (Vec<SegmentIndex>, Vec<TailBatch>) {
    let mut tail = Vec::new();
    let mut index: Vec<SegmentIndex> = segments
        .iter()
        .map(|s| SegmentIndex {
            file: s.file,
            from: s.base.unwrap_or_default(),
            bytes: cut_length(s, &judgement.cuts),
            ended_ns: s.ended_ns().unwrap_or(0),
            spans: Vec::new(),
        })
        .collect();
    for span in judgement.kept.iter().filter(|span| span.bytes > 0) {
        let (sure, unsure) = split(storage, span, judgement.durable);
        if let (Some(sure), Some(segment)) = (sure, index.iter_mut().find(|s| s.file == span.file)) {
            segment.spans.push(sure);
        }
        if let Some(unsure) = unsure {
            for_each_batch(storage, &unsure, &mut |header, body| {
                if header.kind == BatchKind::Data {
                    let mut block = Block::with_capacity(BATCH_HEADER_BYTES + body.len());
                    block.resize(BATCH_HEADER_BYTES, 0);
                    block.extend_from_slice(body);
                    tail.push(TailBatch { header: *header, block });
                }
                ControlFlow::Continue(())
            });
        }
    }
    // A segment whose header is damaged ended when the next one began, at the latest.
    let mut latest = u64::MAX;
    for segment in index.iter_mut().rev() {
        if segment.ended_ns == 0 {
            segment.ended_ns = latest;
        }
        latest = latest.min(segment.ended_ns);
    }
    (index, tail)
}

fn cut_length(segment: &Segment, cuts: &[Cut]) -> u64 {
    let cut = cuts.iter().find_map(|cut| match *cut {
        Cut::Truncate { file, length } if file == segment.file => Some(length),
        _ => None,
    });
    cut.unwrap_or(segment.file_bytes())
}
